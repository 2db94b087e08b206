"""The ledger: one SQLite file, the loop's only memory and the only owner of its schema.

Every process of a session opens it for itself. It hands out work (`claim_unit`), says
which trial somebody else is running (`claim_head_trial`), and holds what a report, a
prompt or a resume is made of. An owner is a process, named so that a recycled pid is
not mistaken for it; what a dead owner was doing is free again.
"""

from __future__ import annotations

from autoresearch_plugin.ledger.agents import Agents
from autoresearch_plugin.ledger.audits import Audits
from autoresearch_plugin.ledger.candidates import Candidates
from autoresearch_plugin.ledger.connection import Row
from autoresearch_plugin.ledger.processes import is_alive, this_process
from autoresearch_plugin.ledger.repair import mend
from autoresearch_plugin.ledger.schema import VERSION
from autoresearch_plugin.ledger.spending import Spending
from autoresearch_plugin.ledger.trials import Trials
from autoresearch_plugin.ledger.work import Work

__all__ = ["VERSION", "Ledger", "Row", "is_alive", "mend", "this_process"]


class Ledger(Trials, Candidates, Audits, Work, Spending, Agents):
    """One process' view of the whole ledger."""
