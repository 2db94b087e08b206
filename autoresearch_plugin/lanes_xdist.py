"""The controller's side of lanes under pytest-xdist; registered where that exists."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Generator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from autoresearch_plugin.errors import LedgerError
from autoresearch_plugin.lanes import LANE, collection_errors

if TYPE_CHECKING:
    from autoresearch_plugin.devices import Device
    from autoresearch_plugin.state import State

MAX_DEATHS = (
    8  # worker deaths after which the session stops instead of going in circles
)


class LaneScheduling:
    """xdist's `Scheduling` protocol: each worker gets its lane and then the shutdown.

    So xdist's one-item lookahead never holds work back; everything else is claimed from
    the ledger, hand-written files too. A replacement worker gets its lane the same way.
    """

    def __init__(
        self, config: pytest.Config, state: State, start: Callable[[], None]
    ) -> None:
        from xdist.workermanage import parse_tx_spec_config

        self.config = config
        self.state = state
        self._start = start
        self.numnodes = len(parse_tx_spec_config(config))
        self.lanes: dict[Any, str] = {}  # node -> new | ready | running | complete
        self._indices: dict[Any, int] = {}
        self._awaited = 0  # replacements of dead workers that have not reported yet
        self.collection: list[str] | None = None
        self.started = False

    @property
    def nodes(self) -> list[Any]:
        """Workers that take part."""
        return list(self.lanes)

    @property
    def collection_is_completed(self) -> bool:
        """Whether every worker has reported what it collected."""
        ready = sum(state != "new" for state in self.lanes.values())
        return self.started or ready >= self.numnodes

    @property
    def tests_finished(self) -> bool:
        """Whether no lane is open any more."""
        open_ones = {"new", "ready", "running"} & set(self.lanes.values())
        return self.started and not open_ones and not self._awaited

    @property
    def has_pending(self) -> bool:
        """Asked when a worker dies: a lane can always go on in another one."""
        return self.started

    def add_node(self, node: Any) -> None:
        """A worker exists."""
        self.lanes[node] = "new"
        self._awaited = max(0, self._awaited - 1)

    def add_node_collection(self, node: Any, collection: list[str]) -> None:
        """A worker has collected; all but the lane must agree between workers."""
        index = next(i for i, name in enumerate(collection) if name.endswith(LANE))
        hand = [name for name in collection if not name.endswith(LANE)]
        if self.collection is None:
            self.collection = hand
        elif sorted(hand) != sorted(self.collection):
            raise pytest.UsageError("workers collected different hand-written tests.")
        self.lanes[node], self._indices[node] = "ready", index

    def schedule(self) -> None:
        """Queue hand-written files once; hand each waiting worker its lane."""
        if not self.started:
            self.started = True
            self._queue_hand_written()
            self._start()
        for node, state in list(self.lanes.items()):
            if state == "ready":
                self.lanes[node] = "running"
                node.send_runtest_some([self._indices[node]])
                node.shutdown()

    def _queue_hand_written(self) -> None:
        """One unit per file keeps module fixtures together."""
        files: dict[str, list[str]] = {}
        for nodeid in self.collection or []:
            files.setdefault(nodeid.split("::")[0], []).append(nodeid)
        research = self.state.research
        for target, nodeids in files.items():
            research.ledger.add_unit(research.session, "hand", target, nodeids)

    def mark_test_complete(
        self, node: Any, item_index: int, duration: float = 0
    ) -> None:
        """A worker's only item, its lane, has ended."""
        self.lanes[node] = "complete"

    def mark_test_pending(self, item: str) -> None:
        """Part of the protocol; lanes are never sent back."""
        raise NotImplementedError

    def remove_pending_tests_from_node(self, node: Any, indices: Any) -> None:
        """Part of the protocol; a worker never holds more than its lane."""
        raise NotImplementedError

    def remove_node(self, node: Any) -> str | None:
        """A worker is gone; the name of what it was running, if it was its lane."""
        if self.lanes.pop(node) != "running":
            return None
        self._awaited += 1  # xdist starts another worker, which takes the lane over
        return LANE


class ControllerPlugin:
    """Devices for workers, the proposer's start, crash reports, the stop signal."""

    def __init__(self, config: pytest.Config, state: State) -> None:
        self.config = config
        self.state = state
        self._free: list[Device] | None = None
        self._device_of: dict[str, Device] = {}
        self._deaths = 0
        self._lanes: LaneScheduling | None = None

    @pytest.hookimpl
    def pytest_configure_node(self, node: Any) -> None:
        """Give a worker, or its replacement, a device and the session's number."""
        if self._free is None:
            self._free = list(self.state.opened.devices)
        if not self._free and self.state.opened.devices[0].kind == "cpu":
            self._free = list(self.state.opened.devices)  # cores can be shared
        if not self._free:
            count = len(self.state.opened.devices)
            raise pytest.UsageError(
                f"more workers than devices: there are {count}. Use -n {count} or "
                "-n auto, or name more with --autoresearch-devices."
            )
        device = self._free.pop(0)
        self._device_of[node.gateway.id] = device
        node.workerinput["autoresearch_session"] = self.state.research.session
        node.workerinput["autoresearch_device"] = asdict(device)

    @pytest.hookimpl
    def pytest_testnodedown(self, node: Any, error: object) -> None:
        """Take the device back; xdist asks for a replacement only after this."""
        device = self._device_of.pop(node.gateway.id, None)
        if device is not None and self._free is not None:
            self._free.insert(0, device)
        if error:
            self._forget_lane(node, device)
            self._deaths += 1
            if not (self._lanes and self._lanes.lanes.get(node) == "running"):
                self._died_early(node)
            if self._deaths >= MAX_DEATHS:
                self.state.stop(f"{self._deaths} workers died")

    def _forget_lane(self, node: Any, device: Device | None) -> None:
        """Who is dead waits for nothing: nobody needs to fill in for it."""
        research = self.state.research
        with contextlib.suppress(LedgerError):
            research.ledger.set_lane(
                *(research.session, node.gateway.id, device.id if device else "", None)
            )

    def _died_early(self, node: Any) -> None:
        """No lane of its, so no test of its either, can tell that it died."""
        research = self.state.research
        self.state.worker_lost = True
        research.ledger.add_event(
            research.session,
            "fallback",
            f"worker {node.gateway.id} died before its first test; its work is done "
            "by the one that replaced it",
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config) -> LaneScheduling:
        """Our own scheduler, whatever --dist says."""
        self._lanes = LaneScheduling(config, self.state, self._start)
        return self._lanes

    def _start(self) -> None:
        session = self.state.session
        if session is not None and (count := collection_errors(session)):
            self.state.stop(f"{count} error(s) during collection")
        else:
            self.state.start_proposer()

    @pytest.hookimpl
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """Know how many hand-written tests there are, for the percentage."""
        self.state.hand_written = sum(not name.endswith(LANE) for name in ids)

    @pytest.hookimpl(tryfirst=True)
    def pytest_handlecrashitem(self, report: pytest.TestReport) -> None:
        """A dead worker: name the candidate in its report, not the lane."""
        ledger, session = self.state.research.ledger, self.state.research.session
        worker = report.node.gateway.id
        report.when = "call"
        report.worker_id = worker  # type: ignore[attr-defined]
        unit = ledger.unit_of_lane(session, worker)
        if unit is None:
            status = {row["name"]: row["status"] for row in ledger.lanes(session)}
            label = (status.get(worker) or {}).get("label", "waiting for a proposal")
            report.longrepr = f"worker {worker} died while {label}"
            return
        nodeid = unit["current"] or unit["target"]
        words = f"worker {worker} died on {unit['device']} while running {nodeid}"
        if ledger.take_up_again(unit):  # no word of a candidate runs in a lane
            report.longrepr = f"{words}, which is run again"
            return
        place = json.loads(unit["location"]) if unit["location"] else None
        report.nodeid = nodeid
        report.location = tuple(place) if place else (unit["target"], None, nodeid)
        report.longrepr = words
        candidate = unit["candidate"]
        undecided = ("queued", "running")
        if candidate and ledger.candidate(candidate)["state"] in undecided:
            ledger.update_candidate(candidate, state="failed", reason=report.longrepr)
        ids = unit["nodeids"]
        rest = ids[ids.index(nodeid) + 1 :] if nodeid in ids else []
        if rest:
            ledger.add_unit(session, "hand", unit["target"], rest)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self) -> Generator[None, None, None]:
        """Lanes sit inside one long item and cannot hear -x: tell them."""
        yield
        session = self.state.session
        if session is not None and (session.shouldfail or session.shouldstop):
            self.state.stop(str(session.shouldfail or session.shouldstop))
