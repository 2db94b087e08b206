"""Judging an old log again: reading it, and finding noise that was planted in it."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from autoresearch_plugin import rejudge
from autoresearch_plugin.errors import SettingsError
from autoresearch_plugin.rejudge import Row

SIGMA = 0.0004


def line(value, status="discard", words="x", commit="3f2c1aa"):
    return f"{commit}\t{value}\t44.0\t{status}\t{words}"


def greedy_log(effect, runs=70, seed=1):
    """A log as the greedy rule writes it, with the true effects of its keeps."""
    rng = random.Random(seed)
    head = best = 1.0
    rows = [Row(1, "c0", best, 44.0, "keep", "baseline")]
    truth = []
    for number in range(1, runs):
        change = effect(rng, number)
        value = head + change + rng.gauss(0, SIGMA)
        kept = value < best
        if kept:
            best, head = value, head + change
            truth.append(change)
        status = "keep" if kept else "discard"
        rows.append(Row(number + 1, f"c{number}", value, 44.0, status, "x"))
    return rows, truth


def ideas(rng, number):
    """Effects as published logs have them: large gains first, then mostly none."""
    gain, nothing = (0.6, 0.7) if number < rejudge.FRESH_ROWS else (0.15, 0.5)
    kind = rng.random()
    if kind < gain:
        return -rng.expovariate(1 / (8 if gain > 0.5 else 1.2)) * SIGMA
    if kind < nothing:
        return rng.gauss(0, 0.3) * SIGMA
    return rng.expovariate(1 / (3 if rng.random() < 0.7 else 11)) * SIGMA


class TestReading:
    def test_five_columns(self):
        """A row of autoresearch's notebook, with the line it stands on."""
        text = "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n" + line(0.99, "keep")
        assert rejudge.read_log(text) == [Row(2, "3f2c1aa", 0.99, 44.0, "keep", "x")]

    def test_header_may_be_missing_or_name_more_columns(self):
        """Without a header the usual order holds; with one its names count."""
        bare = rejudge.read_log(line(0.99, "keep"))
        header = "commit\tval_bpb\tmemory_gb\tmfu\tstatus\tdescription\n"
        wide = rejudge.read_log(header + "a\t0.98\t44\t39.8\tdiscard\tsoftcap 20")
        assert bare[0].value == 0.99
        assert (wide[0].status, wide[0].description) == ("discard", "softcap 20")

    @pytest.mark.parametrize("value", ["0.000000", "", "nan", "0.97"])
    def test_crashes_have_no_value(self, value):
        """Whatever a crash wrote into the metric's column is not a number to use."""
        (row,) = rejudge.read_log(line(value, "crash"))
        assert row.value is None

    @pytest.mark.parametrize(
        ("text", "words"),
        [
            ("a\t0.9", "2 columns"),
            (line("0.9x"), "'0.9x' is not a number"),
            (line("1e308"), "'1e308' is not a number within ±1e+15"),
            (line("-1e308", "keep"), "'-1e308' is not a number within ±1e+15"),
            (line("0.9", "maybe"), "'maybe' is not keep, discard or crash"),
            (line("0.000000", "keep"), "a keep without a number"),
        ],
    )
    def test_malformed_rows_say_what_is_wrong(self, text, words):
        """A bad line is carried along with its problem, and others are still read."""
        bad, good = rejudge.read_log(f"{text}\n\n{line(0.98)}\n")
        assert words in bad.problem
        assert (good.line, good.value, good.problem) == (3, 0.98, "")

    @pytest.mark.parametrize("end", ["\r\n", "\n"])
    def test_files_from_windows(self, end):
        """Carriage returns and a byte order mark do no harm."""
        text = "\ufeff" + end.join(["commit\tval_bpb\tmemory_gb\tstatus\tx", line(1)])
        assert [row.value for row in rejudge.read_log(text)] == [1.0]


class TestModel:
    def test_planted_noise_is_counted(self):
        """Over three logs the false keeps lie in the intervals, and near the means."""
        expected = found = 0.0
        for seed in (1, 2, 3):
            rows, truth = greedy_log(ideas, seed=seed)
            noise = rejudge.rejudge(rows, sweeps=200).noise_keeps
            false = sum(effect >= 0 for effect in truth)
            assert noise.low <= false <= noise.high
            expected, found = expected + false, found + noise.mean
        assert found == pytest.approx(expected, abs=4)

    def test_real_gains_are_told_from_noise(self):
        """Keeps of large true gain are credible, those of none much less so."""
        rows, truth = greedy_log(ideas, seed=4)
        answer = rejudge.rejudge(rows, sweeps=400)
        pairs = list(zip(answer.keeps, truth, strict=True))
        real = [keep.p_no_gain for keep, effect in pairs if effect < -4 * SIGMA]
        noise = [keep.p_no_gain for keep, effect in pairs if effect >= 0]
        assert max(real) < 0.1
        assert sum(noise) / len(noise) > 0.2

    @pytest.mark.parametrize("unit", [1.0, 1e-4])
    def test_noise_is_estimated(self, unit):
        """Sigma is found to within a factor of two, whatever the metric's unit."""
        rows, _ = greedy_log(ideas, seed=1)
        rows = [replace(row, value=row.value * unit) for row in rows]
        sigma = rejudge.rejudge(rows, sweeps=200).sigma
        assert SIGMA / 2 < sigma.mean / unit < SIGMA * 2
        assert sigma.low < sigma.mean < sigma.high

    def test_the_final_number_is_too_good(self):
        """A running minimum over no-ops is luck; the bias is found and has its sign."""
        rows, _ = greedy_log(lambda rng, _: abs(rng.gauss(0, SIGMA / 4)), runs=60)
        answer = rejudge.rejudge(rows, sweeps=400)
        assert answer.bias.mean < -0.5 * SIGMA
        assert answer.noise_keeps.mean > 0.25 * len(answer.keeps)

    def test_large_gains_are_believed(self):
        """Gains of ten sigma each leave no doubt."""
        rows, truth = greedy_log(
            lambda rng, number: -10 * SIGMA * (number % 4 == 0), 40
        )
        answer = rejudge.rejudge(rows, sweeps=300)
        by_gain = zip(answer.keeps, truth, strict=True)
        assert all(keep.p_no_gain < 0.05 for keep, effect in by_gain if effect < 0)

    def test_same_seed_same_answer(self):
        """The answer is repeatable, and another seed is another chain."""
        rows, _ = greedy_log(ideas, runs=30)
        first = rejudge.rejudge(rows, seed=3, sweeps=50)
        assert rejudge.rejudge(rows, seed=3, sweeps=50) == first
        assert rejudge.rejudge(rows, seed=4, sweeps=50) != first

    def test_broken_runs_do_not_count_as_harm(self):
        """A diverged number far above everything is a crash, not an effect."""
        rows, _ = greedy_log(ideas, runs=30)
        rows.append(Row(31, "c31", 3.2, 44.0, "discard", "weight tying"))
        rows.append(Row(32, "c32", None, None, "crash", "assert"))
        assert rejudge.rejudge(rows, sweeps=50).crashes == 2

    @pytest.mark.parametrize("edge", ["1e308", "9.9e14", "1e-300"])
    def test_numbers_at_the_edge_of_floats_do_no_harm(self, edge):
        """What would overflow is left out; all that is judged gives finite numbers."""
        values = (2e-300, edge, f"-{edge}", 3e-300, 9e14, 2e-300)
        rows = [line(value, "keep") for value in values]
        answer = rejudge.rejudge(
            rejudge.read_log("\n".join([*rows, line("1e-300")])), sweeps=20
        )
        assert len(answer.problems) == 2 * (edge == "1e308")
        assert math.isfinite(answer.noise_keeps.mean)
        assert math.isfinite(answer.sigma.high)

    @pytest.mark.parametrize("keeps", [0, 1])
    def test_too_little_to_judge(self, keeps):
        """Without accepted changes there is nothing to judge; the error says so."""
        rows = rejudge.read_log(
            "\n".join([line(1.0, "keep"), "what?"] + [line(1.1)] * 3)
        )
        rows += rejudge.read_log("\n".join([line(0.9, "keep")] * keeps))
        if keeps:
            assert len(rejudge.rejudge(rows, sweeps=10).keeps) == 1
            return
        with pytest.raises(SettingsError, match="0 accepted changes") as caught:
            rejudge.rejudge(rows)
        assert "line 2: 1 columns" in str(caught.value)


@pytest.fixture(scope="module")
def text():
    """The screen for a log with an unreadable line and a hostile description."""
    rows, _ = greedy_log(ideas)
    rows[3] = replace(rows[3], problem="'x' is not a number")
    rows = [
        replace(row, description="\x1b[2Jgone") if row.status == "keep" else row
        for row in rows
    ]
    return "\n".join(rejudge.lines(rejudge.rejudge(rows, sweeps=200)))


class TestLines:
    def test_says_how_many_keeps_are_noise(self, text):
        """The headline is a count with its interval."""
        assert "keeps are probably noise" in text
        assert "(95 %: " in text

    def test_says_what_was_assumed_and_what_to_do(self, text):
        """Assumptions, unreadable lines and the next step are on the screen."""
        assert "lower is better" in text
        assert "left out   line 4: 'x' is not a number" in text
        assert "run the least credible keeps again" in text

    def test_fits_a_terminal_and_leaves_it_alone(self, text):
        """No line is wider than 88 columns, and no cell moves the cursor."""
        assert max(map(len, text.splitlines())) <= 88
        assert "\x1b" not in text
