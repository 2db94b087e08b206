"""The tools of acceptance runs, on a small ledger that was made for them."""

from __future__ import annotations

import json
import math
import runpy
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from autoresearch_plugin import judge
from autoresearch_plugin.errors import PatchError
from autoresearch_plugin.evidence import e_value
from autoresearch_plugin.judge import Noise, Question, Run
from autoresearch_plugin.ledger import Ledger
from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers.checks import check
from autoresearch_plugin.trial import Outcome, TrialResult

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "acceptance"))  # scripts, not a package

import audit_heads  # noqa: E402
import claimed_vs_audited  # noqa: E402
import collect  # noqa: E402
import nulls  # noqa: E402
import planted  # noqa: E402
import profile_sizes  # noqa: E402

SETTINGS = json.dumps({"rule": "default"})
VERSION = judge.DEFAULT.version
HEAD = (2.40, 2.42, 2.41)
CURVE = ((1, 6.9), (3, 5.5))


class Session:
    """A session in a ledger, with runs and verdicts as the judge would give them."""

    def __init__(self, path: Path, direction: str = "min") -> None:
        self.ledger = Ledger(path)
        self.sign = 1.0 if direction == "min" else -1.0
        self.id = self.ledger.start_session("research", "main", SETTINGS)["id"]
        profile = {"metric": "val_bpb", "direction": direction}
        self.ledger.set_profile(self.id, profile)
        self.ledger.add_head("h", "fingerprint", "sha", "source", None)
        self.ledger.set_head(self.id, "h", None, "fingerprint")
        for value in HEAD:
            trial = self.ledger.claim_head_trial(self.id, "h", len(HEAD))
            self.finish(trial, value)

    def finish(self, trial, value, curve=CURVE, tokens=512):
        """A run ends after some 36 seconds, so that a hundred are a device hour."""
        outcome = Outcome.OK if value is not None else Outcome.NAN
        result = TrialResult(
            outcome,
            metrics={"val_bpb": value} if value is not None else {},
            summary={"tokens_per_step": tokens},
            curve=curve,
        )
        self.ledger.finish_trial(trial["id"], result, value, "cpu:0", "340 steps")
        self.ledger._execute(
            "UPDATE trials SET started = finished - 36 WHERE id=?", trial["id"]
        )

    def candidate(self, title, *values, state=None, **run):
        """A candidate with runs on the first seeds, judged; its number."""
        number = self.ledger.add_candidate(
            self.id,
            "generated",
            {"title": title, "edits": "[]", "signature": title, "head": "h"},
        )
        for index, value in enumerate(values):
            trial = self.ledger.start_trial(self.id, "h", number, index)
            self.finish(trial, value, **run)
        if None not in values:
            verdict = judge.decide(self.question(values))
            self.ledger.add_verdict(number, "h", verdict.decision, verdict.to_data())
            state = state or verdict.decision
        decided = self.ledger.candidate_trials(number)[-1]["finished"] + 1e-3
        self.ledger.update_candidate(
            number, state=state or "crash", reason="words", decided=decided
        )
        return number

    def question(self, values):
        """Candidate and head share seeds; the noise is known."""

        def runs(numbers):
            numbered = enumerate(numbers)
            return tuple(Run(self.sign * x, i, "h", 512.0) for i, x in numbered)

        noise = Noise(0.02, 8.0), Noise(0.005, 8.0)
        return Question(runs(values), {"h": runs(HEAD)}, *noise, sign=self.sign)


@pytest.fixture
def session(tmp_path):
    """A session with a null, a kept effect and a crash."""
    made = Session(tmp_path / "ledger.db")
    made.candidate("3 more random draws", 2.403)
    made.candidate("planted DEPTH 2 no. 0", *(x - 0.03 for x in HEAD))
    made.candidate("ADAM_BETA1 off by -2 millionths", None)
    yield made
    made.ledger.close()


def collected(session):
    return list(collect.records(session.ledger))


class TestRecords:
    def test_a_record_holds_runs_partners_and_evidence(self, session):
        """Values with their seeds, beside the head's on the same ones."""
        null, kept, _ = collected(session)
        seeds = [session.ledger.seed("h", i) for i in range(3)]
        assert (null["kind"], null["state"], null["runs"]) == ("draws", "discard", 1)
        assert (null["seeds"], null["values"]) == (seeds[:1], [2.403])
        assert null["head_values"] == [2.40]
        assert null["d"] == pytest.approx(0.003)
        assert (null["paired"], null["q"], null["grade"]) == (True, 1.0, None)
        assert null["device_seconds"] == pytest.approx(36, abs=1)
        assert (null["rule"], null["rule_version"]) == ("default", VERSION)
        assert (kept["kind"], kept["state"]) == ("planted DEPTH 2", "keep")
        assert kept["head_values"] == list(HEAD)
        assert kept["grade"] == judge.grade(kept["e"])

    def test_a_crash_is_decided_without_a_number(self, session):
        """It counts as a candidate of the session's rule and has no evidence."""
        crash = collected(session)[2]
        assert (crash["state"], crash["runs"], crash["values"]) == ("crash", 1, [])
        assert (crash["e"], crash["e_first"], crash["rule_version"]) == (
            None,
            None,
            VERSION,
        )

    def test_what_is_undecided_is_left_out(self, session):
        """A candidate that waits for another run is no result yet."""
        session.candidate("4 more random draws", 2.39, state="queued")
        assert len(collected(session)) == 3

    @pytest.mark.parametrize(
        ("curve", "differs"),
        [
            (CURVE, False),
            (((1, 6.9), (3, 5.6)), True),
            (((1, 6.9), (2, 4.0)), False),  # compared where both were seen
            (((2, 6.0),), None),
        ],
    )
    def test_curves_are_compared_step_by_step(self, session, curve, differs):
        """A null that leaves every loss as it was has changed nothing."""
        session.candidate("4 more random draws", 2.401, curve=curve)
        assert collected(session)[3]["curve_differs"] is differs

    def test_other_batches_are_no_partner(self, session):
        """A run with other tokens per step saw other text on that seed."""
        session.candidate("planted BATCH_SCALE 0.5 no. 0", 2.5, tokens=256)
        record = collected(session)[3]
        assert (record["head_values"], record["curve_differs"]) == ([None], None)

    def test_the_first_e_value_is_the_recorded_one_or_made_from_the_last_noise(
        self, session
    ):
        """One run: as judged. More: the first difference under the final noise."""
        null, kept, _ = collected(session)
        assert null["e_first"] == null["e"]
        assert kept["e_first"] == pytest.approx(e_value(0.03 / 0.005, 0.7, 8.0))

    def test_a_metric_to_maximise_is_turned_round(self, tmp_path):
        """In the file lower is better, whatever the metric."""
        made = Session(tmp_path / "max.db", "max")
        made.candidate("planted DEPTH 2 no. 0", *(x + 0.03 for x in HEAD))
        (record,) = collected(made)
        made.ledger.close()
        assert record["state"] == "keep"
        assert record["d"] == pytest.approx(-0.03)
        assert record["values"] == pytest.approx([-x - 0.03 for x in HEAD])
        assert record["e_first"] == pytest.approx(e_value(6.0, 0.7, 8.0))


class TestFile:
    def test_a_ledger_is_added_once_and_only_read(self, session, tmp_path):
        """Adding again adds what is new; the ledger stays open for its session."""
        results = tmp_path / "results.jsonl"
        before = session.ledger.path.read_bytes()
        assert collect.add(results, [session.ledger.path]) == 3
        assert collect.add(results, [session.ledger.path]) == 0
        session.candidate("5 more random draws", 2.41)
        assert collect.add(results, [session.ledger.path]) == 1
        assert collect.read(results) == collected(session)
        assert session.ledger.path.read_bytes() == before

    def test_a_missing_ledger_is_not_created(self, tmp_path):
        """A mistyped path is an error, and no empty ledger lies there afterwards."""
        with pytest.raises(FileNotFoundError):
            collect.add(tmp_path / "results.jsonl", [tmp_path / "none.db"])
        assert not (tmp_path / "none.db").exists()

    def test_summary_at_the_terminal(self, session, tmp_path, capsys):
        """`add` says how many, `summarise` prints tables."""
        results = str(tmp_path / "results.jsonl")
        collect.main(["add", results, str(session.ledger.path)])
        collect.main(["summarise", results])
        printed = capsys.readouterr().out.splitlines()
        assert printed[:2] == [
            "3 candidates added",
            f"### Rule default, version {VERSION}",
        ]
        (draws,) = [line for line in printed if line.startswith("| draws")]
        assert draws.startswith("| draws | 1 | 0 | 0.00 | 95.00 | 1.00 | +3.00e-03")
        (depth,) = [line for line in printed if line.startswith("| DEPTH 2")]
        assert depth.startswith("| DEPTH 2 | 1 | 1 | 0 | 0 | 3.00 | -3.00e-02")


class TestSummary:
    def test_dropped_after_one_run_is_counted(self, session):
        """Power of an effect: kept, not kept, and those that went at once."""
        session.candidate("planted DEPTH 2 no. 1", 2.45)
        session.candidate("planted DEPTH 2 no. 2", 2.398, 2.43)
        (row,) = [x for x in collect.summarise(collected(session)) if "DEPTH" in x]
        assert row.startswith("| DEPTH 2 | 3 | 1 | 2 | 1 | 2.00 |")

    def test_rules_have_tables_of_their_own(self, session):
        """Candidates of different rules or versions are never added up."""
        found = collected(session)
        older = [{**record, "rule_version": 1} for record in found]
        titles = [x for x in collect.summarise(found + older) if x.startswith("###")]
        assert titles == [
            "### Rule default, version 1",
            f"### Rule default, version {VERSION}",
        ]

    def test_all_nulls_are_the_nulls(self, session):
        """Planted effects and other candidates are not in the rate of false keeps."""
        session.candidate("another optimizer", 2.45)
        lines = list(collect.summarise(collected(session)))
        (every,) = [line for line in lines if "all nulls" in line]
        assert every.startswith("| **all nulls** | 2 | 0 | 0.00 |")
        assert any(line.startswith("| other | 1 |") for line in lines)

    def test_nothing_makes_no_table(self):
        """An empty file is no reason to divide by zero."""
        assert list(collect.summarise([])) == []

    @pytest.mark.parametrize(
        ("kept", "count", "bound"),
        [
            (0, 60, 1 - 0.05 ** (1 / 60)),
            (1, 1, 1.0),
            (0, 1, 0.95),
            (1, 20, 0.21611),
            (3, 100, 0.075714),
        ],
    )
    def test_bound_of_a_rate(self, kept, count, bound):
        """Clopper and Pearson's upper bound, as tabled."""
        assert collect.at_most(kept, count) == pytest.approx(bound, rel=1e-4)

    def test_bound_agrees_with_the_beta_quantile(self):
        """The same by the inverse of the incomplete beta function."""
        stats = pytest.importorskip("scipy.stats")
        for kept, count in ((0, 5), (2, 9), (7, 200), (40, 41)):
            exact = stats.beta.ppf(0.95, kept + 1, count - kept)
            assert collect.at_most(kept, count) == pytest.approx(exact, rel=1e-9)


def on_the_core():
    """A request about the training module as it is."""
    source = (ROOT / "nanochat_core" / "train.py").read_text()
    return Request("nanochat_core/train.py", source, "abc", "val_bpb", "min")


class TestProposals:
    @pytest.mark.parametrize("vary", ["draws", "rate"])
    def test_planted_effects_apply_and_differ(self, vary):
        """Each proposal passes the checks, and no two make the same source."""
        request, made = on_the_core(), list(planted.proposals(2, vary=vary))
        patched = [check(one, request).apply(request.source) for one in made]
        assert len(set(patched)) == len(made) == 2 * len(planted.EFFECTS)
        assert len({one["title"] for one in made}) == len(made)

    def test_a_kept_effect_is_not_tried_again(self):
        """On a baseline that has it, its proposals are refused."""
        request, made = on_the_core(), list(planted.proposals(2))
        kept = check(made[0], request).apply(request.source)
        check(made[1], replace(request, source=kept))
        with pytest.raises(PatchError, match="occurs 0 times"):
            check(made[len(planted.EFFECTS)], replace(request, source=kept))

    def test_titles_say_the_kind(self):
        """What the scripts write is what the collector reads."""
        kinds = [collect.kind_of(one["title"]) for one in first_nulls(9)]
        assert kinds == ["draws", "rate", "algebra"] * 3
        effects = [f"planted {name}" for name, *_ in planted.EFFECTS]
        titles = [one["title"] for one in planted.proposals(1, first=7)]
        assert [collect.kind_of(title) for title in titles] == effects
        assert collect.kind_of("DEPTH 2") == "other"

    def test_nulls_apply(self):
        """The first dozen nulls passes the checks on the training module."""
        request = on_the_core()
        for one in first_nulls(12):
            check(one, request)

    def test_other_variants_for_other_sessions(self, capsys):
        """`--first` goes on where another file ended."""
        planted.main(["--repeat", "1", "--first", "1"])
        printed = capsys.readouterr().out.splitlines()
        second = list(planted.proposals(2))[len(planted.EFFECTS) :]
        assert [json.loads(line) for line in printed] == second


def first_nulls(count):
    made = nulls.proposals()
    return [next(made) for _ in range(count)]


class TestFigure:
    def test_claims_are_the_keeps_in_their_order(self, session):
        """The first head is there from the start; a keep from its verdict on."""
        found = claimed_vs_audited.claims(session.ledger.path)
        assert [head.candidate for head in found.heads] == [0, 2]
        assert found.heads[0].value == pytest.approx(2.41)
        assert found.heads[1].value == pytest.approx(2.38)
        assert found.heads[1].hours == pytest.approx(7 * 0.01, abs=1e-3)
        assert found.hours == pytest.approx(8 * 0.01, abs=1e-3)

    def test_a_claim_never_gets_worse(self, session):
        """The running best gain follows the direction of the metric."""
        found = claimed_vs_audited.claims(session.ledger.path)
        worse = claimed_vs_audited.Claim(1.0, 2.39, 9)
        longer = replace(found, heads=(*found.heads, worse))
        assert longer.best() == pytest.approx([0.0, 0.03, 0.03])
        upwards = replace(longer, sign=-1.0)
        assert upwards.best() == pytest.approx([0.0, 0.0, 0.0])

    def test_audited_gains_are_those_of_the_same_seeds(self, session):
        """What one end has not run says nothing."""
        found = claimed_vs_audited.claims(session.ledger.path)
        audit = {0: {7: 3.0, 8: 3.1}, 2: {7: 2.9, 9: 1.0}}
        assert found.audited(audit, 2) == pytest.approx([0.1])
        assert found.audited(audit, 5) == []

    def test_interval_is_students(self):
        """Two runs make a wide interval, one run none."""
        pytest.importorskip("scipy")
        mean, half = claimed_vs_audited.interval([1.0, 3.0])
        assert (mean, half) == (2.0, pytest.approx(12.706, abs=1e-3))
        assert claimed_vs_audited.interval([2.0]) == (2.0, 0.0)

    def test_it_draws_a_picture(self, session, tmp_path):
        """From two ledgers and an audit file comes a PNG."""
        pytest.importorskip("matplotlib")
        pytest.importorskip("scipy")
        audit, out = tmp_path / "audit.jsonl", tmp_path / "figure.png"
        rows = [(0, 1, 2.40), (0, 2, 2.42), (2, 1, 2.39), (2, 2, 2.40), (2, 3, None)]
        audit.write_text(
            "".join(
                json.dumps(
                    {"session": "default", "candidate": c, "seed": s, "value": v}
                )
                + "\n"
                for c, s, v in rows
            )
        )
        path = session.ledger.path
        words = [f"default={path}", f"greedy={path}"]
        claimed_vs_audited.main([*words, "--audit", str(audit), "--out", str(out)])
        assert out.read_bytes().startswith(b"\x89PNG")
        assert out.stat().st_size > 10_000


class TestAuditOfHeads:
    def test_heads_are_those_of_the_commits(self, session):
        """The first one, then each keep's, by the candidates that became them."""
        ledger = session.ledger
        keep = next(c for c in ledger.candidates(session.id) if c["state"] == "keep")
        ledger.update_candidate(keep["id"], commit_id="c0ffee")
        ledger.add_head("h2", "fingerprint", "sha2", "source", "c0ffee")
        assert audit_heads.heads(ledger, session.id) == [(0, "h"), (keep["id"], "h2")]

    def test_the_ends_are_among_those_that_are_chosen(self):
        """And the others lie evenly between them."""
        found = [(number, f"h{number}") for number in range(11)]
        assert audit_heads.spread(found, 12) == found
        assert [n for n, _ in audit_heads.spread(found, 3)] == [0, 5, 10]

    def test_parts_make_every_run_once_and_go_on(self):
        """What is in the file is not made again."""
        chosen, seeds = [(0, "a"), (3, "b"), (5, "c")], [71, 72]
        parts = [
            list(audit_heads.todo(chosen, seeds, {(3, 71)}, (i, 2))) for i in (0, 1)
        ]
        made = sorted((who, seed) for part in parts for who, _, seed in part)
        assert made == [(0, 71), (0, 72), (3, 72), (5, 71), (5, 72)]


def test_sizes_of_the_profile_are_compared_by_copies_of_the_core(tmp_path):
    """Each variant is the core that ships but for its size."""
    for name, (depth, context) in profile_sizes.VARIANTS.items():
        place = tmp_path / name
        place.mkdir()
        profile_sizes.write_core(place, depth, context)
        found = runpy.run_path(str(place / "nanochat_core" / "profiles.py"))["CPU"]
        assert (found.config.depth, found.config.sequence_len) == (depth, context)
        rows = found.config.device_batch_size
        assert rows * context == found.config.total_batch_size
        assert math.ceil(depth * found.config.aspect_ratio / 32) == 2  # heads
    row = {"variant": name, "budget": 340, "steps": 400, "cpu": 20.0}
    *_, line = profile_sizes.table(
        [{**row, "seed": seed, "val_bpb": 2.3 + seed / 50} for seed in range(3)]
    )
    assert line == f"| {name} | 340 | 400 | 3 | 2.3200 | 0.0200 | 20 |"
