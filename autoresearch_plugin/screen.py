"""Progress on the terminal: a line for each run, a live line where there is a tty."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin.hold import WAITS
from autoresearch_plugin.quoting import visible
from autoresearch_plugin.reports.closing import duration

if TYPE_CHECKING:
    from autoresearch_plugin.ledger import Row
    from autoresearch_plugin.loop import Research

EVERY_SECONDS = 0.5
SHORT_WAIT = 5.0  # seconds; a lane that waits for longer says why
TOLD = (
    *("progress", "fallback", "gave-up", "error", "device", "refused", "proposer"),
    *("gear", "mend"),
)


class Screen:
    """Writes what the ledger says. Called from the main thread or from a `Ticker`."""

    def __init__(self, config: pytest.Config, research: Research) -> None:
        self.config = config
        self.research = research
        self._terminal: Any = config.pluginmanager.getplugin("terminalreporter")
        self._capture: Any = config.pluginmanager.getplugin("capturemanager")
        events = research.ledger.events(research.session)
        self._seen = events[-1]["id"] if events else 0
        self._labels: dict[str, str] = {}
        self._next = 0.0
        self._lock = threading.Lock()
        self._live = False

    def tick(self) -> None:
        """Write what is new, at most twice a second."""
        now = time.monotonic()
        if now < self._next or self._terminal is None:
            return
        self._next = now + EVERY_SECONDS
        with self._lock, self._uncaptured():
            self._write_news()

    def say(self, text: str) -> None:
        """One line of our own."""
        if self._terminal is not None:
            with self._lock, self._uncaptured():
                self._line(f"  {text}")

    def catch_up(self) -> None:
        """Write all news now, and leave the line to pytest."""
        if self._terminal is None:
            return
        with self._lock, self._uncaptured():
            self._write_told()
            if self._live:
                self._terminal.rewrite("", erase=True)
                self._live = False

    def _write_news(self) -> None:
        self._write_told()
        lanes = [
            row
            for row in self.research.ledger.lanes(self.research.session)
            if row["status"] and not _is_short_wait(row["status"])
        ]
        if self._terminal.isatty:
            self._write_live(lanes)
        else:
            self._write_started(lanes)

    def _write_told(self) -> None:
        news = self.research.ledger.events(self.research.session, self._seen)
        for row in news:
            self._seen = row["id"]
            if row["kind"] in TOLD:
                self._line(f"  {row['text']}")

    def _line(self, text: str) -> None:
        if self._live:
            self._terminal.rewrite("", erase=True)
            self._live = False
        self._terminal.write_line(visible(text.replace("\n", "\n  ")))

    def _write_started(self, lanes: list[Row]) -> None:
        """Without a tty: one line when a lane begins a run, or waits for a reason."""
        for row in lanes:
            text = self._lane_text(row)
            waits = row["status"]["phase"] == WAITS
            label = text.partition(",")[0] if waits else row["status"]["label"]
            if self._labels.get(row["name"]) != label:
                self._labels[row["name"]] = label
                self._line(f"  {text}")

    def _write_live(self, lanes: list[Row]) -> None:
        if not lanes:
            return
        width = self._terminal._tw.fullwidth - 1
        text = "  " + " | ".join(self._lane_text(row) for row in lanes)
        if not self._live:
            self._terminal.ensure_newline()
        self._terminal.rewrite(text[:width], erase=True)
        self._live = True

    def _lane_text(self, row: Row) -> str:
        status = row["status"]
        elapsed = time.time() - status["started"]
        if status["phase"] == WAITS:
            asking = self._asking() if status["label"].endswith("proposal") else ""
            return f"{row['name']}  {status['label']}{asking}"
        typical = self._typical_seconds()
        left = None
        if typical is not None:
            left = max(0.0, typical - elapsed)
        elif status["share"] > 0.05:
            left = elapsed * (1 - status["share"]) / status["share"]
        eta = f", about {duration(left)} left" if left and left > 1 else ""
        done = f" {100 * status['share']:.0f} %" if status["phase"] == "train" else ""
        return f"{row['name']}  {status['label']}: {status['phase']}{done}{eta}"

    def _asking(self) -> str:
        """Why no proposal comes, where that is known."""
        words = self.research.ledger.session(self.research.session)["asking"]
        return f" ({words})" if words else ""

    def _typical_seconds(self) -> float | None:
        """What a run took so far, start-up and evaluation included."""
        spans = self.research.ledger.recent_seconds(self.research.session)
        return statistics.median(spans) if spans else None

    def _uncaptured(self) -> contextlib.AbstractContextManager[None]:
        """Tests run with output captured; ours goes to the real terminal."""
        if self._capture is None:
            return contextlib.nullcontext()
        manager: contextlib.AbstractContextManager[None] = (
            self._capture.global_and_fixture_disabled()
        )
        return manager


def _is_short_wait(status: Row) -> bool:
    waits = status["phase"] == WAITS
    return waits and time.time() - float(status["started"]) < SHORT_WAIT


class Ticker(threading.Thread):
    """Ticks a screen in the xdist controller, whose main thread waits for workers."""

    def __init__(self, screen: Screen) -> None:
        super().__init__(daemon=True, name="autoresearch-screen")
        self._screen = screen
        self.quit = threading.Event()

    def run(self) -> None:
        """Tick until told to stop."""
        while not self.quit.wait(EVERY_SECONDS):
            self._screen.tick()
        self._screen.research.ledger.close()


def run_seconds(research: Research) -> float | None:
    """What one run takes, start-up included; None before the first of its kind."""
    if research.budget.unit == "seconds":
        return research.budget.amount * 1.1
    rows = research.ledger.fingerprint_trials(research.fingerprint)
    spans = [row["finished"] - row["started"] for row in rows]
    return statistics.median(spans) if spans else None


def plan(research: Research) -> str:
    """What is coming, before any trial."""
    most, enough = research.max_runs, research.baseline_runs
    text = f"each candidate: up to {most} run{'s' * (most > 1)} of {research.budget}"
    each = run_seconds(research)
    if each is None:
        more = f", {enough} before anything is kept" if enough > 1 else ""
        return f"{text}; baseline first: 1 run{more}"
    low, high = duration(each), duration(each * most)
    have = len(research.ledger.head_trials(research.head().id))
    need = max(0, enough - have)
    runs = f"{need} run{'s' * (need > 1)}"
    first = f"baseline first: {runs}, about {duration(each * need)}"
    return f"{text} ({low} to {high}), {first if need else 'baseline measured'}"
