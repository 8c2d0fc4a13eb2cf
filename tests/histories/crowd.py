"""A log of agents with clocks of their own, and beside it what truly happened before what."""

from __future__ import annotations

import json
from typing import Any

from accord.schemas.clock import VectorClock
from accord.schemas.codec import commands_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages import Command
from accord.schemas.messages.locks import AcquireLock, LockGranted, ReleaseLock
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.position import Position
from accord.schemas.topics import partition_of
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided

from tests.histories.play import Play


class Crowd(Play):
    """A `Play` in which each agent knows what it was told, and no more.

    `before` has, for the position of each agent's command and of each decision, the positions right before it: they are
    noted as things are done here, not read from clocks.
    """

    def __init__(self, *, cluster: str = "crowd", **partitions: int) -> None:
        super().__init__(cluster=cluster, **partitions)
        self.clocks: dict[str, VectorClock] = {}
        self.before: dict[str, set[str]] = {}
        self._last_of: dict[str, str] = {}
        self._told: dict[str, set[str]] = {}
        for domain, number in self.all_partitions():
            genesis = str(Position(domain, number, 0))
            self.before[genesis], self._last_of[f"{domain}/{number}"] = set(), genesis

    def ask(
        self, agent: str, key: str, command: Command, *, domain: str = "locks", told: bool = True, after_ms: int = 10,
        task: str | None = None,
    ) -> Decided:  # fmt: skip
        """An agent sends a command; it is decided, and `told` says whether the agent hears of that."""
        incarnation = f"{agent}#1"
        clock = self.clocks[agent] = self.clocks.get(agent, VectorClock()).advanced(incarnation)
        where = self._where(domain, key)
        at = Position(*where, len(self.log_commands[where]), commands=True)
        self.before[str(at)] = {*self._told.pop(agent, ()), *self._previous(incarnation)}
        self._last_of[incarnation] = str(at)
        decided = self._decide(where, agent, key, command, clock, f"m{sum(map(len, self.log_commands.values()))}",
                               after_ms, task)  # fmt: skip
        self._note(where, {str(at)})
        if told:
            self.tell(agent, decided, domain, key)
        return decided

    def tell(self, agent: str, decided: Decided, domain: str, key: str) -> None:
        """An agent hears of a decision."""
        self.clocks[agent] = self.clocks.get(agent, VectorClock()).merge(
            VectorClock.decode(decided.decision.clock), keep=f"{agent}#1"
        )
        where = self._where(domain, key)
        log = self.log_events[where]
        offset = next(record.offset for record in log if _seq(record) == decided.decision.seq)
        self._told.setdefault(agent, set()).add(str(Position(*where, offset)))

    def follow(self, domain: str, decided: Decided, *, after_ms: int = 1) -> list[Decided]:
        """Has done what process managers make of a decision, in the order in which they do."""
        found: list[tuple[str, Decided]] = []
        key, place = decided.decision.key.decode(), 0
        for event in decided.events:
            orders = DOMAINS[domain].reactions.get(type(event))
            for to_domain, to_key, command in orders(key, event) if orders else ():
                done = self.order(decided, domain, key, command, to_domain=to_domain, to_key=to_key, place=place)
                found.append((to_domain, done))
                place += 1
        return [later for to, done in found for later in (done, *self.follow(to, done))]

    def order(
        self, because: Decided, domain: str, key: str, command: Command, *, to_domain: str, to_key: str, place: int = 0
    ) -> Decided:
        """A process manager sends a command that follows from a decision about a key."""
        source = self._where(domain, key)
        offset = next(r.offset for r in self.log_events[source] if _seq(r) == because.decision.seq)
        position = str(Position(*source, offset))
        where = self._where(to_domain, to_key)
        name = f"{source[0]}/{source[1]}"
        decided = self._decide(
            where,
            f"accord/{name}",
            to_key,
            command,
            VectorClock.decode(because.decision.clock),
            f"{position}/{place}",
            1,
            None,
        )
        self._note(where, {position})
        return decided

    # -- what agents do

    def emit(self, agent: str, name: str, *, told: bool = True, task: str | None = None, **data: Any) -> Decided:
        return self.ask(agent, name, EmitSignal(agent, json.dumps(data), ()), domain="signals", told=told, task=task)

    def acquire(
        self, agent: str, lock: str, *, lease_ms: int = 60_000, wait_ms: int | None = None, permits: int | None = None,
        told: bool = True,
    ) -> Decided:  # fmt: skip
        return self.ask(agent, lock, AcquireLock(agent, f"{agent}/1", lease_ms, wait_ms, permits), told=told)

    def release(self, agent: str, lock: str, token: int, *, told: bool = True) -> Decided:
        return self.ask(agent, lock, ReleaseLock(agent, token), told=told)

    def body(self, agent: str, name: str, status: str, lock: str | None = None, token: int | None = None) -> Decided:
        """What `coordinate` emits when a body begins (`started`) or ends (`complete`, `failed`)."""
        data = {"status": status, "lock_wait_ms": 0} | ({} if lock is None else {"lock": lock, "token": token})
        return self.emit(agent, f"{name}_{status}", task=f"{agent}-{name}", **data)

    # -- what truly happened before what

    def truth(self) -> dict[str, set[str]]:
        """All that happened before each command and decision, by position."""
        closed: dict[str, set[str]] = {}
        for position in self.before:  # in the order in which it happened
            closed[position] = set(self.before[position])
            for one in self.before[position]:
                closed[position] |= closed[one]
        return closed

    def _decide(
        self, where: tuple[str, int], source: str, key: str, command: Command, clock: VectorClock, message_id: str,
        after_ms: int, task: str | None,
    ) -> Decided:  # fmt: skip
        codec = commands_codec(where[0])
        headers = command_headers(message_id, source, codec.type_name(command), clock.encode(), task)
        return self.append(where, key.encode(), codec.encode(command), headers, after_ms=after_ms)

    def _note(self, where: tuple[str, int], causes: set[str]) -> str:
        name = f"{where[0]}/{where[1]}"
        at = str(Position(*where, self.log_events[where][-1].offset))
        self.before[at] = {*causes, self._last_of[name]}
        self._last_of[name] = at
        return at

    def _previous(self, process: str) -> set[str]:
        return {self._last_of[process]} if process in self._last_of else set()

    def _where(self, domain: str, key: str) -> tuple[str, int]:
        return domain, partition_of(key.encode(), self.partitions[domain])


def _seq(record: Any) -> int:
    return int(dict(record.headers)["accord-chain"].split(b" ")[0])


def token_of(decided: Decided, agent: str) -> int:
    """The token that a decision granted an agent."""
    (token,) = [event.token for event in decided.events if isinstance(event, LockGranted) and event.agent == agent]
    return token
