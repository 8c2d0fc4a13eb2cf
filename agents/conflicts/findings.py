"""Comparing what agents found: where recommendations differ, one resolution says whose counts.

Two recommendations are the same if they are the same JSON, keys of objects in whatever order, 2 and 2.0 alike. None is
no opinion. Who found what is the word of who compares; a finding's own text names nobody and decides nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from accord.agents.connection.connection import Answer, future, settle
from accord.agents.locks.arguments import check_name, check_priority, check_wait_ms
from accord.agents.signals import signals
from accord.agents.signals.plain import NotPlain, plain
from accord.agents.watched import Watched
from accord.schemas.messages.conflicts import (
    CompareFindings,
    ComparisonRefused,
    ConflictKnown,
    ConflictRead,
    ConflictResolved,
    Finding,
    FindingsAgree,
    ReadConflict,
)
from accord.streams.conflicts.bounds import MILLION, problem_of
from accord.streams.conflicts.ground import RESOLVED
from accord.streams.conflicts.rules import differences

from accord.errors import BadInput, CircularTrigger, Overloaded, TermsDiffer

if TYPE_CHECKING:
    from accord.agents.hub import Hub

DOMAIN: Final = "conflicts"


def canonical(value: Any) -> str:
    """A value as JSON, the same text for the same value. Raises BadInput: JSON cannot express it."""
    try:
        whole = _whole(plain(value))
        return json.dumps(whole, ensure_ascii=False, separators=(",", ":"), sort_keys=True, allow_nan=False)
    except (NotPlain, ValueError) as error:
        raise BadInput(f"a finding is no JSON: {error}.") from None


def _whole(value: Any) -> Any:
    """The same value, with whole numbers as such."""
    match value:
        case float() if value.is_integer():
            return int(value)
        case list():
            return [_whole(one) for one in value]
        case dict():
            return {name: _whole(one) for name, one in value.items()}
    return value


def recorded(found: Mapping[str, Any]) -> Finding:
    """A finding as the log has it. Raises BadInput: it cannot be one."""
    if not isinstance(found, Mapping) or not isinstance(found.get("agent"), str):
        raise BadInput(f"{str(found)[:80]!r} is no finding: a mapping with agent is needed.")
    said = found.get("recommendation")
    rest = {name: value for name, value in found.items() if name not in ("agent", "recommendation", "priority")}
    return Finding(
        check_name(found["agent"], "agent"),
        None if said is None else canonical(said),
        canonical(rest),
        check_priority(found.get("priority", 0)),
    )


class Comparison(Watched):
    """Findings that are compared on a ground, by id; made by `compare`."""

    def __init__(self, hub: Hub, ground: str, key: str, found: tuple[Mapping[str, Any], ...]) -> None:
        self.key: Final = check_name(key, "conflict")
        self.found: Final = found
        self._pairs = [[pair.one, pair.other] for pair in differences([recorded(one) for one in found])]
        self._ended: Future[dict[str, Any]] = future()
        super().__init__(hub, DOMAIN, "conflict on", ground, self._ended)

    def _heard(self, answer: Answer) -> None:
        for event in answer.events:
            if getattr(event, "conflict", None) == self.key:
                self._heard_of_it(event, str(answer.position))

    def _heard_of_it(self, event: Any, position: str) -> None:
        match event:
            case FindingsAgree():
                self._settle({"status": "no_conflicts", "findings": list(self.found)})
            case ConflictResolved() as e:
                self._settle(self._resolution(e, e.winners[0].party, appealed=False, position=position))
            case ConflictRead(status="resolved") as e:
                self._settle(self._resolution(e, e.winners[0].party, appealed=e.appealed, position=position))

    def _resolution(self, e: Any, winner: str, *, appealed: bool, position: str) -> dict[str, Any]:
        return {
            "status": RESOLVED,
            "resolution": {
                "winner": winner,
                "reasoning": e.reasoning,
                "confidence": e.confidence_millionths / MILLION,
                "method": e.method,
                "fallback": e.fallback,
                "by": e.by,
                "by_rule": e.by_rule,
                "losers": [{"agent": loser.agent, "outcome": loser.outcome} for loser in e.losers],
                "pairs": self._pairs,
                "appealed": appealed,
                "ground": self.id,
                "conflict": self.key,
                "position": position,
            },
        }

    def _settle(self, result: dict[str, Any]) -> None:
        self.forget()
        settle(self._ended, result)

    async def result(self, *, wait_ms: int | None = None) -> dict[str, Any]:
        """What came of it, once it is judged. Raises Unavailable: not within `wait_ms`, or nobody decides."""
        return await self._wait(self._ended, check_wait_ms(wait_ms), "is not resolved")

    async def look(self) -> ConflictRead:
        """How it stands. Raises NotFound."""
        read = (await self.send(ReadConflict(self._hub.agent, self.key))).events[-1]
        if not isinstance(read, ConflictRead):
            raise self._unknown()
        return read


async def compare(
    hub: Hub, findings: Iterable[Mapping[str, Any]], *, ground: str | None, key: str | None
) -> Comparison:
    """Has findings compared, and returns when the log has them; see `Accord.findings`."""
    hub.ensure_open("findings()")
    found = tuple(findings)
    name = key or signals.new_task()
    command = CompareFindings(hub.agent, name, tuple([recorded(one) for one in found]), signals.trail.get())
    problem = problem_of(command)
    if problem is not None:
        raise BadInput(f"{problem}.")
    made = Comparison(hub, ground or f"findings {name}", name, found)
    try:
        answer = await made.send(command)
        for event in answer.events:
            match event:
                case ComparisonRefused(reason=reason):
                    raise _refusal(made, reason, str(answer.position))
                case ConflictKnown():
                    await made.look()
    except BaseException:
        made.forget()
        raise
    return made


def _refusal(made: Comparison, reason: str, position: str) -> Exception:
    text = f"the findings {made.key} on {made.id} are not compared"
    if reason == "exists":
        return TermsDiffer(f"{text}: others have this key.", remedy="Take another.", key=made.id, position=position)
    if reason == "full":
        return Overloaded(
            f"{text}: too many conflicts wait there.", remedy="Try again later, or on another ground.", key=made.id,
            position=position,
        )  # fmt: skip
    return CircularTrigger(f"{text}: too many events in a row led to it.", key=made.id, position=position)
