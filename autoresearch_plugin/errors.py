"""Everything this project raises on purpose.

    AutoresearchError
    |-- SettingsError        an option or ini value cannot be used (exit 4)
    |-- PatchError           an edit does not apply to the parent's source
    |-- BudgetSpentError     a second run in one candidate
    |-- NoTrialError         a candidate that never ran
    |-- TrialFailed          the candidate's own run gave no number
    |-- InfrastructureError  the machinery failed, not the idea
    |   |-- LedgerError
    |   |-- RepositoryError
    |   `-- ProposerError    the proposer gave up
    |       `-- Unavailable  it did so for now, and is asked again later
    `-- SessionStopping      the session ends while a trial is running
        `-- DeviceLost       only this lane ends: its GPU cannot be used

Every message says what happened, the value seen and what to do next.
"""

from __future__ import annotations


class AutoresearchError(Exception):
    """Base of every error this project raises on purpose."""


class SettingsError(AutoresearchError):
    """An option, an ini value or the environment cannot be used as it is."""


class PatchError(AutoresearchError):
    """An edit does not apply to the source it was written for."""


class BudgetSpentError(AutoresearchError):
    """`gpu_budget.run` was called twice in one test."""


class NoTrialError(AutoresearchError):
    """A test asked for `gpu_budget` and never ran it."""


class TrialFailed(AutoresearchError):
    """A candidate's run ended without a number; `outcome` says how."""

    def __init__(self, outcome: str, message: str) -> None:
        super().__init__(f"{outcome}: {message}" if message else outcome)
        self.outcome = outcome
        self.message = message


class InfrastructureError(AutoresearchError):
    """The machinery failed; no idea is to blame."""


class LedgerError(InfrastructureError):
    """The ledger cannot be opened, read or written."""


class RepositoryError(InfrastructureError):
    """git refused, or the repository is in a state we do not touch."""


class ProposerError(InfrastructureError):
    """A proposer failed, and there is no point in asking it again."""


class Unavailable(ProposerError):
    """A proposer gives no answer now; it is worth asking again after a pause."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after  # seconds that the provider asks for


class SessionStopping(AutoresearchError):
    """The session is ending, so the running trial was stopped on purpose."""


class DeviceLost(SessionStopping):
    """This lane's GPU cannot be used any more; other lanes go on."""
