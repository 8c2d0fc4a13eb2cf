"""Conflicts for plain functions, and as methods of the sync hub. Who is stopped learns it at the end of `with`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Any, Final, Self

from accord.agents.conflicts import ground as grounds
from accord.agents.conflicts.findings import compare
from accord.agents.conflicts.intention import Intention as AsyncIntention
from accord.agents.conflicts.judging import Answers, AsksModel, Judging
from accord.agents.sync import SyncHub
from accord.schemas.messages.conflicts import ConflictRead, GroundRead
from anyio.from_thread import BlockingPortal

from accord.errors import ConflictLost


class Intention:
    """An intention; see `accord.agents.conflicts.intention.Intention`, whose errors these have."""

    def __init__(self, loop: BlockingPortal, intention: AsyncIntention) -> None:
        self._loop = loop
        self._intention = intention
        self.key: Final = intention.key

    @property
    def status(self) -> str:
        """`acting`, `queued`, `held`: a judge is asked, or how it ended."""
        return self._intention.status

    @property
    def lost(self) -> ConflictLost | None:
        """Why it stands no more, if others are the cause, or its lease."""
        return self._intention.lost

    def declare(self) -> str:
        """Says what this agent is about to do, and returns how it stands."""
        return self._loop.call(self._intention.declare)

    def turn(self, *, wait_ms: int | None = None) -> None:
        """Returns when it may be done."""
        self._loop.call(partial(self._intention.turn, wait_ms=wait_ms))

    def finish(self) -> None:
        """Tells that it is done."""
        self._loop.call(self._intention.finish)

    def withdraw(self, reason: str = "") -> None:
        """Tells that it will not be done."""
        self._loop.call(self._intention.withdraw, reason)

    def appeal(self, reason: str = "") -> None:
        """Takes the conflict that it lost to the ground's authority."""
        self._loop.call(self._intention.appeal, reason)

    def __enter__(self) -> Self:
        self._loop.call(self._intention.enter)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call(self._intention.leave, error)


class Ground:
    """A ground; see `accord.agents.conflicts.ground.Ground`, whose arguments and errors these have."""

    def __init__(self, loop: BlockingPortal, ground: grounds.Ground) -> None:
        self._loop = loop
        self._ground = ground
        self.name: Final = ground.name

    def configure(self, **terms: Any) -> None:
        """Sets how conflicts on it are found and resolved."""
        self._loop.call(partial(self._ground.configure, **terms))

    def intend(self, action: str, **terms: Any) -> Intention:
        """What this agent is about to do: `with` waits until it may be done, and tells when it is."""
        return Intention(self._loop, self._ground.intend(action, **terms))

    def look(self) -> GroundRead:
        """How it stands."""
        return self._loop.call(self._ground.look)

    def conflict(self, conflict: str) -> ConflictRead:
        """A conflict with all that it is about."""
        return self._loop.call(self._ground.conflict, conflict)

    def appeal(self, conflict: str, *, party: str | None = None, reason: str = "", agent: str | None = None) -> None:
        """Takes a conflict that this agent lost to the ground's authority."""
        self._loop.call(partial(self._ground.appeal, conflict, party=party, reason=reason, agent=agent))

    def rule(self, conflict: str, winner: str, *, reasoning: str = "", agent: str | None = None) -> None:
        """Rules on a conflict that was escalated."""
        self._loop.call(partial(self._ground.rule, conflict, winner, reasoning=reasoning, agent=agent))


class SyncConflictsHub(SyncHub):
    """What a sync hub offers of conflicts."""

    def ground(self, name: str) -> Ground:
        """A ground on which agents could get in each other's way; as `accord.Accord.ground`."""
        self.ensure_open("ground()")
        return Ground(self._loop, grounds.Ground(self, name))

    def findings(
        self,
        findings: Iterable[Mapping[str, Any]],
        *,
        ground: str | None = None,
        key: str | None = None,
        wait_ms: int | None = None,
    ) -> dict[str, Any]:
        """Compares what agents found; as `accord.Accord.findings`."""
        self.ensure_open("findings()")

        async def compared() -> dict[str, Any]:
            comparison = await compare(self, findings, ground=ground, key=key)
            try:
                return await comparison.result(wait_ms=wait_ms)
            finally:
                comparison.forget()

        return self._loop.call(compared)

    def judge(
        self, judge: Answers | AsksModel | None = None, *, name: str | None = None
    ) -> AbstractContextManager[Judging]:
        """Judges whenever it is asked, for as long as `with` lasts; as `accord.Accord.judge`."""
        self.ensure_open("judge()")
        return self._loop.wrap_async_context_manager(Judging(self, judge, name))
