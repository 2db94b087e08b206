"""kept.xml: JUnit of the kept candidates only, for CI dashboards and reviews."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.etree import ElementTree as ET


@dataclass(frozen=True)
class Case:
    """One kept candidate as a testcase."""

    classname: str
    name: str
    seconds: float
    properties: Mapping[str, object]
    text: str


def render(cases: Sequence[Case], suite: str = "autoresearch") -> str:
    """A complete JUnit document; valid and empty when nothing was kept."""
    root = ET.Element("testsuites")
    total = sum(case.seconds for case in cases)
    node = ET.SubElement(root, "testsuite", name=suite, time=f"{total:.3f}")
    node.attrib |= {"tests": str(len(cases)), "errors": "0", "failures": "0"}
    node.set("skipped", "0")
    for case in cases:
        node.append(_testcase(case))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(
        root, encoding="unicode"
    )


def _testcase(case: Case) -> ET.Element:
    node = ET.Element(
        "testcase",
        classname=_legal(case.classname),
        name=_legal(case.name),
        time=f"{case.seconds:.3f}",
    )
    properties = ET.SubElement(node, "properties")
    for name, value in case.properties.items():
        ET.SubElement(properties, "property", name=name, value=_legal(str(value)))
    ET.SubElement(node, "system-out").text = _legal(case.text)
    return node


def _legal(text: str) -> str:
    """Without the characters that XML 1.0 cannot hold."""
    return "".join(
        ch
        for ch in text
        if ch in "\t\n\r"
        or "\x20" <= ch <= "\ud7ff"
        or "\ue000" <= ch <= "\ufffd"
        or ch >= "\U00010000"
    )
