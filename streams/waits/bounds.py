"""How much of who waits for whom is kept, and what a report may hold."""

from __future__ import annotations

from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.waits import COMMANDS, ReportWaits
from accord.streams.bounds import Bounds

TEXT_BYTES_MAX: Final = 255
REPORTED_MAX: Final = 500
"""Most waiters in one report, by their turn; a deadlock through one further back is seen when its turn comes nearer."""
HOLDERS_MAX: Final = 200
WAITS_MAX: Final = 2_000
"""Most waiters in the graph; a report beyond it is answered with `WaitsIgnored`. Only requests count whose call chain
holds something else."""

VICTIMS_MAX: Final = 1_000
"""Most victims that are remembered, the newest. One is forgotten once its lock or pool is told without it."""


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_texts(command) or _BOUNDS.of_numbers(command)
    if problem is None and type(command) is ReportWaits:
        if command.domain not in ("locks", "limits"):
            return f"domain={command.domain}: nobody waits there"
        if len(command.waiters) > REPORTED_MAX or len(command.holders) > HOLDERS_MAX:
            return f"a report has at most {REPORTED_MAX} waiters and {HOLDERS_MAX} holders"
        texts = [text for holding in command.holders for text in (holding.owner, holding.agent)]
        texts += [text for one in command.waiters for text in (one.owner, one.agent, one.request)]
        if any(len(text.encode()) > TEXT_BYTES_MAX for text in texts):
            return f"an owner, agent or request has more than {TEXT_BYTES_MAX} bytes"
    return problem


_BOUNDS: Final = Bounds(
    "waits",
    COMMANDS,
    ("domain", "name", "source"),
    TEXT_BYTES_MAX,
    {"seq": (0, 1 << 62, "a decision's number is 0 or more")},
)
