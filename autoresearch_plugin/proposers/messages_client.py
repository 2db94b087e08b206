"""One call of the Messages API through the `anthropic` client, and how it can fail."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from autoresearch_plugin.errors import SettingsError
from autoresearch_plugin.proposers.base import KEYS, Options

_TRANSIENT = {408, 409, 429, 500, 502, 503, 504, 529}
# the request may have been served although its answer was lost on the way
_MAYBE_CHARGED = {502, 504}

_WAY_OUT = {
    400: "Check --autoresearch-model, and the account's credit.",
    401: "Check ANTHROPIC_API_KEY.",
    402: "Check the account's billing.",
    403: "The key may not use this model; choose another with --autoresearch-model.",
    404: "Check --autoresearch-model and ANTHROPIC_BASE_URL.",
    413: "The target file or experiments/program.md is too long for this model.",
}


@dataclass(eq=False)
class Failure(Exception):
    """One try that brought no answer."""

    status: str
    words: str
    transient: bool
    maybe_charged: bool
    retry_after: float | None = None
    way_out: str = ""

    def is_about(self, field: str) -> bool:
        """Whether the provider found fault with one field of the request."""
        return self.status == "HTTP 400" and field in self.words


def connect(arguments: dict[str, str], timeout: float) -> Any:
    """A client that tries once and waits `timeout` seconds for an answer."""
    import anthropic

    limits = anthropic.Timeout(timeout, connect=min(timeout, 20.0))
    return anthropic.Anthropic(**arguments, max_retries=0, timeout=limits)  # type: ignore[arg-type]


def credentials(options: Options) -> dict[str, str]:
    """Arguments of the client; all explicit, so that it looks nowhere else."""
    found: dict[str, str] = {}
    for name, argument in zip(KEYS, ("api_key", "auth_token"), strict=True):
        if not found and (value := options.environ.get(name, "").strip()):
            found[argument] = value
    if not found:
        raise SettingsError(
            "the anthropic proposer needs ANTHROPIC_API_KEY in the environment. Set "
            "it, or go on without a model: --autoresearch-proposer tpe."
        )
    base_url = options.environ.get("ANTHROPIC_BASE_URL", "").strip()
    return {**found, "base_url": base_url or "https://api.anthropic.com"}


def create(client: Any, body: dict[str, Any]) -> Any:
    """Send; every way to fail becomes a `Failure`."""
    import anthropic

    try:
        message = client.messages.create(**body)
    except anthropic.APIStatusError as error:
        raise _status_failure(error) from None
    except anthropic.APIConnectionError as error:
        raise _connection_failure(error) from None
    except (anthropic.AnthropicError, ValueError) as error:
        # a body that is no JSON, or JSON of another shape
        raise Failure("unreadable answer", str(error), True, True) from None
    except Warning as error:
        # the client warns of retired models, and warnings may be errors here
        hint = "Choose another with --autoresearch-model."
        raise Failure("warning", str(error), False, False, way_out=hint) from None
    if not isinstance(getattr(message, "content", None), list):
        words = f"not an answer of the Messages API: {str(message)[:80]!r}"
        raise Failure("unreadable answer", words, True, True)
    return message


def _status_failure(error: Any) -> Failure:
    status = int(error.status_code)
    said = error.message
    body = error.body
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        said = str(body["error"].get("message") or said)
    # a limit that the account's owner has set does not pass by waiting
    capped = "spend_limit" in json.dumps(body, default=str)
    return Failure(
        f"HTTP {status}",
        said,
        transient=status in _TRANSIENT and not capped,
        maybe_charged=status in _MAYBE_CHARGED,
        retry_after=_retry_after(error.response.headers),
        way_out=_WAY_OUT.get(status, ""),
    )


def _connection_failure(error: Any) -> Failure:
    cause = error.__cause__
    kind = type(cause).__name__ if cause is not None else type(error).__name__
    never_sent = kind in ("ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError")
    words = str(cause or error) or kind
    hint = "Check the network and ANTHROPIC_BASE_URL."
    return Failure(f"connection ({kind})", words, True, not never_sent, way_out=hint)


def _retry_after(headers: Any) -> float | None:
    try:
        seconds = float(headers.get("retry-after"))
    except (TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None
