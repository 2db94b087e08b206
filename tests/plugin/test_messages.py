"""docs/messages.md holds every message, and every message keeps the house rules."""

from __future__ import annotations

import importlib.util
import re
import string
import sys
from pathlib import Path

import pytest

from autoresearch_plugin import repository

SCRIPT = Path(__file__).parents[1] / "write_messages.py"
SAMPLE = '''
class Held(LedgerError):
    """A class of the module's own."""

def f(path, names, error):
    if path:
        raise pytest.UsageError("words " "in two parts.")
    if names:
        raise SettingsError(
            f"{path!r} has {len(names)} of {', '.join(names)}: {str(error)[:9]}."
        ) from None
    text = str(Held(f"{path.resolve()} is held{f' by {names[0]}' if names else ''}."))
    raise SettingsError(str(error))
    raise SettingsError(f"{error}")
    raise TypeError("not ours")
    self._event("fallback", f"{name} rests for now: {error}", member)
    research.tell(f"{label}: {error}")
'''


@pytest.fixture(scope="module")
def script():
    """tests/write_messages.py as a module."""
    spec = importlib.util.spec_from_file_location("write_messages", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["write_messages"] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules["write_messages"]


def test_the_page_holds_every_message(script):
    """A new or changed message changes docs/messages.md as well."""
    written = script.PAGE.read_text()
    assert written == script.render(), "run: python tests/write_messages.py"


def test_messages_are_found_where_errors_are_made(script):
    """Texts with places for values; what only passes another message on is none."""
    found = [(m.kind, m.text) for m in script.of_source(SAMPLE, "sample")]
    assert found == [
        ("UsageError", "words in two parts."),
        ("SettingsError", "{path} has {names} of {names}: {error}."),
        ("Held", "{path} is held by {names}."),
        ("told", "{name} rests for now: {error}"),
    ]


def test_every_message_is_a_sentence(script):
    """It ends with a period, or with what somebody else said; what is told is a line
    among others."""
    texts = [message.text for message in script.collect() if message.kind != "told"]
    texts += repository.MESSAGES.values()
    assert len(texts) > 100
    assert [text for text in texts if not re.search(r"[.})]$", text)] == []
    assert [text for text in texts if re.search(r"\w\.\.(\s|$)", text)] == []


def test_gits_messages_name_what_they_are_about(script):
    """Each has a place for the value seen; notes on a setting need none."""
    for key, text in repository.MESSAGES.items():
        places = [name for _, name, _, _ in string.Formatter().parse(text) if name]
        assert places or key.startswith("note-"), key
