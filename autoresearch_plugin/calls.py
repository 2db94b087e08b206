"""Requests under way: each in a thread, so that nobody has to wait for an answer."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from autoresearch_plugin.prompt import Request
from autoresearch_plugin.proposers import Answer, Proposer


@dataclass(eq=False)
class Asked:
    """One request, and in time what came of it: an `answer` or an `error`."""

    proposer: Proposer
    request: Request
    began: float = field(default_factory=time.monotonic)
    ended: float = 0.0
    answer: Answer | None = None
    error: BaseException | None = None

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Calls:
    """Asks proposers in daemon threads, which outlive no process and stop no Ctrl-C.

    A thread is used again as soon as it is free: a proposer that is asked once at a
    time always meets the same one. `wake` is set when an answer has come; `close` is
    called in each thread when it ends.
    """

    def __init__(self, wake: threading.Event, close: Callable[[], None]) -> None:
        self._wake, self._close = wake, close
        self._idle: dict[int, list[queue.SimpleQueue[Asked | None]]] = {}
        self._done: queue.SimpleQueue[Asked] = queue.SimpleQueue()
        self._closed = False
        self.under_way: list[Asked] = []

    def start(self, proposer: Proposer, request: Request) -> None:
        """Ask, and come back at once."""
        asked = Asked(proposer, request)
        self.under_way.append(asked)
        idle = self._idle.setdefault(id(proposer), [])
        box = idle.pop() if idle else self._new_thread()
        box.put(asked)

    def finished(self) -> list[Asked]:
        """What has come to an end since the last time."""
        done = []
        while not self._done.empty():
            done.append(self._done.get())
        self.under_way = [asked for asked in self.under_way if asked not in done]
        return done

    def close(self) -> None:
        """Free threads end; the others do when they get their answer."""
        self._closed = True
        for idle in self._idle.values():
            while idle:
                idle.pop().put(None)

    def _new_thread(self) -> queue.SimpleQueue[Asked | None]:
        box: queue.SimpleQueue[Asked | None] = queue.SimpleQueue()
        name = "autoresearch-asking"
        threading.Thread(target=self._work, args=(box,), name=name, daemon=True).start()
        return box

    def _work(self, box: queue.SimpleQueue[Asked | None]) -> None:
        try:
            while (asked := box.get()) is not None:
                try:
                    asked.answer = asked.proposer.propose(asked.request)
                except BaseException as error:  # also the SystemExit of a library
                    asked.error = error
                asked.ended = time.monotonic()
                self._idle[id(asked.proposer)].append(box)
                self._done.put(asked)
                self._wake.set()
                if self._closed:
                    return
        finally:
            self._close()
