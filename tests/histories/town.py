"""A cluster that is simulated directly, to hold forks against: agents by a script, ticks at deadlines, and what follows
from decisions 1 ms after them."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

from accord.replay.fork.numbers import NOBODYS
from accord.schemas.clock import VectorClock
from accord.schemas.messages import Command
from accord.schemas.messages.log import Tick
from accord.schemas.position import Position
from accord.schemas.topics import partition_of
from accord.streams.decider import Source as Cause
from accord.streams.decider import id_of
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided

from tests.histories.crowd import Crowd
from tests.histories.play import START_MS

Said = Command | Callable[["Town"], Command]
AGENT, ORDER, TICK = range(3)


class Town(Crowd):
    """A `Crowd` whose clock moves from one thing that is due to the next."""

    def __init__(self, *, cluster: str = "town", **partitions: int) -> None:
        super().__init__(cluster=cluster, **partitions)
        self._due: list[tuple[int, int, int, Callable[[], None]]] = []
        self._count = 0
        self._said = 0
        self._saying = ""
        self._tokens: dict[str, int] = {}
        self.named: dict[str, int] = {}
        """The token that was named last for a request."""

    def at(self, ms: int, agent: str, domain: str, key: str, said: Said) -> str:
        """Has an agent say something so long after the start. Returns the command's id."""
        self._said += 1
        message_id = f"said-{self._said}"
        self._later(START_MS + ms, AGENT, lambda: self._say(message_id, agent, domain, key, said))
        return message_id

    def token(self, request: str) -> int:
        """The token that a request was granted; before that the number of the genesis, which grants nothing."""
        self.named[request] = self._tokens.get(request, NOBODYS)
        return self.named[request]

    def run(self, until_ms: int) -> Town:
        """Lets time pass."""
        while self._due and self._due[0][0] <= START_MS + until_ms:
            self.now_ms, _, _, act = heapq.heappop(self._due)
            act()
        while self._due:  # what follows from decisions comes, deadlines do not
            self.now_ms, kind, _, act = heapq.heappop(self._due)
            if kind == ORDER:
                act()
        return self

    def _later(self, at_ms: int, kind: int, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._due, (at_ms, kind, self._count, act))

    def _say(self, message_id: str, agent: str, domain: str, key: str, said: Said) -> None:
        command = said if isinstance(said, Command) else said(self)
        self._saying = message_id
        self._decided(domain, key, self.ask(agent, key, command, domain=domain, after_ms=0))

    def _decide(
        self, where: tuple[str, int], source: str, key: str, command: Command, clock: VectorClock, message_id: str,
        after_ms: int, task: str | None,
    ) -> Decided:  # fmt: skip
        """What agents say has the same id however much else there is."""
        saying, self._saying = self._saying, ""
        return super()._decide(where, source, key, command, clock, saying or message_id, after_ms, task)

    def _decided(self, domain: str, key: str, decided: Decided) -> None:
        where = domain, partition_of(key.encode(), self.partitions[domain])
        position = Position(*where, self.log_events[where][-1].offset)
        for event in decided.events:
            if getattr(event, "token", None) == decided.decision.seq:
                self._tokens[getattr(event, "request", decided.decision.command_id)] = decided.decision.seq
        orders = [
            order
            for event in decided.events
            for order in (DOMAINS[domain].reactions.get(type(event)) or _nothing)(key, event)
        ]
        for number, order in enumerate(orders):
            if order.domain in self.partitions:
                message_id = id_of(Cause(position, number))
                self._later(self.now_ms + 1, ORDER, lambda o=order, m=message_id: self._order(decided, where, o, m))  # type: ignore[misc]
        deadline_ms = self._deadline_ms(where, key)
        if deadline_ms is not None:
            self._later(max(deadline_ms, self.now_ms), TICK, lambda: self._tick(where, key, deadline_ms))

    def _deadline_ms(self, where: tuple[str, int], key: str) -> int | None:
        partition = self.states[where]
        state = partition.aggregates.get(key)
        return None if state is None else partition.decider.deadline_ms(state)

    def _tick(self, where: tuple[str, int], key: str, deadline_ms: int) -> None:
        if self._deadline_ms(where, key) == deadline_ms:
            self._count += 1
            self._send(where, f"accord/{where[0]}/{where[1]}", key, Tick(), f"tick-{self._count}", None)

    def _order(self, because: Decided, source: tuple[str, int], order: Any, message_id: str) -> None:
        where = order.domain, partition_of(order.key.encode(), self.partitions[order.domain])
        sender = f"accord/{source[0]}/{source[1]}"
        self._send(where, sender, order.key, order.command, message_id, because.decision.clock)

    def _send(
        self, where: tuple[str, int], sender: str, key: str, command: Command, message_id: str, clock: bytes | None
    ) -> None:
        known = VectorClock() if clock is None else VectorClock.decode(clock)
        decided = self._decide(where, sender, key, command, known, message_id, 0, None)
        self._note(where, set())
        self._decided(where[0], key, decided)


def _nothing(_: str, __: Any) -> list[Any]:
    return []
