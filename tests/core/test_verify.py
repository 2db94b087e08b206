"""What is drawn, what is estimated, and what is refused. No process here: a fake answers."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanochat_core import profiles, verify
from nanochat_core.errors import Failure
from nanochat_core.evaluate import batches
from nanochat_core.verify import REPEATED, TOLERANCE, Verifier, draw


def generator(seed=0):
    return np.random.Generator(np.random.PCG64(seed))


# ----------------------------------------------------------------------------------------------------------------------
# What is drawn


@st.composite
def lengths(draw_):
    """Bytes of each target (N, T), 0 for those that do not count; at least one counts."""
    shape = draw_(st.integers(1, 40)), draw_(st.integers(1, 24))
    found = generator(draw_(st.integers(0, 2**32))).random(shape) < draw_(st.sampled_from([0.05, 0.5, 0.95, 1.0]))
    found[0, 0] = True
    return found.astype(np.uint8)


@given(lengths(), st.integers(1, 200), st.integers(0, 2**32))
def test_a_row_is_drawn_once_a_pass_and_further_right_in_later_ones(lengths, count, seed):
    """So a process that saw a row up to t is never asked about that row before t."""
    drawn = draw(lengths, count, generator(seed))
    for rows in drawn.rows:
        assert len(set(rows.tolist())) == len(rows)
    assert all(sorted(rows) == sorted(drawn.rows[0]) for rows in drawn.rows)
    for row in drawn.rows[0]:
        at = drawn.at[drawn.rows == row]  # in the order of the passes
        assert (np.diff(at) > 0).all()


@given(lengths(), st.integers(1, 200), st.integers(0, 2**32))
def test_only_what_counts_is_drawn(lengths, count, seed):
    """Each position is one of the row's, its target counts, and there are about as many as asked for."""
    drawn = draw(lengths, count, generator(seed))
    assert (lengths[drawn.rows, drawn.at] > 0).all()
    rows, least = (lengths > 0).any(axis=1).sum(), (lengths > 0).sum(axis=1)
    passes = max(1, min(round(count / rows), least[least > 0].min()))
    assert drawn.rows.shape == drawn.at.shape == (passes, min(rows, count))


def test_every_position_is_drawn_equally_often():
    """Over 4,000 draws of 16 out of 64 each comes about 1,000 times: chi-squared is what chance makes it."""
    random, found = generator(), np.zeros((8, 8))
    for _ in range(4000):
        drawn = draw(np.ones((8, 8)), 16, random)
        np.add.at(found, (drawn.rows, drawn.at), 1)
    assert found.sum() == 4000 * 16
    assert ((found - 1000) ** 2 / (1000 * (1 - 16 / 64))).sum() < 110  # 63 degrees of freedom: 0.9998 are below


@pytest.mark.parametrize(("count", "expected"), [(512, 0.40), (2048, 0.87), (10_240, 0.9999)])
def test_the_power_against_rare_leaks(count, expected):
    """A leak at one position of a thousand is found as often as 1 - 0.999**n says."""
    random, repeats, found = generator(1), 200, 0
    lengths = np.ones((256, 320))
    for _ in range(repeats):
        leaks = random.random(lengths.shape) < 0.001
        drawn = draw(lengths, count, random)
        found += leaks[drawn.rows, drawn.at].any()
    assert found / repeats == pytest.approx(expected, abs=0.001 + 4 * math.sqrt(expected * (1 - expected) / repeats))


# ----------------------------------------------------------------------------------------------------------------------
# What is estimated and refused. The fake language: the next token is guessed from the token before alone.


class Fake:
    """Stands in for evaluate.Producer. `cheat` changes logits (B, T, V) of rows (B, T)."""

    started = 0

    def __init__(self, table, cheat=None):
        self.table, self.cheat = table, cheat or (lambda logits, rows, fake: logits)

    def fresh(self, profile, spec):
        Fake.started += 1
        found = Fake(self.table, self.cheat)
        found.number, found.calls = Fake.started, 0
        return found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def logits(self, rows, at):
        assert len(rows) == 8
        self.calls += 1
        logits = self.cheat(self.table[rows].copy(), rows, self)
        return logits[np.arange(len(rows)), at]


N, T, V = 64, 32, 16
PROFILE = SimpleNamespace(
    device="cpu", eval_tokens=N * T, eval_batch_size=8, config=SimpleNamespace(sequence_len=T, vocab_size=V)
)


class Text:
    """A prepared corpus of random tokens; token 0 has no bytes."""

    def __init__(self, seed=0):
        random = generator(seed)
        self.streams = {
            name: random.integers(0, V, n).astype(np.uint16) for name, n in (("train", 99_999), ("val", N * T + 1))
        }

    def stream(self, split):
        return self.streams[split]

    def token_bytes(self):
        return np.arange(V, dtype=np.uint8) % 4


@pytest.fixture
def verifier(monkeypatch):
    """A Verifier of a fake that cheats when it claims, when it answers, or both; and the honest score."""

    def make(claims=None, answers=None, change=None, seed=0, text=Text()):  # noqa: B008
        table = generator(7).normal(size=(V, V))
        monkeypatch.setattr(verify, "Producer", Fake(table, answers).fresh)
        bare = Verifier(PROFILE, text, {}, np.zeros((N, T)), seed)
        liar = Fake(table, claims)
        liar.number = liar.calls = 0
        found = [liar.cheat(table[rows].copy(), rows, liar) for rows in batches(bare.scored.windows[:, :-1], 8)]
        claimed = nll(np.concatenate(found), bare.scored.windows)
        if change is not None:
            claimed = change(claimed)
        result = Verifier(PROFILE, text, {}, claimed, seed)
        result.truth = result.scored.bits_per_byte(nll(table[result.scored.windows[:, :-1]], result.scored.windows))
        return result

    return make


def nll(logits, windows):
    total = np.log(np.exp(logits).sum(-1))
    return total - np.take_along_axis(logits, windows[:, 1:, None].astype(int), -1)[..., 0]


def ahead(logits, rows, fake, strength=5.0):
    np.put_along_axis(logits[:, :-1], rows[:, 1:, None].astype(int), strength, -1)
    return logits


def test_the_truth_is_let_pass(verifier):
    """With its score, and no difference."""
    found = verifier().run(512)
    assert found.bits_per_byte == pytest.approx(verifier().truth, abs=1e-12)
    assert found.claimed == found.bits_per_byte
    assert (found.positions, found.standard_error) == (512, pytest.approx(0, abs=1e-15))
    assert found.largest_difference < 1e-12


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_the_estimate_is_right_on_average_whatever_was_claimed(verifier, monkeypatch, share):
    """Forged claims, were they let pass: within two standard errors of the truth 93 times of 100, and unbiased."""
    for refusal in ("wrong", "biased", "moody"):
        monkeypatch.setattr(Verifier, f"_refuse_if_{refusal}", lambda *_: None)
    forged = verifier(change=lambda nll: nll * np.where(generator(3).random(nll.shape) < share, 1.0, 0.4))
    off, covered = [], 0
    for seed in range(200):
        forged.random = generator(seed)
        found = forged.run(256)
        off.append(found.bits_per_byte - forged.truth)
        covered += abs(off[-1]) <= 2 * found.standard_error
    assert forged.scored.bits_per_byte(forged.claims) < 0.7 * forged.truth
    assert covered >= 186
    assert abs(np.mean(off)) < 3 * np.std(off) / math.sqrt(len(off))


REFUSED = {
    "looks ahead": ({"claims": ahead, "answers": ahead}, "not causal: logits at a position change"),
    "looks ahead at one position of eight": (
        {"claims": (one := lambda x, rows, fake: np.where(rows[..., None] % 8 == 3, ahead(x.copy(), rows, fake), x)),
         "answers": one},
        "not causal",
    ),
    "claims half": ({"change": lambda nll: nll / 2}, "the claimed losses are not those of the checkpoint's logits"),
    "claims a little less": ({"change": lambda nll: nll - 0.0015}, "claims are off by +0.0015 nats on average"),
    "mixes rows": (
        {"claims": (mix := lambda x, rows, fake: x - x.mean(0)), "answers": mix},
        "rows are not independent",
    ),
    "counts calls": (
        {"claims": (calls := lambda x, rows, fake: x * (1 + fake.calls)), "answers": calls},
        "the claimed losses are not those",
    ),
    "claims from memory": ({"claims": ahead}, "the claimed losses are not those"),
    "answers otherwise the second time": (
        {"answers": lambda x, rows, fake: x * (1 + 0.1 * (fake.number % 2))},
        "positions differ from the claim",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("cheat", "reason"), REFUSED.values(), ids=REFUSED)
def test_a_difference_has_a_reason(verifier, cheat, reason):
    """The first thing that changes the answer at the place of the claim is named."""
    with pytest.raises(Failure) as caught:
        verifier(**cheat).run(512)
    assert caught.value.outcome == "integrity"
    assert reason in caught.value.message


def test_a_second_opinion_is_asked_for(verifier):
    """True answers in one process and others in the next: not a function of the text before."""
    first = Fake.started + 1
    with pytest.raises(Failure, match=f"not a function of the text before: .* of {REPEATED} answers differ"):
        verifier(answers=lambda x, rows, fake: x if fake.number == first else 1.1 * x).run(512)


@pytest.mark.parametrize("known", [False, True])
def test_a_rare_lie_is_found_where_most_was_gained(verifier, known):
    """Four worst losses of 2,048 claimed away: 16 positions miss them, a look at the parent's claims does not."""

    def lie(nll):
        nll = nll.copy()
        nll.flat[np.argsort(-nll.ravel())[:4]] = 0.01
        return nll

    found, parent = verifier(change=lie), generator(5).normal(size=(N, T)) * 0.3
    if known:
        found.reference = verifier().claims + parent
        with pytest.raises(Failure, match="the claimed losses are not those"):
            found.run(16)
    else:
        assert found.run(16).bits_per_byte < found.truth


def test_answers_that_are_no_numbers_are_nan(verifier):
    """Even one logit of a token that nobody asked about."""

    def rule_out(logits, rows, fake):
        logits[..., 5] = -np.inf
        return logits

    with pytest.raises(Failure, match="logits are not finite") as caught:
        verifier(answers=rule_out).run(512)
    assert caught.value.outcome == "nan"


def test_huge_logits_are_losses_with_a_bound(verifier):
    """1e37 overflows no exponential, and no loss is above an even guess by more than 40 nats."""
    huge = lambda x, rows, fake: 1e37 * x  # noqa: E731
    with pytest.raises(Failure, match=r"by up to 4.* nats"):
        verifier(answers=huge).run(512)


def test_nobody_sees_what_comes_after(verifier):
    """What a process is shown is the scored row up to the position, and text from elsewhere after it."""
    seen = []

    def look(logits, rows, fake):
        seen.append(rows.copy())
        return logits

    found = verifier(answers=look)
    found.answers(np.arange(8)[None], np.full((1, 8), 10))
    scored = found.scored.windows[:8]
    assert (seen[0][:, :11] == scored[:, :11]).all()
    assert (seen[0][:, 11:] == scored[:, 11:T]).mean() < 0.2


def test_two_verifiers_draw_other_positions(verifier, monkeypatch):
    """From the system's own randomness, unless a test gives a seed."""
    first, second = (verifier(seed=None).random.random() for _ in range(2))
    assert first != second
    assert verifier(seed=3).random.random() == verifier(seed=3).random.random()


def test_claims_of_another_shape_are_the_harness_mistake(verifier):
    """They were made for another split or profile."""
    with pytest.raises(Failure, match=r"shape \(3, 32\)") as caught:
        Verifier(PROFILE, Text(), {}, np.zeros((3, T)))
    assert caught.value.outcome == "env"


def test_every_device_has_a_tolerance():
    """So that a profile cannot be verified without one."""
    assert {profile.device for profile in (profiles.TINY, profiles.CPU, profiles.GPU)} == set(TOLERANCE)
