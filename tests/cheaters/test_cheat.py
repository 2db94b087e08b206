"""Every cheater of this folder is refused or gains nothing; the honest are let pass."""

import math
import shutil

import pytest

from nanochat_core.errors import Died, Failure
from nanochat_core.server import LATE
from tests.cheaters.conftest import CODE_LINES, HERE, cheaters, digest

ALL = cheaters()
SAME = 1e-6  # bits per byte that count as none
SCORED = [x for x in ALL if x.header["phase"] == "score"]
TRAINED = [x for x in ALL if x.header["phase"] == "train"]


def named(found):
    return [pytest.param(x, id=x.name, marks=marks(x)) for x in found]


def marks(cheater):
    """A hole that is known and open fails strictly: whoever closes it will notice."""
    why = cheater.header.get("open")
    return [pytest.mark.xfail(reason=why, raises=AssertionError)] if why else []


@pytest.fixture
def words(request, laboratory):
    """What the cheater's processes are started with."""

    def choose(cheater):
        if cheater.header.get("needs") == "sandbox":
            return request.getfixturevalue("sandbox")
        return laboratory.words

    return choose


def outcome(run):
    """(outcome, reason) of a run, or what it returned."""
    try:
        return run()
    except Failure as failure:
        return failure.outcome, failure.message
    except Died as died:
        return "died", str(died.code)


@pytest.fixture(scope="session")
def truth(laboratory):
    """The honest checkpoint's score, by the plain way: one process, no question."""
    return plain(laboratory, laboratory.spec(""), laboratory.checkpoint())


def plain(laboratory, spec, checkpoint):
    from dataclasses import asdict

    import numpy as np

    from nanochat_core.evaluate import Scored, batches
    from nanochat_core.producer import Model

    job = {"profile": asdict(laboratory.profile), "threads": 1}
    model = Model({**job, "checkpoint": checkpoint, "source": spec["source"]})
    scored = Scored(laboratory.profile, laboratory.prepared, "val")
    size = laboratory.profile.eval_batch_size
    nll = [model.claims(rows) for rows in batches(scored.windows, size)]
    return scored.bits_per_byte(np.concatenate(nll))


BF16 = """
wide = GPT.forward


def forward(self, idx):
    with torch.autocast("cpu", torch.bfloat16):
        return wide(self, idx)


GPT.forward = forward
"""
HONEST = {
    "as shipped": "",
    "bfloat16": BF16,
    "windowed": "WINDOW_PATTERN, SHORT_WINDOW = 'SL', 0.25",
    "no value embeddings": "has_value_embedding = lambda layer, depth: False",
    "all value embeddings": "has_value_embedding = lambda layer, depth: True",
}
COMPILED = "GPT.forward = torch.compile(GPT.forward, dynamic=False)"


@pytest.mark.parametrize("code", HONEST.values(), ids=HONEST)
def test_no_cheat_is_let_pass(laboratory, code):
    """And its score is that of a plain evaluation in one process, to 1e-6."""
    pass_with_the_plain_score(laboratory, code)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcc"), reason="torch.compile needs a C compiler")
def test_no_cheat_is_let_pass_when_compiled(laboratory):
    """Kernels that another process compiled give the same numbers."""
    spec = laboratory.spec(COMPILED, checkpoint=laboratory.checkpoint())
    assert laboratory.score(spec).largest_difference < 1e-4


def pass_with_the_plain_score(laboratory, code):
    spec = laboratory.spec(code, checkpoint=laboratory.checkpoint(code))
    found = laboratory.score(spec)
    expected = plain(laboratory, spec, spec["checkpoint"])
    assert found.bits_per_byte == pytest.approx(expected, abs=SAME)
    assert found.largest_difference < 1e-4


@pytest.mark.parametrize("cheater", ALL, ids=[x.name for x in ALL])
def test_a_cheater_is_short_and_says_what_it_is(cheater):
    """So that somebody reads it: a row, a phase, an expectation, fifteen lines."""
    assert cheater.code_lines <= CODE_LINES
    assert cheater.header["phase"] in ("score", "train")
    assert cheater.header["expect"]
    assert cheater.tries.endswith(".")


def test_the_list_of_cheaters_is_complete():
    """README.md has a line for each, with its row and its own words."""
    listed = (HERE / "README.md").read_text(encoding="utf-8")
    for x in ALL:
        assert f"| [{x.name}]({x.name}.py) | {x.header['row']} | {x.tries} |" in listed


@pytest.mark.parametrize("cheater", named(SCORED))
def test_cheating_on_the_score(laboratory, truth, words, cheater):
    """With an honest checkpoint: claims and answers of the cheater's own processes."""
    spec = laboratory.spec(
        cheater.text, words(cheater), checkpoint=laboratory.checkpoint()
    )
    found = outcome(lambda: laboratory.score(spec))
    expected, _, reason = cheater.header["expect"].partition(": ")
    if expected in ("honest", "gains nothing"):
        assert not isinstance(found, tuple), found
        slack = SAME + 4 * found.standard_error
        assert found.bits_per_byte >= truth - slack
        if expected == "honest":
            assert found.bits_per_byte == pytest.approx(truth, abs=SAME)
    else:
        assert isinstance(found, tuple), f"{found}, in truth {truth}"
        assert found[0] == expected
        assert reason in found[1]
        assert "CANARY" not in found[1]


@pytest.fixture(scope="session")
def three_steps(laboratory):
    """sha256 and score of what three honest steps leave."""
    spec = laboratory.spec("")
    laboratory.train(spec)
    return digest(spec["checkpoint"]), laboratory.score(spec).bits_per_byte


def budget(header):
    amount, unit = header.get("budget", "3 steps").split()
    return {"unit": unit, "amount": float(amount)}


@pytest.mark.parametrize("cheater", named(TRAINED))
def test_cheating_on_the_budget(laboratory, three_steps, words, cheater, capfd):
    """A training of a few steps or seconds with the cheater in it."""
    header = cheater.header
    spec = laboratory.spec(
        cheater.text,
        words(cheater),
        budget=budget(header),
        interim=float(header["interim"]) if "interim" in header else None,
        tokens_per_step=512,
    )
    found = outcome(lambda: laboratory.train(spec))
    expected, _, reason = header["expect"].partition(": ")
    if expected == "within budget or too late":  # as fast as the machine saves
        late = found[0] == "timeout-train"
        expected = "timeout-train" if late else "within budget"
    if expected in ("same checkpoint", "within budget", "gains nothing"):
        assert isinstance(found[0], dict), found
        in_budget(spec, *found)
        if expected == "gains nothing":
            assert laboratory.score(spec).bits_per_byte >= three_steps[1] - SAME
        if expected == "same checkpoint":
            assert digest(spec["checkpoint"]) == three_steps[0]
        assert "LEAK" not in "".join(capfd.readouterr())
    else:
        assert found[0] == expected, found
        assert reason in found[1]


def in_budget(spec, summary, events):
    amount, unit = spec["budget"]["amount"], spec["budget"]["unit"]
    numbers = [x for x in summary.values() if x is not None]
    assert all(type(x) in (int, float) and math.isfinite(x) for x in numbers)
    assert all(0 <= x < 1e9 for x in numbers)
    assert [e["phase"] for e in events if e["event"] == "phase"][-2:] == [
        "train",
        "save",
    ]
    if unit == "seconds":
        assert summary["training_seconds"] <= amount * (1 + LATE)
    else:
        assert summary["num_steps"] <= amount
        assert summary["total_tokens_M"] * 1e6 <= amount * spec["tokens_per_step"]
