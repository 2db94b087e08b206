"""A loopback server that speaks the Messages API, with answers written beforehand.

    with MessagesServer([proposal({...}), status(529), text("no")]) as server:
        environ = {"ANTHROPIC_API_KEY": "k", "ANTHROPIC_BASE_URL": server.url}

Each request takes the next answer and is kept in `server.requests`. When none is left,
the last one is given again if `repeat` is set, else status 400 says so. An answer can
be a function of the request's body.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

USAGE = {"input_tokens": 100, "output_tokens": 50}


@dataclass(frozen=True)
class Reply:
    """One scripted answer; `cut` closes the connection after that many bytes."""

    body: bytes
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int | None = None


Script = Reply | Callable[[dict[str, Any]], Reply]


def message(
    content: list[dict[str, Any]],
    stop_reason: str = "end_turn",
    usage: Mapping[str, Any] | None = None,
    **more: Any,
) -> Reply:
    """An answer of the model with these content blocks."""
    body = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-test",
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": dict(USAGE if usage is None else usage),
        **more,
    }
    headers = {"content-type": "application/json"}
    return Reply(json.dumps(body).encode(), headers=headers)


def proposal(
    *data: Mapping[str, Any],
    usage: Mapping[str, Any] | None = None,
    tool: str = "propose",
    stop_reason: str = "tool_use",
) -> Reply:
    """An answer with one call of `propose` for each of `data`."""
    content = [
        {"type": "tool_use", "id": f"toolu_{i}", "name": tool, "input": dict(one)}
        for i, one in enumerate(data)
    ]
    return message(content, stop_reason, usage)


def text(words: str, stop_reason: str = "end_turn") -> Reply:
    """An answer in prose."""
    return message([{"type": "text", "text": words}], stop_reason)


def status(code: int, words: str = "no", **headers: str) -> Reply:
    """An error; `retry_after="7"` becomes the header retry-after."""
    body = {"type": "error", "error": {"type": "error", "message": words}}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    named["content-type"] = "application/json"
    return Reply(json.dumps(body).encode(), code, named)


def dropped() -> Reply:
    """A good beginning, then a closed connection in the middle of the body."""
    whole = text("x" * 1000)
    return Reply(whole.body, headers=whole.headers, cut=100)


@dataclass(frozen=True)
class Received:
    """A request as it came in; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class MessagesServer:
    """Serves the script on 127.0.0.1, on a port of its own, until the block ends."""

    def __init__(self, script: Sequence[Script], repeat: bool = False) -> None:
        self.requests: list[Received] = []
        self._script = list(script)
        self._repeat = repeat
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        # a short poll, so that the block ends at once
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        """What ANTHROPIC_BASE_URL has to be."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> MessagesServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, received: Received) -> Reply:
        """Note the request and take the next answer of the script."""
        with self._lock:
            self.requests.append(received)
            place = len(self.requests) - 1
            if place >= len(self._script) and not (self._repeat and self._script):
                return status(400, "the script has no more answers")
            script = self._script[min(place, len(self._script) - 1)]
        return script if isinstance(script, Reply) else script(received.body)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers.get("content-length", "0"))
                body = json.loads(self.rfile.read(length) or b"{}")
                headers = {name.lower(): value for name, value in self.headers.items()}
                self._send(owner.answer(Received(self.path, headers, body)))

            def _send(self, reply: Reply) -> None:
                self.send_response(reply.code)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.send_header("connection", "close")
                self.end_headers()
                self.wfile.write(reply.body[: reply.cut])
                self.close_connection = True

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        return Handler
