"""Which sandbox a session gets, and what is said and refused where it is weak."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from autoresearch_plugin import containment
from autoresearch_plugin.errors import InfrastructureError, SettingsError
from autoresearch_plugin.sandbox import canary
from autoresearch_plugin.sandbox.probe import Sandbox
from autoresearch_plugin.settings import Settings, resolve

WEAK = Sandbox(1, ("seccomp",), ("no Landlock", "no user namespace"))
GOOD = Sandbox(4, ("namespaces",), ())


def settings(**given: str) -> Settings:
    """Settings with some options given."""
    options = {f"autoresearch_{name}": value for name, value in given.items()}
    return resolve(options.get, lambda name: None, {})


@pytest.mark.parametrize("who", ["anthropic", "command:./llm", "mine:Proposer"])
def test_a_model_s_candidates_need_a_sandbox(who: str) -> None:
    """Below level 2 they are refused, with the reasons and both ways out."""
    with pytest.raises(SettingsError) as caught:
        containment.admit(settings(proposer=who), WEAK)
    for words in ("L1", "no Landlock", "docker run", "--autoresearch-allow-unsafe"):
        assert words in str(caught.value)


@pytest.mark.parametrize("who", ["tpe", "none", "scripted:ideas.jsonl"])
def test_ones_own_candidates_run_with_a_note(who: str) -> None:
    """The flag and the container line stand in it."""
    (note,) = containment.admit(settings(proposer=who), WEAK)
    assert "untrusted" in note
    assert "--autoresearch-allow-unsafe" in note
    assert containment.CONTAINER in note


def test_the_risk_can_be_taken() -> None:
    """Then the note says who took it."""
    given = settings(proposer="anthropic", allow_unsafe="yes")
    (note,) = containment.admit(given, WEAK)
    assert "allowed by you" in note


def test_a_good_sandbox_needs_no_words() -> None:
    """From level 2 on nothing is noted, and nothing refused."""
    assert containment.admit(settings(proposer="anthropic"), GOOD) == []
    assert containment.label(GOOD) == "L4"
    assert containment.label(WEAK) == "L1 untrusted"


def test_a_canary_that_gets_through_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No candidate runs in a sandbox that does not hold."""
    monkeypatch.setattr(canary, "check", lambda *_: ["read a secret file"])
    with pytest.raises(InfrastructureError, match="read a secret file"):
        containment.check(GOOD, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_one_everything_is_marked(new_project: Any) -> None:
    """Header, closing screen, ledger, kept.xml and junit.xml say untrusted."""
    project = new_project("unsafe")
    project.candidate("wide", "set('WIDTH', 9)")
    project.commit()
    ran = project.research("-pno:xdist", "--autoresearch-sandbox=none")
    text = "\n".join(ran.outlines)

    assert ran.ret == 0, text
    assert "note: sandbox L0 (--autoresearch-sandbox=none)" in text
    assert "sandbox L0 untrusted =" in text
    assert {row["sandbox"] for row in project.ledger().session_trials(1)} == {
        "L0 untrusted"
    }
    for name in ("kept.xml", "junit.xml"):
        report = (project.path / "autoresearch-report" / name).read_text()
        assert 'name="sandbox" value="L0 untrusted"' in report

    again = project.research("-pno:xdist", "--autoresearch-proposer=command:true",
                             "--autoresearch-sandbox=none")  # fmt: skip
    assert again.ret == 4
    assert "writes code" in "\n".join(again.errlines)


def test_the_header_names_the_level_and_what_it_does_not_cover(
    new_project: Any,
) -> None:
    """The toy command scores itself, which no sandbox makes true."""
    project = new_project("header")
    project.candidate("burns", "set('LR', 0.9)", strict=False)
    project.commit()
    text = "\n".join(project.research("-pno:xdist").outlines)

    (line,) = [x for x in text.splitlines() if x.startswith("  sandbox ")]
    assert "the command's own word (it does not isolate)" in line
