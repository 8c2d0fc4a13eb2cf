"""What happens in a trial, as it is recorded, checked and told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from accord.schemas.messages import Event

Kind = Literal["agent", "read", "wrote", "refused", "noted", "begun", "ended"]


class Happened(NamedTuple):
    """Something that happened.

    `at_ms` is the virtual time since the trial began. `kind` is `agent` for what became of an agent (`what` says it in
    words), `read`, `wrote` and `refused` of a resource, `noted` of a note, `begun` and `ended` of a section; `name` is
    the resource's, the note's or the section's.
    `life` counts the agent's starts. `value` was read or written, `version` is its number in the resource, and
    `based_on` the version that the agent had read or written last, None if none. `token` is the fencing token that came
    with it. `details` are a note's. `section` is the outermost section in which it was done, as `transfer 3`.
    """

    at_ms: float
    kind: Kind
    agent: str
    life: int
    name: str = ""
    what: str = ""
    value: Any = None
    version: int = 0
    based_on: int | None = None
    token: int | None = None
    details: Mapping[str, Any] = {}
    section: str = ""

    def line(self) -> str:
        """In words, without time and agent."""
        token = f" (token {self.token})" if self.token is not None else ""
        match self.kind:
            case "agent":
                return self.what
            case "read":
                return f"reads {self.name}: {_short(self.value)}{token}"
            case "wrote":
                return f"writes {self.name}: {_short(self.value)}{token}"
            case "refused":
                return f"is refused by {self.name}{token}: {self.what}"
            case "noted":
                details = ", ".join(f"{name}={_short(value)}" for name, value in self.details.items())
                return f"notes {self.name}" + (f": {details}" if details else "")
            case "begun" | "ended":
                return f"{'begins' if self.kind == 'begun' else 'ends'} {self.section}"


class Told(NamedTuple):
    """An event that was decided, for the trace."""

    at_ms: float
    domain: str
    key: str
    event: Event

    @property
    def agent(self) -> str:
        return getattr(self.event, "agent", None) or "-"

    def line(self) -> str:
        """In words, without time and agent."""
        facts = msgspec.structs.asdict(self.event) if isinstance(self.event, msgspec.Struct) else {}
        shown = [f"{name}={_short(facts[name])}" for name in _FACTS if facts.get(name) is not None]
        return f"{self.domain} {self.key}: {type(self.event).__name__} {', '.join(shown)}".rstrip()


_FACTS = ("token", "units", "count", "place", "version", "step", "status", "reason", "data")
"""What is told of an event, if it has it."""

Listener = Callable[[Happened], None]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
