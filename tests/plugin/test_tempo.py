"""Under a budget in seconds runs are compared on devices that are equally fast."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import tempo
from autoresearch_plugin.cli import main
from autoresearch_plugin.tempo import Count, Difference, differences, equals, words
from tests.plugin.conftest import Project

STEPS = st.floats(100, 10_000)


def counts(**steps: list[float]) -> list[Count]:
    """Runs of one commit, by device."""
    return [Count("h", name, n) for name, runs in steps.items() for n in runs]


# ----------------------------------------------------------------------- arithmetic


def test_a_device_is_as_fast_as_itself() -> None:
    """Also before it has run anything."""
    assert equals([], "a") == {"a"}
    assert equals(counts(a=[950.0]), "a") == {"a"}
    assert words(counts(a=[950.0]), "a") is None


def test_a_few_tenths_of_a_per_cent_are_no_difference() -> None:
    """As GPUs of one kind have them."""
    assert equals(counts(a=[950.0, 951.0], b=[949.0, 952.0]), "a") == {"a", "b"}


def test_two_per_cent_are_one_from_the_first_runs_on() -> None:
    """They move val_bpb by more than its noise."""
    both = counts(a=[950.0], b=[931.0])
    assert equals(both, "a") == {"a"}
    assert equals(both, "b") == {"b"}
    assert words(both, "b") == (
        "b makes another number of steps in the same time (-2.0% against a): what runs "
        "on it is compared with baseline runs of its own"
    )


def test_devices_whose_runs_vary_are_not_told_apart() -> None:
    """Cores that others use, too: that is noise, and measured as such."""
    varied = counts(a=[950.0, 900.0, 1000.0], b=[930.0, 980.0, 890.0])
    assert equals(varied, "a") == {"a", "b"}


def test_a_device_nobody_can_compare_with_is_not_equal() -> None:
    """It has run no commit that the other one ran."""
    apart = [Count("h", "a", 950.0), Count("i", "b", 950.0)]
    assert equals(apart, "a") == {"a"}
    assert words(apart, "a") is None


def test_each_commit_is_compared_with_itself() -> None:
    """A faster commit on one device says nothing of the device."""
    runs = [*counts(a=[950.0], b=[950.0]), Count("i", "a", 1900.0)]
    assert differences(runs, "a")["b"].share == pytest.approx(0.0)


def test_many_runs_tell_what_a_few_do_not() -> None:
    """The standard error falls with the number of runs."""
    few = differences(counts(a=[1000.0], b=[994.0]), "a")["b"]
    many = differences(counts(a=[1000.0] * 9, b=[994.0] * 9), "a")["b"]
    assert few.is_none
    assert not many.is_none


@given(st.lists(STEPS, min_size=1, max_size=5), st.lists(STEPS, min_size=1, max_size=5))
def test_what_differs_from_what_is_mutual(a: list[float], b: list[float]) -> None:
    """Either device is as fast as the other, or none is."""
    both = counts(a=a, b=b)
    assert ("b" in equals(both, "a")) == ("a" in equals(both, "b"))
    one, other = differences(both, "a")["b"], differences(both, "b")["a"]
    assert one.log == pytest.approx(-other.log)


def test_the_tolerance_is_two_sided() -> None:
    """Slower or faster, and known well enough."""
    assert Difference(tempo.TOLERANCE, 0.0).is_none
    assert not Difference(-2 * tempo.TOLERANCE, 0.0).is_none
    assert Difference(-2 * tempo.TOLERANCE, tempo.TOLERANCE).is_none


# -------------------------------------------------------------------------- a session


@pytest.fixture
def unequal(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A project on two GPUs, the second of which makes half the steps."""
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0,1")
    project.configure("--noise 0 --unit seconds --amount 0.1 --paces 40,20")
    return project


def test_a_no_op_gains_nothing_on_the_faster_gpu(unequal: Project) -> None:
    """Each is compared with baseline runs of its own device, so exactly nothing comes
    out; a keep is one on either, and the user is told."""
    for number in range(6):
        unequal.candidate(f"null_{number}", f'set("STEP_COST", {(9 + number) / 8})')
    unequal.candidate("width", 'set("WIDTH", 9)', strict=False)
    unequal.commit()

    result = unequal.research("-n2", "--autoresearch-audit=always")

    assert result.ret == 1, result.stdout.str()  # the no-ops' tests fail
    result.stdout.fnmatch_lines(
        ["*hip:1 makes another number of steps in the same time (-50.0% against*"]
    )
    ledger = unequal.ledger()
    rows = ledger.candidates(1)
    nulls = [row for row in rows if row["title"].startswith("null")]
    assert len(nulls) == 6
    for row in nulls:
        assert row["state"] == "discard"
        assert row["evidence"]["d"] == pytest.approx(0.0, abs=1e-12)
    assert [row["state"] for row in rows if row["title"].startswith("width")] == [
        "keep"
    ]
    used = {row["device"] for row in ledger.session_trials(1) if row["candidate"]}
    assert used == {"hip:0", "hip:1"}


def test_both_ends_of_an_audit_are_run_on_equal_devices(unequal: Project) -> None:
    """Its difference is that of the keeps, whichever GPU began it; and what another
    device left half done is made anew."""
    unequal.candidate("width", 'set("WIDTH", 9)')
    unequal.commit()
    assert unequal.research("-n2", "--autoresearch-audit=always").ret == 0
    ledger = unequal.ledger()
    audits = ledger.audits(1)
    assert len({row["device"] for row in audits}) == 1
    ends = {row["head"]: row["value"] for row in audits}
    assert sorted(ends.values())[1] - min(ends.values()) == pytest.approx(0.05)

    ledger._execute("UPDATE audits SET device='hip:1', owner='gone' WHERE device<>''")
    assert main(["--root", str(unequal.path), "audit", "--runs", "4"]) == 0
    assert {row["device"] for row in ledger.audits(1)} == {"hip:0"}
