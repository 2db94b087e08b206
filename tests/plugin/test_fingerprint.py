"""Fingerprints: which numbers may be compared, and what changed when they may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin import fingerprint as fp
from autoresearch_plugin.trial import Budget, Profile

PROFILE = Profile(
    name="tiny",
    metric="val_bpb",
    direction="min",
    budget=Budget("steps", 20),
    fingerprint={"core": "a" * 64, "corpus": "b" * 64, "torch": "2.13.0"},
)
STEPS = Budget("steps", 20)


def identity(profile=PROFILE, budget=STEPS, command="run", device="H100"):
    """A fingerprint that differs from the default in what is named."""
    return fp.fingerprint(profile, budget, command, device)


def test_the_same_set_up_has_the_same_identity():
    """It depends on values alone, in whatever order they come."""
    turned = dict(reversed(PROFILE.fingerprint.items()))
    assert identity(replace(PROFILE, fingerprint=turned)) == identity()
    assert len(identity()) == 12


@pytest.mark.parametrize(
    "changed",
    [
        {"profile": replace(PROFILE, name="cpu")},
        {"profile": replace(PROFILE, metric="loss")},
        {"profile": replace(PROFILE, direction="max")},
        {"profile": replace(PROFILE, fingerprint={"core": "c" * 64})},
        {"budget": Budget("steps", 21)},
        {"budget": Budget("seconds", 20)},
        {"command": "run --fast"},
        {"device": "A100"},
    ],
)
def test_whatever_moves_the_metric_is_part_of_it(changed):
    """Code, corpus, profile, budget, command and device model."""
    assert identity(**changed) != identity()


@pytest.mark.parametrize(
    "changed",
    [
        {"limits": {"train": 5.0}},
        {"lines": ("hello",)},
        {"noise_unpaired": 0.1, "noise_df": 9.0},
    ],
)
def test_what_does_not_move_the_metric_is_no_part_of_it(changed):
    """Deadlines, words and the noise prior may change without a new baseline."""
    assert identity(replace(PROFILE, **changed)) == identity()


def test_the_target_is_no_part_of_it():
    """A baseline is a set-up with a target; noise is shared by the set-up."""
    one, two = fp.head_id(identity(), "a" * 64), fp.head_id(identity(), "b" * 64)
    assert one != two
    assert one != fp.head_id(identity(device="A100"), "a" * 64)
    assert one == fp.head_id(identity(), "a" * 64)


def test_differences_name_the_part_and_both_values():
    """One line each, hashes cut to ten digits."""
    old = fp.parts(PROFILE, STEPS, "run", "H100")
    facts = {**PROFILE.fingerprint, "torch": "2.14.0", "core": "c" * 64}
    new = fp.parts(replace(PROFILE, fingerprint=facts), STEPS, "run", "A100")
    assert fp.differences(old, new) == [
        "core: aaaaaaaaaa -> cccccccccc",
        "device_model: H100 -> A100",
        "torch: 2.13.0 -> 2.14.0",
    ]


def test_a_part_that_comes_or_goes_is_a_difference():
    """A command may learn to say more of itself."""
    assert fp.differences({"a": 1}, {"b": 2}) == ["a: 1 -> None", "b: None -> 2"]


PARTS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=5))


@given(PARTS, PARTS)
def test_there_are_differences_exactly_when_the_parts_differ(old, new):
    """No change goes unexplained, none is made up."""
    assert (fp.differences(old, new) == []) == (old == new)
