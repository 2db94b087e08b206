"""A keep becomes a commit, and the commit the next baseline."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from autoresearch_plugin import patch
from autoresearch_plugin.errors import InfrastructureError
from autoresearch_plugin.judge import Verdict
from autoresearch_plugin.paths import promising, reference

if TYPE_CHECKING:
    from autoresearch_plugin.fixtures import Claim
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.loop import Research


def commit(research: Research, claim: Claim) -> str:
    """Commit a kept candidate and move the session's baseline to it.

    The caller holds the keep lease, so the head is still the one the verdict is about.

    Raises:
        RepositoryError: git refused; nothing has moved then.
    """
    judgement = claim.judgement
    repository, idea = research.repository, claim.idea
    if judgement is None or idea is None or judgement.verdict is None:
        raise InfrastructureError("a keep without a verdict cannot be committed.")
    head = research.head()
    if repository is None or head.commit is None or head.id != judgement.head.id:
        raise InfrastructureError("a keep needs the commit that it was measured on.")
    patched = judgement.patched or idea.apply(judgement.head.source)
    files = {research.settings.target: patched.encode()}
    if claim.file and claim.test is not None:
        files[claim.file] = claim.test.encode()
    sha = repository.commit_keep(
        research.settings.tag or repository.default_tag(),
        head.commit,
        files,
        claim.title,
        f"{claim.hypothesis}\n\n{judgement.verdict.sentence}",
        trailers(research, idea.signature, patched, judgement.verdict),
    )
    research.ledger.update_candidate(judgement.number, commit_id=sha)
    amount = _amount(research, head, judgement.number)
    inherits = judgement.number if _goes_on(research, judgement.verdict) else None
    new = research.enter_head(patched, sha, amount, inherits)
    with contextlib.suppress(OSError):  # there is none without a sandbox
        path = promising(research.root, judgement.number)
        path.replace(reference(research.root, new.id))
    return sha


def _goes_on(research: Research, verdict: Verdict) -> bool:
    """Whether runs of a kept candidate count for the baseline that it becomes
    (docs/verdicts.md); a lone run is a winner's luck."""
    return research.recorded or verdict.n > 1


def _amount(research: Research, head: Head, number: int) -> float | None:
    """The steps that the kept candidate had: as baseline it has the same."""
    ratio = research.ledger.candidate(number)["ratio"]
    if ratio is None:
        return head.amount
    return research.charged(head, ratio).amount


def trailers(
    research: Research, signature: str, patched: str, verdict: Verdict
) -> list[tuple[str, str]]:
    """The trailers by which history, people and `git log` read a keep."""
    short = research.metric.removeprefix("val_")
    return [
        ("Candidate", signature),
        (research.metric.title(), str(verdict.candidate)),
        (f"Baseline-{short.title()}", str(verdict.baseline)),
        ("Effect", effect_text(verdict)),
        ("Runs", str(verdict.n)),
        ("Device", research.device.name),
        ("Train-Sha256", patch.sha256(patched)),
    ]


def effect_text(verdict: Verdict) -> str:
    """`-1.52e-3 ± 0.04e-3`: the shrunken effect and its standard deviation."""
    exponent = int(f"{verdict.effect:.0e}".partition("e")[2])
    mean, sd = (x / 10.0**exponent for x in (verdict.effect, verdict.effect_sd))
    return f"{mean:+.2f}e{exponent} ± {sd:.2f}e{exponent}"
