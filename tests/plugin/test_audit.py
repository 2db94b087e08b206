"""The audit: first against last baseline on hidden text, the only headline."""

from __future__ import annotations

import random
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.audit import Audit, compare, t_quantile
from autoresearch_plugin.cli import main
from autoresearch_plugin.evidence import Noise
from tests.plugin.conftest import Project

SIGMA = Noise(1.0, 40.0)


def audit(
    first: list[float],
    last: list[float],
    paired: Noise | None = None,
    claimed: float = -2.0,
    sign: float = 1.0,
) -> Audit:
    """The audit of scores whose seeds are their places."""
    found = compare(
        dict(enumerate(first)), dict(enumerate(last)), SIGMA, paired, claimed, sign
    )
    assert found is not None
    return found


# ----------------------------------------------------------------------- arithmetic


def test_the_difference_has_an_interval() -> None:
    """Mean against mean, t times the pooled sd times sqrt(1/3 + 1/3)."""
    found = audit([10.0, 11.0, 12.0], [8.0, 9.0, 10.0])
    assert found.difference == pytest.approx(-2.0)
    assert found.half_width == pytest.approx(t_quantile(0.975, 44) * (2 / 3) ** 0.5)
    assert found.confirmed
    assert not found.contradicts


def test_pairs_are_used_where_they_are_sharper() -> None:
    """With runs of one seed alike, the difference is known better."""
    first, last = [10.0, 14.0, 18.0], [9.0, 13.1, 16.9]
    pairs = audit(first, last, Noise(0.1, 40.0))
    assert pairs.paired
    assert pairs.half_width < 0.2
    assert not audit(first, last, Noise(9.0, 40.0)).paired


def test_too_few_runs_are_no_audit() -> None:
    """Three of either baseline at least."""
    scores = {0: 1.0, 1: 1.1}
    assert compare(scores, {**scores, 2: 1.2}, SIGMA, None, 0.0, 1.0) is None


def test_the_runs_own_spread_counts() -> None:
    """Hidden text may be noisier than the session knew."""
    calm = audit([10.0, 10.1, 10.2], [8.0, 8.1, 8.2])
    wild = audit([0.0, 10.0, 20.0], [0.0, 8.0, 16.0])
    assert wild.half_width > 2 * calm.half_width


def test_keeps_are_revoked_when_nothing_is_left_of_them() -> None:
    """No gain shown, and what they claim outside the interval."""
    first, last = [10.0, 10.1, 10.2], [10.0, 10.2, 10.1]
    assert audit(first, last, claimed=-5.0).contradicts
    assert not audit(first, last, claimed=-0.5).contradicts
    gained = [5.0, 5.1, 5.2]
    assert not audit(
        first, gained, claimed=-9.0
    ).contradicts  # a gain, if a smaller one


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=6), st.floats(-5, 5))
def test_a_rising_metric_is_the_mirror_image(last: list[float], claimed: float) -> None:
    """The same verdict with the signs of everything turned."""
    first = [0.1, 0.2, 0.3]
    down = audit(first, last, claimed=claimed)
    up = audit([-x for x in first], [-x for x in last], claimed=-claimed, sign=-1.0)
    assert up.difference == pytest.approx(-down.difference)
    assert (up.confirmed, up.contradicts) == (down.confirmed, down.contradicts)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    """2,000 audits of a known difference, three runs each: 95 % within two points."""
    rng = random.Random(0)
    hits = 0
    for _ in range(2000):
        first = [rng.gauss(10, 1) for _ in range(3)]
        last = [rng.gauss(9, 1) for _ in range(3)]
        found = audit(first, last)
        hits += abs(found.difference + 1) <= found.half_width
    assert 0.93 <= hits / 2000 <= 0.97


@pytest.mark.parametrize(
    ("df", "value"),
    [(2, 4.302653), (4, 2.776445), (10, 2.228139), (100, 1.983972), (1e12, 1.9602)],
)
def test_quantiles_are_those_of_the_tables(df: float, value: float) -> None:
    """Student's t at 97.5 %."""
    assert t_quantile(0.975, df) == pytest.approx(value, abs=2e-6 if df < 1e4 else 1e-4)


# -------------------------------------------------------------------------- sessions


ALWAYS = "--autoresearch-audit=always"


def kept(project: Project) -> list[str | None]:
    """Names in kept.xml."""
    tree = ET.parse(project.path / "autoresearch-report" / "kept.xml")
    return [case.get("name") for case in tree.iter("testcase")]


def seals(project: Project) -> int:
    """Checkpoints that are kept for an audit."""
    return len(list((project.path / ".autoresearch" / "checkpoints").glob("*/*")))


def test_a_session_with_a_keep_ends_with_its_audit(project: Project) -> None:
    """The headline is hidden; both ends are trained with seeds that nobody has used."""
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    result = project.research(ALWAYS)
    result.stdout.re_match_lines(
        [r"AUDIT   score -0\.0[12]\d* ± 0\.00\d+ \(95 %\) on hidden text: 3\.\d+ -> "
         r"3\.\d+, 3 \+ 3 runs, paired"]
    )  # fmt: skip
    rows = project.ledger().audits(1)
    assert all(row["trained"] for row in rows)
    seeds = {row["seed"] for row in rows}
    assert len(seeds) == 3
    assert not seeds & {row["seed"] for row in project.ledger().session_trials(1)}
    assert kept(project) == ["test_decay"]


SECONDS = "--unit seconds --amount 0.05 --noise 0.001"


def test_without_pairs_the_first_baseline_is_not_trained_again(
    project: Project,
) -> None:
    """Its calibration runs are scored from their sealed checkpoints."""
    project.configure(SECONDS)
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    result = project.research(ALWAYS)
    result.stdout.fnmatch_lines(["AUDIT   score *, 3 + 3 runs"])
    rows = project.ledger().audits(1)
    first = project.ledger().session(1)["first_head"]
    assert all(row["trained"] == (row["head"] != first) for row in rows)
    assert seals(project) >= 3


def test_without_a_keep_there_is_none(project: Project) -> None:
    """Nothing has moved, so there is nothing to score."""
    project.candidate("nothing", 'set("WIDTH", 3)', strict=False)
    project.commit()
    result = project.research(ALWAYS)
    result.stdout.no_fnmatch_line("AUDIT*")
    assert not project.ledger().audits(1)


def test_a_short_session_says_what_an_audit_would_take(project: Project) -> None:
    """Eight percent of a short session do not pay for three runs."""
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    result = project.research()
    result.stdout.fnmatch_lines(
        ["AUDIT   none:*8% of the device time; `autoresearch audit`*"]
    )
    assert not project.ledger().audits(1)


def test_never_keeps_no_checkpoints(project: Project) -> None:
    """And says that there is no audit."""
    project.configure(SECONDS)
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    result = project.research("--autoresearch-audit=never")
    result.stdout.fnmatch_lines(["AUDIT   none:*no audit was asked for*"])
    assert seals(project) == 0


def test_two_lanes_share_the_audit(project: Project) -> None:
    """Every score is made once."""
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    project.research(ALWAYS, "-n", "2")
    rows = project.ledger().audits(1)
    assert len(rows) == len({(row["head"], row["seed"]) for row in rows}) == 6


def test_what_the_audit_contradicts_is_revoked(project: Project) -> None:
    """It leaves kept.xml, and every place that named it says so."""
    project.configure("--overfits --noise 0.0005")
    project.candidate("decay", 'set("DECAY", True)')
    start = project.commit()
    result = project.research(ALWAYS, "--autoresearch-require-keep")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "REVOKED #001 *",
            "AUDIT   score *",
            "*they are revoked, and not in kept.xml",
            f"undo    git branch -f autoresearch/main {start[:7]}",
        ]
    )
    result.stdout.no_fnmatch_line("take *")
    assert kept(project) == []
    table = (project.path / "autoresearch-report" / "results.tsv").read_text()
    assert "\tdiscard\tdecay (revoked by the audit)" in table
    assert project.ledger().candidate(1)["reason"].startswith("revoked by the audit: ")


def test_an_audit_can_be_made_afterwards(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """`autoresearch audit` scores, prints the headline, and writes the reports anew."""
    project.configure("--overfits --noise 0.0005")
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    project.research()
    assert kept(project) == ["test_decay"]
    assert main(["--root", str(project.path), "audit"]) == 0
    printed = capsys.readouterr().out
    assert "3 runs each of 10 steps" in printed
    assert "AUDIT   score " in printed
    assert kept(project) == []
    assert main(["--root", str(project.path), "audit", "--runs", "4"]) == 0
    assert "4 + 4 runs" in capsys.readouterr().out


def test_an_audit_needs_a_keep(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line that says what is missing; so does a wrong number of runs."""
    project.candidate("nothing", 'set("WIDTH", 3)', strict=False)
    project.commit()
    project.research()
    assert main(["--root", str(project.path), "audit"]) == 1
    assert "nothing was kept" in capsys.readouterr().err
    assert main(["--root", str(project.path), "audit", "--runs", "2"]) == 1
    assert "give 3 to 20 runs" in capsys.readouterr().err


def test_lost_checkpoints_are_made_again(project: Project) -> None:
    """A later audit trains the first baseline anew where its seals are gone."""
    project.configure(SECONDS)
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    project.research()
    for path in (project.path / ".autoresearch" / "checkpoints").glob("*/*"):
        path.unlink()
    assert main(["--root", str(project.path), "audit"]) == 0
    assert all(row["trained"] for row in project.ledger().audits(1))


def test_a_command_that_cannot_score_hidden_text_is_told_the_way_out(
    project: Project,
) -> None:
    """The keeps stay; the failure names the split and what `describe` must not say."""
    project.candidate("decay", 'set("DECAY", True)')
    project.configure("""--no-hidden --describe '{"hidden": true}'""")
    project.commit()
    result = project.research(ALWAYS)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*split `test`*must not say `hidden`*"])
    assert project.states()["decay"] == "keep"


def test_a_command_without_hidden_text_is_not_audited(project: Project) -> None:
    """To score the same text again would prove nothing."""
    project.candidate("decay", 'set("DECAY", True)')
    project.configure("--no-hidden")
    project.commit()
    result = project.research(ALWAYS)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["AUDIT   none:*has no hidden split"])


def test_an_audit_measures_as_its_session_did(
    project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another core or corpus is refused, with both fingerprints."""
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    project.research()
    project.configure("--noise 0.7")
    with project.ledger()._transaction():
        row = project.ledger().session(1)
        settings = row["settings"].replace("0.0005", "0.7")
        project.ledger()._execute("UPDATE sessions SET settings=?", settings)
    assert main(["--root", str(project.path), "audit"]) == 1
    assert "was measured under fingerprint" in capsys.readouterr().err


def test_an_audit_that_confirms_takes_a_revocation_back(project: Project) -> None:
    """The reason of a keep is that of the latest look at all scores."""
    project.configure("--overfits --noise 0.0005")
    project.candidate("decay", 'set("DECAY", True)')
    project.commit()
    project.research(ALWAYS)
    ledger = project.ledger()
    assert ledger.candidate(1)["reason"].startswith("revoked by the audit: keep: ")
    first = ledger.session(1)["first_head"]
    ledger._execute("UPDATE audits SET value=value + 1 WHERE head=?", first)
    assert main(["--root", str(project.path), "audit"]) == 0
    assert ledger.candidate(1)["reason"].startswith("keep: ")
