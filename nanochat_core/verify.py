"""Are the claims true? Fresh processes answer at secret positions, and there with another future.

A candidate's process claims a loss for every target (evaluate.py). Which of them are looked at is drawn only now, from
the system's own randomness. For each a new process gets the row up to that position and text from elsewhere after it,
and says its logits; log-softmax and cross-entropy are taken here. So whoever looked ahead, answers from memory, mixes
rows, keeps state, or simply lied, gives two numbers that differ. The score is then the difference estimator

    mean(claims) + mean(answers - claims at the drawn positions),

which is right on average whatever was claimed (Cochran, Sampling Techniques, 1977, section 7.1).
"""

import math
import os
from dataclasses import dataclass

import numpy as np

from nanochat_core.data import scoring_windows
from nanochat_core.errors import Failure
from nanochat_core.evaluate import SLACK, Producer, Scored

# Nats between a claim and its answer. On a CPU float32 and bf16 stay below 1e-5, for the shapes are the same; kernels
# of a GPU may add up in another order each time. What is let pass here is what a candidate may learn from other rows.
TOLERANCE = {"cpu": 2e-3, "cuda": 0.05}
BIAS = 5e-4  # nats of mean difference that are let pass
REPEATED = 64  # answers that are asked for twice
SEARCHED = 4  # positions looked at to find out what is wrong


@dataclass(frozen=True)
class Drawn:
    """Positions to look at, in passes: a row occurs once in a pass, and in later ones further to the right."""

    rows: np.ndarray  # (passes, R)
    at: np.ndarray  # (passes, R)

    @property
    def size(self):
        return self.rows.size


def draw(lengths, count, random):
    """Draw about `count` positions evenly, in every row equally many of those whose target counts."""
    counted = [np.flatnonzero(row) for row in lengths]
    eligible = np.array([row for row, at in enumerate(counted) if len(at)])
    passes = max(1, min(round(count / len(eligible)), min(len(counted[row]) for row in eligible)))
    per_pass = min(len(eligible), count)
    chosen = random.permutation(eligible)[:per_pass]
    at = np.stack([np.sort(random.choice(counted[row], passes, replace=False)) for row in chosen], axis=1)
    order = np.stack([random.permutation(per_pass) for _ in range(passes)])
    return Drawn(chosen[order], np.take_along_axis(at, order, axis=1))


@dataclass(frozen=True)
class Verified:
    """What came out: bits per byte, corrected, and how far claims and answers were apart (in nats)."""

    bits_per_byte: float
    claimed: float
    positions: int
    standard_error: float
    largest_difference: float


class Verifier:
    """Asks fresh processes about one checkpoint."""

    def __init__(self, profile, prepared, spec, claims, seed=None, reference=None):
        """`reference` are claims of what the candidate is compared with, if it was scored on the same text."""
        self.profile, self.spec = profile, spec
        self.scored = Scored(profile, prepared, spec.get("split") or "val")
        self.claims = np.asarray(claims, dtype=np.float64)
        self.reference = None if reference is None else np.asarray(reference, dtype=np.float64)
        self.tolerance = TOLERANCE[profile.device]
        if self.claims.shape != self.scored.lengths.shape:
            raise Failure("env", f"The claims have the shape {self.claims.shape}, not {self.scored.lengths.shape}.")
        # Enough rows that nobody meets the same text twice, and none of them scored.
        T = profile.config.sequence_len
        self._elsewhere = scoring_windows(prepared.stream("train"), T, 4 * profile.eval_tokens)
        entropy = int.from_bytes(os.urandom(16), "little") if seed is None else seed
        self.random = np.random.Generator(np.random.PCG64(entropy))

    def run(self, count):
        """Look at `count` positions. Raises Failure("integrity") with the reason if the claims are not true."""
        drawn = draw(self.scored.lengths, count, self.random)
        answers = self.answers(drawn.rows, drawn.at)
        differences = answers - self.claims[drawn.rows, drawn.at]
        self._refuse_if_wrong(drawn, differences)
        self._refuse_if_biased(drawn, differences)
        if self.reference is not None and self.reference.shape == self.claims.shape:
            gained = self.most_gained(REPEATED)
            self._refuse_if_wrong(gained, self.answers(gained.rows, gained.at) - self.claims[gained.rows, gained.at])
        self._refuse_if_moody(drawn, answers)
        return self._estimate(drawn, differences)

    def most_gained(self, count):
        """Where the claims are furthest below the reference, at most one position a row.

        A rare lie is missed by chance, but it pays only where it claims much less than others do, so it is here.
        """
        gain = np.where(self.scored.lengths > 0, self.reference - self.claims, -np.inf)  # (N, T)
        at = gain.argmax(axis=1)
        rows = self.random.permutation(np.argsort(-gain.max(axis=1))[:count])
        return Drawn(rows[None], at[rows][None])

    def answers(self, rows, at):
        """Losses by the logits of one fresh process; rows, at: (passes, R)."""
        found = np.empty(rows.shape)
        with Producer(self.profile, self.spec) as producer:
            for k, (r, t) in enumerate(zip(rows, at, strict=True)):
                x = self.hidden(r, t)
                for start in range(0, len(r), self.profile.eval_batch_size):
                    part = slice(start, start + self.profile.eval_batch_size)
                    found[k, part] = self.losses(producer, x[part], r[part], t[part])
        return found

    def hidden(self, rows, at):
        """Rows (R, T) that are true up to position `at` and from elsewhere after it."""
        T = self.profile.config.sequence_len
        other = self._elsewhere[self.random.integers(len(self._elsewhere), size=len(rows)), :T]
        return np.where(np.arange(T) <= at[:, None], self.scored.windows[rows, :T], other)

    def losses(self, producer, x, rows, at):
        """Cross-entropy at each row's position, (B,). Short batches are filled up: the shape could tell them apart."""
        size = self.profile.eval_batch_size
        fill = np.arange(size) % len(x)
        logits = producer.logits(x[fill], at[fill])[: len(x)]
        if not np.isfinite(logits).all():
            raise Failure("nan", f"{int((~np.isfinite(logits)).sum())} of {logits.size} logits are not finite.")
        top = logits.max(axis=1, keepdims=True)
        total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
        nll = total - logits[np.arange(len(x)), self.scored.windows[rows, at + 1]]
        return np.clip(nll, 0.0, math.log(self.profile.config.vocab_size) + SLACK)

    # -- what is wrong -------------------------------------------------------------------------------------------------

    def _refuse_if_wrong(self, drawn, differences):
        wrong = np.abs(differences) > self.tolerance
        if wrong.any():
            raise Failure("integrity", self._reason(drawn, differences, wrong))

    def _refuse_if_biased(self, drawn, differences):
        mean, error = differences.mean(), differences.std() / math.sqrt(differences.size)
        if abs(mean) > max(4 * error, BIAS):
            what, look_at = self._cause(drawn, np.abs(differences) >= np.median(np.abs(differences)))
            off = f"claims are off by {mean:+.4f} nats on average over {differences.size} positions"
            raise Failure("integrity", f"{what} ({off}, though none by more than {self.tolerance:g}). {look_at}")

    def _refuse_if_moody(self, drawn, answers):
        """Ask for the last answers once more: another process, other neighbours, another order, another future."""
        count = min(REPEATED, drawn.rows.shape[1])
        again = self.random.permutation(np.arange(drawn.rows.shape[1])[-count:])
        rows, at = drawn.rows[-1:, again], drawn.at[-1:, again]
        apart = np.abs(self.answers(rows, at) - answers[-1:, again])
        many = int((apart > self.tolerance).sum())
        if many:
            raise Failure(
                "integrity",
                f"not a function of the text before: {many} of {count} answers differ, by up "
                f"to {apart.max():.2g} nats, in another order and among other rows. {LOOK_AT_STATE}",
            )

    def _reason(self, drawn, differences, wrong):
        largest = np.abs(differences).max()
        many = f"{int(wrong.sum())} of {drawn.size} positions differ from the claim, by up to {largest:.2g} nats"
        what, look_at = self._cause(drawn, wrong)
        return f"{what} ({many}). {look_at}"

    def _cause(self, drawn, wrong):
        """Go back to where it was claimed, and change one thing: what comes after, or the rows beside."""
        size = self.profile.eval_batch_size
        found = []  # for each picked position: batch (B,), at (B,), index of its row
        for k, i in np.argwhere(wrong)[:SEARCHED]:
            row, at = drawn.rows[k, i], drawn.at[k, i]
            batch = np.arange(row // size * size, min(len(self.claims), row // size * size + size))
            found.append((batch, np.full(len(batch), at), int(row - batch[0])))

        def change(which):
            inputs = []
            for batch, at, mine in found:
                truth, own = self.scored.windows[batch, :-1], (np.arange(len(batch)) == mine)[:, None]
                inputs.append({"nothing": truth, "after": np.where(own, self.hidden(batch, at), truth),
                               "beside": np.where(own, truth, self.hidden(batch, -1 + 0 * at))}[which])  # fmt: skip
            with Producer(self.profile, self.spec) as producer:
                return np.array([self.losses(producer, x, batch, at)[mine]
                                 for x, (batch, at, mine) in zip(inputs, found, strict=True)])  # fmt: skip

        claims = np.array([self.claims[batch[mine], at[mine]] for batch, at, mine in found])
        as_claimed, after, beside = (change(which) for which in ("nothing", "after", "beside"))
        if (np.abs(after - as_claimed) > self.tolerance / 10).any():
            return "not causal: logits at a position change with the tokens after it", LOOK_AT_MASK
        if (np.abs(beside - as_claimed) > self.tolerance / 10).any():
            return "rows are not independent: logits change with the other rows of the batch", LOOK_AT_ROWS
        if (np.abs(as_claimed - claims) > self.tolerance / 10).all():
            return "the claimed losses are not those of the checkpoint's logits in a fresh process", LOOK_AT_STATE
        return "not a function of the text before", LOOK_AT_STATE

    def _estimate(self, drawn, differences):
        """Corrected bits per byte. Each row stands for the targets of it that count."""
        weight = (self.scored.lengths[drawn.rows] > 0).sum(axis=-1).astype(np.float64)
        counted, nats = (self.scored.lengths > 0).sum(), math.log(2) * self.scored.lengths.sum()
        mean = (weight * differences).sum() / weight.sum()
        claimed = self.scored.bits_per_byte(self.claims)
        return Verified(
            bits_per_byte=claimed + float(mean * counted / nats),
            claimed=claimed,
            positions=drawn.size,
            standard_error=float(differences.std() / math.sqrt(drawn.size) * counted / nats),
            largest_difference=float(np.abs(differences).max()),
        )


LOOK_AT_MASK = """Look at the attention mask, at shifts and convolutions along the sequence, at sums, norms or sorts \
over positions, and at routing that picks tokens by comparing positions."""
LOOK_AT_ROWS = """Look at batch normalisation in training mode, means over dimension 0, and routing with a capacity \
that the batch shares."""
LOOK_AT_STATE = """Look at caches and running statistics that live from call to call, random numbers or dropout in \
eval mode, updates of weights while scoring, and code that depends on the batch size."""
