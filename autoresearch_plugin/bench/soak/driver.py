"""Runs the sessions of a soak, injects faults, and starts the same command again."""

from __future__ import annotations

import contextlib
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from autoresearch_plugin.bench.soak import faults
from autoresearch_plugin.bench.soak.faults import Fault
from autoresearch_plugin.bench.soak.model import Model
from autoresearch_plugin.bench.soak.project import Project, end, proposing_command
from autoresearch_plugin.errors import InfrastructureError

TICK = 0.1  # seconds between two looks
PROGRAM_SHARE = 80  # one candidate of so many comes from the program that is killed
KILLS_EACH = 25  # kills for each of its program
STUCK = 180.0  # seconds without a decision, and ten runs, after which it is given up
TRIES = 4  # starts in a row that bring nothing before that
STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Options:
    """What is asked for."""

    candidates: int = 2000
    lanes: int = 8
    kills: int = 50
    seconds: float = 5.0
    seed: int = 0


@dataclass(frozen=True)
class Life:
    """One controller: from its start to its end, and whether we ended it."""

    began: float
    ended: float
    killed: bool
    code: int


@dataclass
class Part:
    """A session of the soak: who proposes, how many, and which faults come when.

    `faults` are pairs of a number of decided candidates and what happens then.
    """

    name: str
    words: list[str]
    candidates: int
    faults: list[tuple[int, str]] = field(default_factory=list)


@dataclass
class Record:
    """What was seen from outside."""

    faults: list[Fault] = field(default_factory=list)
    lives: list[Life] = field(default_factory=list)
    memory: list[tuple[float, int, float]] = field(default_factory=list)

    @property
    def kills(self) -> Counter[str]:
        """How many processes of each kind were killed."""
        return Counter(x.kind for x in self.faults if x.kind != faults.DISK)


def parts(options: Options) -> list[Part]:
    """A short session with a program as proposer, and the long one with a model.

    When the program is killed a search fills in until the controller is started again:
    so both are killed in turns.
    """
    rng = random.Random(f"faults {options.seed}")
    proposers = max(1, options.kills // KILLS_EACH)
    ahead = 2 * (options.lanes + 1)  # candidates that are asked for in one go
    short = max(proposers * ahead, options.candidates // PROGRAM_SHARE)
    short = min(short, options.candidates // 2)
    both = [faults.PROPOSER, "controller"] * proposers
    both = both[: max(0, min(options.kills, 2 * proposers - 1))]
    rest = options.kills - len(both)
    kinds = [faults.KILLS[i % len(faults.KILLS)] for i in range(rest)]
    kinds += [faults.DISK] * 2
    rng.shuffle(kinds)
    long = options.candidates - short
    at = sorted(rng.randrange(max(1, int(0.9 * long))) for _ in kinds)
    step = short / (len(both) + 1)
    return [
        Part(
            "program",
            [f"--autoresearch-proposer={proposing_command()}"],
            short,
            [(int(step * i), kind) for i, kind in enumerate(both)],
        ),
        Part(
            "model",
            ["--autoresearch-proposer=anthropic", "--autoresearch-max-usd=100000"],
            long,
            list(zip(at, kinds, strict=True)),
        ),
    ]


class Driver:
    """Drives one soak; `tell` gets a line of progress now and then."""

    def __init__(
        self,
        project: Project,
        model: Model,
        options: Options,
        tell: Callable[[str], None],
    ) -> None:
        self.record = Record()
        self._project, self._model, self._options = project, model, options
        self._tell = tell
        self._rng = random.Random(f"driver {options.seed}")
        self._told = 0.0

    def run(self) -> Record:
        """All parts, each until its session is finished.

        Raises:
            InfrastructureError: a session gets no further.
        """
        left: list[tuple[int, str]] = []
        for part in parts(self._options):
            self._tell(f"{part.name}: {part.candidates} candidates")
            left = self._finish(part, [*left, *part.faults])
        return self.record

    def _finish(
        self, part: Part, waiting: list[tuple[int, str]]
    ) -> list[tuple[int, str]]:
        """Until a part's session is finished; faults that found nobody, for the next
        part, where a worker takes the place of a program."""
        fruitless, before = 0, -1
        while True:
            self._live(part, waiting)
            decided, state = self._project.progress()
            life = self.record.lives[-1]
            if state == "finished" and life.code in (0, 1):
                kinds = [kind for _, kind in waiting]
                lanes = {faults.PROPOSER: faults.LANES[0]}
                return [(0, lanes.get(kind, kind)) for kind in kinds]
            fruitless = 0 if decided > before or life.killed else fruitless + 1
            before = decided
            if not life.killed:
                self._tell(f"ended by itself with code {life.code}: {state}")
            if fruitless >= TRIES:
                raise InfrastructureError(
                    f"the soak gets no further: {TRIES} starts brought nothing after "
                    f"{decided} candidates. The end of {self._project.log}:\n"
                    f"{self._project.last_words()}"
                )

    def _live(self, part: Part, waiting: list[tuple[int, str]]) -> None:
        """One controller's life."""
        words = [
            f"-n{self._options.lanes}",
            f"--autoresearch-experiments={part.candidates}",
            "--autoresearch-devices=cpu",
            "--autoresearch-audit=never",
            "--autoresearch-allow-unsafe",
            *part.words,
        ]
        began = time.time()
        process = self._project.start(words, self._model.url)
        try:
            killed = self._watch(process, part, waiting)
        finally:
            if process.poll() is None:
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(STOP_SECONDS)
                end(process)
        life = Life(began, time.time(), killed, process.returncode)
        self.record.lives.append(life)

    def _watch(
        self,
        process: subprocess.Popen[bytes],
        part: Part,
        waiting: list[tuple[int, str]],
    ) -> bool:
        """Until the controller ends; whether that was our doing."""
        last, since = -1, time.time()
        while process.poll() is None:
            time.sleep(TICK)
            decided, state = self._project.progress()
            if decided != last:
                last, since = decided, time.time()
            if time.time() - since > STUCK + 10 * self._options.seconds:
                raise InfrastructureError(
                    f"the soak is stuck: nothing was decided for {STUCK:.0f} s after "
                    f"{decided} candidates. The end of {self._project.log}:\n"
                    f"{self._project.last_words()}"
                )
            self._note(process.pid, part, decided)
            if waiting and decided >= waiting[0][0] and state == "running":
                fault = faults.inject(waiting[0][1], process.pid, self._rng)
                if fault is None:
                    continue
                waiting.pop(0)
                self.record.faults.append(fault)
                self._tell(f"{decided}/{part.candidates} decided; {fault.kind}")
                if fault.kind == "controller":
                    process.wait()
                    return True
        return False

    def _note(self, pid: int, part: Part, decided: int) -> None:
        now = time.time()
        if now - self._told < 1:
            return
        if int(now) // 15 != int(self._told) // 15:
            self._tell(f"{decided}/{part.candidates} decided")
        self._told = now
        if part.name == "model":
            self.record.memory.append((now, decided, faults.rss_mb(pid)))


def to_stderr(text: str) -> None:
    """A line of progress."""
    print(f"[{time.strftime('%H:%M:%S')}] {text}", file=sys.stderr, flush=True)
