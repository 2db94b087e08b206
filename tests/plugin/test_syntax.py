"""Reading Python in several threads, as proposers that are asked at once do."""

from __future__ import annotations

import ast
import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from autoresearch_plugin import syntax

SOURCE = "def f(x):\n    return " + " + ".join(f"g(x[{n}], k={n})" for n in range(40))


@pytest.fixture
def interrupted() -> Iterator[None]:
    """Python's garbage collection often comes by, and lets other threads run."""
    before = gc.get_threshold()

    def yields(phase: str, info: dict[str, int]) -> None:
        time.sleep(0)

    gc.callbacks.append(yields)
    gc.set_threshold(5)
    yield
    gc.set_threshold(*before)
    gc.callbacks.remove(yields)


def errors_of(parse: Callable[[str], object]) -> list[str]:
    """What goes wrong when six threads parse at once, each at its own depth."""
    found: list[str] = []

    def work(depth: int) -> None:
        if depth:
            return work(depth - 1)
        for _ in range(25):
            try:
                parse(SOURCE)
            except SystemError as error:
                found.append(str(error))
        return None

    threads = [threading.Thread(target=work, args=(9 * n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.usefixtures("interrupted")
@pytest.mark.parametrize(
    "parse", [syntax.parse, syntax.normalise, lambda _: syntax.literal_of("[1, (2,)]")]
)
def test_threads_that_parse_do_not_disturb_each_other(
    parse: Callable[[str], object],
) -> None:
    """Python's own counter is shared between threads, so that one parses at a time."""
    assert errors_of(parse) == []


@pytest.mark.usefixtures("interrupted")
def test_who_parses_without_us_is_outlasted(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again: nothing is wrong with the source."""
    answers = iter([SystemError("AST constructor recursion depth mismatch")] * 2)
    parse = ast.parse

    def disturbed(source: str) -> ast.Module:
        if error := next(answers, None):
            raise error
        return parse(source)

    monkeypatch.setattr(ast, "parse", disturbed)

    assert isinstance(syntax.parse("x = 1"), ast.Module)
