"""A verification as JUnit XML, for a CI that shows such reports: a test case for each partition.

A divergence is a failure, whose type names the damage; what could not be looked at is an error; what retention took is
output. A log that could not be read at all is one test case with an error.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final
from xml.etree import ElementTree as ET

from accord.replay.verify import Divergence, Report
from accord.schemas.position import Position

from accord.errors import AccordError

SUITE: Final = "accord replay verify"
_NOT_FOR_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(report: Report, name: str, partitions: Sequence[tuple[str, int]]) -> str:
    """A report as a document.

    Args:
        name: of the log.
        partitions: those that were looked at.
    """
    cases = {where: _case(name, f"{where[0]}/{where[1]}") for where in partitions}
    for divergence in report.divergences:
        failure = ET.SubElement(cases[_where(divergence.position)], "failure", type=divergence.kind)
        failure.set("message", _clean(divergence.told))
        failure.text = _clean(_text(divergence))
    for gap in report.gaps:
        told = f"{gap.position}: {gap.description} Decisions taken as recorded: {gap.decisions}."
        case = cases[_where(gap.position)]
        if gap.reason == "retention":
            ET.SubElement(case, "system-out").text = _clean(told)
        else:
            ET.SubElement(case, "error", type=gap.reason, message=_clean(told))
    failures = sum(case.find("failure") is not None for case in cases.values())
    errors = sum(case.find("error") is not None for case in cases.values())
    return _document(list(cases.values()), failures, errors, report.duration_ms)


def junit_of_error(error: AccordError, name: str) -> str:
    """A log that could not be read, as a document."""
    case = _case(name, "read")
    ET.SubElement(case, "error", type=error.code, message=_clean(str(error)))
    return _document([case], 0, 1, 0)


def _document(cases: Sequence[ET.Element], failures: int, errors: int, duration_ms: int) -> str:
    counts = {"tests": str(len(cases)), "failures": str(failures), "errors": str(errors), "skipped": "0"}
    root = ET.Element("testsuites", counts)
    suite = ET.SubElement(root, "testsuite", counts, name=SUITE, time=f"{duration_ms / 1_000:.3f}")
    suite.extend(cases)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _case(log: str, name: str) -> ET.Element:
    return ET.Element("testcase", classname=_clean(log), name=name, time="0")


def _where(position: str) -> tuple[str, int]:
    at = Position.parse(position)
    return at.domain, at.partition


def _text(divergence: Divergence) -> str:
    lines = [
        f"at {divergence.position}, key {divergence.key!r}",
        *[f"cause {cause}" for cause in divergence.causes],
        f"expected {divergence.expected}",
        f"got      {divergence.got}",
        *[f"after {step.position} {step.process}: {step.text}" for step in divergence.history],
    ]
    return "\n".join(lines)


def _clean(text: str) -> str:
    """Text without the characters that XML has no way to write."""
    return _NOT_FOR_XML.sub("\ufffd", text)
