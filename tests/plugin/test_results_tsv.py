"""results.tsv: the notebook's five columns."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoresearch_plugin.rejudge import read_log
from autoresearch_plugin.reports import results_tsv
from autoresearch_plugin.reports.results_tsv import Row


def test_five_columns_in_autoresearchs_format():
    """Header, six decimals of the metric, one of the memory."""
    text = results_tsv.render([Row("3f2c1aa", 0.9979, 43.96, "keep", "baseline")])
    assert text == (
        "commit\tval_bpb\tmemory_gb\tstatus\tdescription\n"
        "3f2c1aa\t0.997900\t44.0\tkeep\tbaseline\n"
    )


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_a_failed_run_has_an_empty_metric(value):
    """No zero or NaN stands in for a number that is not there."""
    line = results_tsv.render([Row("3f2c1aa", value, None, "crash", "x")])
    assert line.splitlines()[1] == "3f2c1aa\t\t\tcrash\tx"


def test_the_metric_has_its_own_name_and_size():
    """Another metric names the second column; tiny numbers keep their digits."""
    text = results_tsv.render([Row("a", 2.5e-9, 0.0, "keep", "x")], "seconds")
    assert text.splitlines()[0].split("\t")[1] == "seconds"
    assert text.splitlines()[1].split("\t")[1:3] == ["2.5e-09", "0.0"]


def test_a_description_stays_in_its_cell():
    """Tabs, line ends and escape sequences of a title become spaces."""
    row = Row("a", 1.0, 1.0, "keep", " two\tlines\r\nand \x1b[31m red ")
    assert (
        results_tsv.render([row])
        .splitlines()[1]
        .endswith("\tkeep\ttwo lines and [31m red")
    )


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["keep", "discard", "crash"]),
            st.floats(0.001, 10),
            st.text(max_size=40),
        )
    )
)
def test_any_rows_can_be_read_back(rows):
    """Whatever the descriptions hold, every row is one line that `rejudge` reads."""
    written = [
        Row("3f2c1aa", None if status == "crash" else value, 1.0, status, words)
        for status, value, words in rows
    ]
    read = read_log(results_tsv.render(written))
    assert [row.status for row in read] == [row.status for row in written]
    assert not any(row.problem for row in read)
    for row, original in zip(read, written, strict=True):
        assert row.value == (
            None if original.value is None else pytest.approx(original.value, abs=1e-6)
        )
