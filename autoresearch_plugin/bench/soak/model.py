"""A loopback server that speaks the Messages API, badly now and then.

Every request gets a proposal with fresh knob values, or, in a share of the calls, one
of `FAULTS`. It books what a provider would charge, so that the ledger's spend can be
compared to the last cent.
"""

from __future__ import annotations

import json
import random
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from autoresearch_plugin.bench.soak.program import proposal
from autoresearch_plugin.proposers.anthropic_messages import OVERHEAD_TOKENS
from autoresearch_plugin.proposers.prices import Usage, price_of

SHARE = 0.2  # of the calls that go wrong
FAULTS = ("429", "529", "500", "half", "broken")  # a status, or what is done to a body
CHARGED = ("", "half", "broken")  # nobody can know that an answer was lost on the way


@dataclass(frozen=True)
class Served:
    """One call: what was done to it, its size, and what it costs.

    `usd` is what its answer says; `worst` is what has to be booked when it was lost.
    `serial` stands in the answer's count of cached tokens, to know it again.
    """

    serial: int
    fault: str
    prompt_tokens: float
    usd: float
    worst: float
    title: str


class Model:
    """Serves on 127.0.0.1, on a port of its own, until the block ends."""

    def __init__(self, seed: int) -> None:
        self.calls: list[Served] = []
        self._rng = random.Random(f"model {seed}")
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    @property
    def url(self) -> str:
        """What ANTHROPIC_BASE_URL has to be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Model:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, raw: bytes) -> tuple[int, bytes, int | None]:
        """Status, body, and after how many bytes the line goes dead."""
        asked = json.loads(raw)
        with self._lock:
            call, body = self._call(asked, len(raw))
            self.calls.append(call)
        if call.fault.isdecimal():
            error = {"type": "error", "error": {"type": "e", "message": "not now"}}
            return int(call.fault), json.dumps(error).encode(), None
        cut = len(body) // 2
        if call.fault == "broken":
            return 200, body[:cut], None
        return 200, body, cut if call.fault == "half" else None

    def _call(self, asked: dict[str, Any], size: int) -> tuple[Served, bytes]:
        serial = len(self.calls) + 1
        fault = self._rng.choice(FAULTS) if self._rng.random() < SHARE else ""
        price = price_of(asked["model"])
        idea = proposal(f"idea {serial}", self._rng)
        usage = Usage(size // 4, serial, 0, len(json.dumps(idea)) // 4)
        sent = len(json.dumps(asked, ensure_ascii=False).encode())
        worst = price.worst_case(sent + OVERHEAD_TOKENS, asked["max_tokens"])
        call = Served(serial, fault, size / 4, price.cost(usage), worst, idea["title"])
        return call, _message(asked["model"], idea, usage)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                status, body, cut = owner.answer(self.rfile.read(length))
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.send_header("connection", "close")
                if status == 429:
                    self.send_header("retry-after", "1")
                self.end_headers()
                self.wfile.write(body[:cut])
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler


def _message(model: str, idea: dict[str, Any], usage: Usage) -> bytes:
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [
            {"type": "tool_use", "id": "toolu_1", "name": "propose", "input": idea}
        ],
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {
            "input_tokens": usage.input_tokens,
            "cache_read_input_tokens": usage.cache_read_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": usage.output_tokens,
        },
    }
    return json.dumps(body).encode()
