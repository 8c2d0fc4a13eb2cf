"""A history as a log for ShiViz (Beschastnikh et al. 2016), which draws it in a browser.

The file is as ShiViz loads it: the expression that reads an event, an empty line (there is one execution), the events.
Its clocks count the steps that are told, from 1 on and without gaps, as ShiViz demands; they order these steps as the
log's clocks do, and no others.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from accord.replay.explain.explanation import Explanation, Step
from accord.replay.spacetime import in_order

EXPRESSION: Final = r"(?<host>\S+) (?<clock>\{.*?\}) (?<position>\S+) (?<event>.*)"
_SPACE: Final = re.compile(r"\s+")


def shiviz(explained: Explanation) -> str:
    """The history of what is explained, for ShiViz."""
    steps = in_order(explained)
    lines = [EXPRESSION, ""]
    for step, clock in zip(steps, clocks(steps), strict=True):
        text = _SPACE.sub(" ", step.text)
        lines.append(f"{_host(step.process)} {msgspec.json.encode(clock).decode()} {step.position} {text}")
    return "\n".join(lines) + "\n"


def clocks(steps: list[Step]) -> list[dict[str, int]]:
    """Vector clocks of steps alone, in their order, which fits the causal one."""
    known: dict[str, dict[str, int]] = {}
    counts: dict[str, int] = {}
    for step in steps:
        clock: dict[str, int] = {}
        for position in step.after:
            for host, count in known[position].items():
                clock[host] = max(count, clock.get(host, 0))
        host = _host(step.process)
        counts[host] = clock[host] = counts.get(host, 0) + 1
        known[step.position] = clock
    return [known[step.position] for step in steps]


def _host(process: str) -> str:
    """A process's name as ShiViz reads it: without spaces, and without what its clocks end with."""
    return _SPACE.sub("_", process).replace("}", ")")
