"""Flows: what they are, where they began, and what they have emitted, by the events of the log.

Keys are added, never renamed. How far a flow has read, and what it passed over, is known to the process that runs it
alone: the log has its results.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from accord.replay.history import History, everything
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import signals as events
from accord.schemas.position import Position
from accord.streams.partition import Decided

__all__ = ["FlowView", "ResultView", "flow_at", "flows_at"]

DOMAIN: Final = "signals"
RESULTS_SHOWN: Final = 10
"""The last ones of a flow, of each name."""


class ResultView(msgspec.Struct, frozen=True):
    """An emitted result. `data` is what its event says."""

    number: int
    at: str
    data: Any
    position: str


class FlowView(msgspec.Struct, frozen=True):
    """What a flow emits under one name: late events have a name of their own.

    `what` is how it reads, `definition` all that is recorded of it; `began` are the positions from which it takes
    events. `results` counts all, `recent` has the last of them, newest first.
    """

    name: str
    event: str
    what: str
    agent: str
    begun_at: str
    began: tuple[str, ...]
    results: int
    last_at: str | None
    recent: tuple[ResultView, ...]
    definition: Any
    position: str


class Flows(History[dict[str, FlowView]]):
    """The flows of a partition's event names, by flow."""

    def see(self, decided: Decided) -> None:
        key, at = self.place(decided)
        time = iso(decided.decision.now_ms)
        data = ""
        for event in decided.events:
            match event:
                case events.SignalEmitted():
                    data = event.data
                case events.FlowBegun():
                    self.kept.setdefault(key, {})[event.flow] = _begun(key, event, time, at)
                case events.ResultEmitted(flow=flow, number=number):
                    view = self.kept[key][flow]
                    result = ResultView(number, time, msgspec.json.decode(data) if data else None, at)
                    recent = (result, *view.recent)[:RESULTS_SHOWN]
                    self.kept[key][flow] = msgspec.structs.replace(
                        view, results=number, last_at=time, recent=recent, position=at
                    )


def flows_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[FlowView, ...]:
    """Every flow that has begun up to a point, by name and event. Raises what `state_at` raises."""
    kept = everything(source, DOMAIN, Flows, point, processes)
    return tuple(sorted((view for _, found in kept for view in found.values()), key=lambda one: (one.name, one.event)))


def flow_at(source: Source, name: str, point: Point = None) -> tuple[FlowView, ...]:
    """What a flow emits at a point, by event; nothing if there is none of this name."""
    return tuple(view for view in flows_at(source, point) if view.name == name)


def _begun(key: str, e: events.FlowBegun, time: str, at: str) -> FlowView:
    plain = _plain(e.definition)
    return FlowView(e.flow, key, _what(plain), e.agent, time, _began(plain.pop("from", {})), 0, None, (), plain, at)


def _began(starts: Any) -> tuple[str, ...]:
    try:
        return tuple([str(Position(DOMAIN, int(number), offset)) for number, offset in sorted(starts.items())])
    except (AttributeError, TypeError, ValueError):
        return ()


def _plain(definition: str) -> dict[str, Any]:
    """What is recorded of a flow. Anybody may record one: what is no definition is shown as it is."""
    try:
        return msgspec.json.decode(definition, type=dict[str, Any])
    except msgspec.DecodeError:
        return {"text": definition}


def _what(plain: dict[str, Any]) -> str:
    """A definition as a line."""
    try:
        parts = [", ".join(name for name, _ in plain["of"]), *plain["before"]]
        if "window" in plain:
            kind, ms, every_ms = plain["window"]
            parts.append(f"{kind} {ms:,} ms" + (f" every {every_ms:,} ms" if kind == "hopping" else ""))
            parts += [f"by {', '.join(plain['by'])}"] if plain["by"] else []
            parts.append(", ".join(f"{name}={text}" for name, text in plain["aggregate"].items()))
        if "join" in plain:
            event, _, (one, other), within_ms, *_ = plain["join"]
            on = one if one == other else f"{one} = {other}"
            parts.append(f"join {event} on {on} within {within_ms:,} ms")
        return " | ".join([*parts, *plain["after"]])
    except (KeyError, TypeError, ValueError, AttributeError):
        return "no definition that this release reads"
