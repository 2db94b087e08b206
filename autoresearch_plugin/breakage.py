"""Whether the machine broke rather than the ideas: then no idea is charged for it.

What something from outside broke in on is run again.

Three candidates in a row that fail within seconds in the same way, or one whose words
speak of the GPU itself, are a suspicion. One run of the baseline decides: if it fails
too, nobody's idea did it.
"""

from __future__ import annotations

import re
import statistics
import time
from typing import TYPE_CHECKING

from autoresearch_plugin.errors import DeviceLost, InfrastructureError
from autoresearch_plugin.gpus import NvmlError
from autoresearch_plugin.trial import Outcome, TrialResult

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.measuring import Measuring

FAILURES = 3  # alike in a row, of different candidates
QUICK = 10.0  # seconds in which such a failure comes, or a tenth of a baseline's run
SUSPENSIONS = 5  # of one run before the session gives up
KILLS = 5  # of one run, from outside, before its candidate is thought to be the cause
CHECKED = "checked"  # kind of the event that says the baseline ran after all

DEVICE_WORDS = re.compile(
    r"no CUDA-capable device|No CUDA GPUs are available|CUDA driver initialization|"
    r"device-side assert|unspecified launch failure|uncorrectable ECC|GPU is lost|"
    r"fallen off the bus|devices? (?:is|are) busy or unavailable|CUDA unknown error|"
    r"Driver/library version mismatch|device not ready|illegal memory access",
    re.IGNORECASE,
)


def try_again(
    research: Measuring, head: Head, row: Row, label: str, result: TrialResult
) -> bool:
    """Whether a run that something from outside broke is made once more, and no
    idea blamed.

    Raises:
        InfrastructureError: it is suspended again and again, and so is the baseline.
    """
    which = (head.id, row["candidate"], row["seed_index"])
    broken = research.ledger.broken_runs(*which, research.session)
    why = f"{result.outcome}, {result.message}"
    if result.outcome is Outcome.SUSPENDED and broken > SUSPENSIONS:
        if row["candidate"] is not None and _runs(research, head):
            return False  # at a weak level it may reach the process that watches it
        raise InfrastructureError(
            f"{label} was interrupted {broken} times, the last time because "
            f"{result.message}. Nothing is lost; keep the machine awake (for "
            "instance with systemd-inhibit) and start the same command again."
        )
    # Who is in a sandbox of its own does not kill the process that watches it.
    alien = result.outcome is Outcome.KILLED and research.profile.isolates
    if result.outcome is Outcome.SUSPENDED or broken < (KILLS if alien else 2):
        research.tell(f"{label}: {why}; not counted, trying once more")
        return True
    return False


def check(research: Measuring, number: int, head: Head, result: TrialResult) -> None:
    """After a crash: if it looks like breakage, see whether the baseline still runs.

    Raises:
        DeviceLost: this lane's GPU is to blame.
        InfrastructureError: the environment is; the candidates wait again.
    """
    gpu = device_words(research, result)
    alike = [] if gpu else _alike(research, number, result)
    if not gpu and len(alike) < FAILURES - 1:
        return
    words = _words(str(result.outcome), result.message)
    if any(row["text"] == words for row in _checked(research)):
        return
    research.tell(f"#{number:03d}: {_why(result)}; seeing whether the baseline runs")
    probe = _probe(research, head)
    if probe is None or probe.outcome.is_interruption:
        return
    if probe.ok:
        research.ledger.add_event(research.session, CHECKED, words)
        research.tell("the baseline runs: these were crashes of their own")
        return
    if lost := device_fault(research, probe):
        raise DeviceLost(lost)
    numbers = [row["id"] for row in alike]
    research.ledger.put_back(numbers)
    waiting = ", ".join(f"#{n:03d}" for n in sorted([*numbers, number]))
    raise InfrastructureError(
        f"{len(numbers) + 1} candidates in a row failed in the same way "
        f"({_why(result)}), and so does the baseline now: {_why(probe)}. The machine "
        f"or its software is to blame and no idea: {waiting} wait to be tried again. "
        "Try the training by hand, mend it, and start the same command again."
    )


def device_words(research: Measuring, result: TrialResult) -> bool:
    """Whether a run on a GPU speaks of the GPU itself."""
    if research.device.kind != "cuda":
        return False
    return bool(DEVICE_WORDS.search(f"{result.message}\n{result.log_tail}"))


def device_fault(research: Measuring, result: TrialResult) -> str | None:
    """What is wrong with this lane's GPU, if a baseline's run failed on its account."""
    device = research.device
    gone = is_gone(research)
    if not gone and not device_words(research, result):
        return None
    what = "its driver does not know it any more" if gone else _why(result)
    return (
        f"{device.id} ({device.name}) cannot be used: {what}. Look at dmesg and "
        "nvidia-smi; a reset or a reboot may help. What it was trying waits for "
        "another device, or for the same command later."
    )


def is_gone(research: Measuring) -> bool:
    """Whether the driver that knew the GPU when the session began knows it no more."""
    device = research.device
    if device.kind != "cuda" or device.id.startswith("hip:"):
        return False
    try:
        gpus = research.executor.driver.gpus()
    except NvmlError:
        return True
    known = {part.uuid for gpu in gpus for part in gpu.usable}
    return device.visible not in known


def _runs(research: Measuring, head: Head) -> bool:
    """Whether the baseline runs to its end now."""
    research.tell("seeing whether the baseline runs")
    probe = _probe(research, head)
    return probe is not None and probe.ok


def _probe(research: Measuring, head: Head) -> TrialResult | None:
    """One more run of the baseline; None if another lane makes one."""
    ledger = research.ledger
    known = [*ledger.head_trials(head.id), *ledger.running_head_trials(head.id)]
    row = ledger.claim_head_trial(
        research.session, head.id, len(known) + 1, research.device.id
    )
    if row is None:
        return None
    label = f"baseline {head.short}, run {row['seed_index'] + 1}"
    return research.trial(head, head.source, row, research.budget_of(head), label)


def _alike(research: Measuring, number: int, result: TrialResult) -> list[Row]:
    """The candidates before this one, as long as they failed as it did."""
    ledger = research.ledger
    mine = ledger.candidate(number)
    quick = _quick(research, mine["head"])
    if time.time() - (mine["started"] or 0.0) > quick:
        return []
    words = _words(str(result.outcome), result.message)
    found: list[Row] = []
    for row in ledger.last_decided(research.session, FAILURES - 1):
        outcome, _, message = row["reason"].partition(": ")
        same = _words(outcome, message) == words and row["state"] == "crash"
        other = row["source_key"] not in {mine["source_key"], *_keys(found)}
        if not (same and other and row["decided"] - row["started"] <= quick):
            break
        found.append(row)
    return found


def _keys(rows: list[Row]) -> list[str]:
    return [row["source_key"] for row in rows]


def _quick(research: Measuring, head: str) -> float:
    spans = [
        row["finished"] - row["started"] for row in research.ledger.head_trials(head)
    ]
    return max(QUICK, 0.1 * statistics.median(spans)) if spans else QUICK


def _checked(research: Measuring) -> list[Row]:
    events = research.ledger.events(research.session)
    return [row for row in events if row["kind"] == CHECKED]


def _words(outcome: str, message: str) -> str:
    """The head of a failure without what differs from one to the next: numbers, paths
    with numbers in them, line ends."""
    head = " ".join(message.splitlines()[:1])
    return re.sub(r"\S*\d\S*", "#", f"{outcome}: {head}")[:200]


def _why(result: TrialResult) -> str:
    first = " ".join(result.message.splitlines()[:1])[:200]
    return f"{result.outcome}: {first}" if first else str(result.outcome)
