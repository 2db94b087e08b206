"""Every budget of a session ends it clean, with a full report that names it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helpers lie beside the tests
from messages_server import proposal
from test_agents_session import served, session


@pytest.mark.parametrize(
    ("cap", "words"),
    [
        ("experiments=2", "2 experiments decided"),
        ("hours=0.001", "time budget of 0.001 h used up"),
        ("gpu-hours=0.0004", "device budget of 0.0004 h used up"),
        ("max-usd=0.5", "spending cap of $0.5 reached"),
    ],
)
def test_a_cap_ends_a_session_and_is_named(
    new_project: Any, cap: str, words: str
) -> None:
    """Candidates, hours, device-hours, dollars: exit 0, all files, and which it was."""
    project = new_project("cap")
    project.commit()
    count = iter(range(1000))

    def think(body: dict[str, Any]) -> Any:
        edits = [{"op": "set", "knob": "LR", "value": 0.5 + next(count) / 1000}]
        data = {"title": "t", "hypothesis": "h", "category": "other", "edits": edits}
        return proposal(data, usage={"input_tokens": 0, "output_tokens": 20_000})

    with served(think):
        ran = session(project, f"--autoresearch-{cap}")
    report = project.path / "autoresearch-report"
    cases = list(ET.parse(report / "junit.xml").getroot().iter("testcase"))
    rows = project.ledger().candidates()

    assert ran.ret == 0, ran.text
    assert f"(this session: {words})" in ran.text
    assert project.ledger().session(1)["state"] == "finished"
    assert len((report / "results.tsv").read_text().splitlines()) >= 2
    assert len(cases) == len([row for row in rows if row["state"] != "stopped"])
    assert (report / "kept.xml").exists()
    assert "  estimate: " in ran.text.partition("collected")[0]
