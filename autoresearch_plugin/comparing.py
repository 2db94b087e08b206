"""From the ledger's rows to the judge's question: which runs, how noisy they are."""

from __future__ import annotations

import math
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING

from autoresearch_plugin import comparable, judge
from autoresearch_plugin.ledger.trials import going_on

if TYPE_CHECKING:
    from autoresearch_plugin.idea import Head
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.measuring import Measuring
    from autoresearch_plugin.trial import TrialResult


SAME_START = 2e-6  # relative difference of first losses that rounding may make


def verdict(measuring: Measuring, number: int, head: Head) -> judge.Verdict:
    """What the rule says of a candidate's runs on one head."""
    return judge.decide(question(measuring, number, head), measuring.rule)


def verdict_with(
    measuring: Measuring,
    number: int,
    head: Head,
    row: Row,
    result: TrialResult,
    value: float,
) -> judge.Verdict:
    """What the rule will say once this run, which is not recorded yet, counts too."""
    asked = question(measuring, number, head)
    tokens = result.summary.get("tokens_per_step")
    run = judge.Run(measuring.profile.sign * value, row["seed"], head.id, tokens)
    return judge.decide(
        replace(asked, candidate=(*asked.candidate, run)), measuring.rule
    )


def question(measuring: Measuring, number: int, head: Head) -> judge.Question:
    """What the rule is asked about a candidate on one head."""
    ledger, sign = measuring.ledger, measuring.profile.sign
    devices = comparable.Devices(measuring)
    mine = ledger.good_trials(number, head.id)
    base = comparable.met_by(measuring, head, devices, devices.own)
    heads = {head.id: base}
    for row in mine:
        name = head.id + devices.group(row["device"])
        if name not in heads:
            heads[name] = comparable.met_by(measuring, head, devices, row["device"])
    evidence = ledger.kept_evidence(measuring.session, but=number)
    kept = [judge.Verdict.from_data(one) for one in evidence]
    asked = ledger.candidate(number)
    return judge.Question(
        candidate=tuple(
            _run_of(row, sign, head.id + devices.group(row["device"])) for row in mine
        ),
        heads={
            name: tuple(_run_of(row, sign, name) for row in rows)
            for name, rows in heads.items()
        },
        unpaired=unpaired_noise(measuring, head),
        paired=_noise_of_pairs(measuring, head, mine, base),
        added_lines=asked["added_lines"] or 0,
        vram_ratio=_vram_ratio(measuring, mine, base),
        max_runs=measuring.max_runs,
        sign=sign,
        kept=tuple(v.e_value for v in kept),
        conceded=sum(max(0.0, v.d) for v in kept if not v.proven_lower),
        bundled=measuring.bundles and asked["kind"] == "generated",
    )


def pairs_are_sharper(measuring: Measuring, head: Head) -> bool:
    """Whether the differences of pairs scatter less than runs do."""
    if not measuring.paired:
        return False
    return paired_noise(measuring, head).sigma < unpaired_noise(measuring, head).sigma


def unpaired_noise(measuring: Measuring, head: Head) -> judge.Noise:
    """Spread of one run, pooled over everything run under this fingerprint."""
    prior = judge.Prior(measuring.profile.noise_unpaired, measuring.profile.noise_df)
    devices = comparable.Devices(measuring)
    groups: dict[tuple[str, int | None, str], list[float]] = {}
    for row in measuring.ledger.fingerprint_values(measuring.fingerprint):
        key = (row["head"], row["candidate"], devices.group(row["device"]))
        groups.setdefault(key, []).append(row["value"])
    return judge.pooled_noise(groups.values(), _level(measuring, head), prior)


def _noise_of_pairs(
    measuring: Measuring, head: Head, mine: list[Row], base: list[Row]
) -> judge.Noise | None:
    """The spread to expect of these pairs; None where runs are not paired."""
    if not measuring.paired:
        return None
    alike = all(_starts_alike(*pair) for pair in _pairs(mine, base))
    return paired_noise(measuring, head, alike)


def paired_noise(measuring: Measuring, head: Head, alike: bool = True) -> judge.Noise:
    """Spread of candidate minus baseline on one seed, over all candidates.

    Pairs that began with the same model are `alike`. Others share the batches and
    little else, so theirs is another pool: it starts from two runs of different seeds.
    """
    profile = measuring.profile
    relative = profile.noise_paired
    if not alike and relative is not None and profile.noise_unpaired is not None:
        relative = max(relative, math.sqrt(2) * profile.noise_unpaired)
    groups = grouped(measuring, measuring.ledger.noise_trials(measuring.fingerprint))
    differences = [
        [
            row["value"] - partner["value"]
            for row, partner in _pairs(rows, groups.get((parent, None), []))
            if _starts_alike(row, partner) == alike
        ]
        for (parent, number), rows in groups.items()
        if number is not None
    ]
    prior = judge.Prior(relative, profile.noise_df)
    return judge.paired_noise(differences, _level(measuring, head), prior)


def _pairs(mine: list[Row], base: list[Row]) -> list[tuple[Row, Row]]:
    """Only runs that saw the same batches pair; another batch size decouples them."""
    partner = {(row["seed"], _tokens(row)): row for row in base}
    keys = [(row["seed"], _tokens(row)) for row in mine]
    return [
        (row, partner[key])
        for row, key in zip(mine, keys, strict=True)
        if key in partner
    ]


def _starts_alike(mine: Row, base: Row) -> bool:
    """Whether both runs began with the same model, as far as they say."""
    return same_start(*(row["summary"].get("first_loss") for row in (mine, base)))


def same_start(one: float | None, other: float | None) -> bool:
    """Whether two first losses are those of one model; a command may tell none."""
    if one is None or other is None:
        return one is other
    return math.isclose(one, other, rel_tol=SAME_START)


def grouped(
    measuring: Measuring, rows: list[Row]
) -> dict[tuple[str, int | None], list[Row]]:
    """Runs by what was run: (head, candidate or None). A baseline's are those, too,
    that it has from its time as a candidate."""
    groups: dict[tuple[str, int | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["head"], row["candidate"]), []).append(row)
    for origin in measuring.ledger.origins(measuring.fingerprint):
        runs = groups.get((origin["parent"], origin["candidate"]), [])
        own = groups.setdefault((origin["head"], None), [])
        own += going_on(runs, bool(origin["paired"]))
    return groups


def _run_of(row: Row, sign: float, head: str) -> judge.Run:
    return judge.Run(sign * row["value"], row["seed"], head, _tokens(row))


def _tokens(row: Row) -> float | None:
    tokens: float | None = row["summary"].get("tokens_per_step")
    return tokens


def _level(measuring: Measuring, head: Head) -> float:
    """Size of the metric, the unit of the priors."""
    values = [row["value"] for row in measuring.ledger.head_trials(head.id)]
    return abs(statistics.fmean(values)) if values else 1.0


def _vram_ratio(measuring: Measuring, mine: list[Row], base: list[Row]) -> float | None:
    if measuring.device.kind != "cuda":
        return None
    peak = max((_peak(row) for row in base), default=0.0)
    return max(map(_peak, mine)) / peak if peak and mine else None


def _peak(row: Row) -> float:
    return float(row["summary"].get("peak_vram_mb") or 0.0)
