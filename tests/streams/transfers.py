"""Transactions and scopes as a cluster in one thread, under the worst that the log allows: what follows from events is
delivered late, in any order, more than once or not at all; every aggregate has a clock of its own.

The deciders and the reactions are the real ones; the log between them is a bag of commands.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from accord.schemas.messages import Command, Event
from accord.schemas.messages.limits import CapacityGranted, ConfigurePool, ReleaseCapacity, RequestCapacity
from accord.schemas.messages.locks import AcquireLock, LockGranted, ReleaseLock
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.state import (
    CommitChanges,
    SeenKey,
    Write,
)
from accord.schemas.messages.transactions import (
    BeginTransaction,
    Guard,
    RollBackTransaction,
    ScopeChanges,
)
from accord.streams.decider import At, Order
from accord.streams.domains import DOMAINS

from accord.testing.simulation.judges.transactions import Checker

SCOPES: Final = ("a", "b", "c")
ACCOUNTS: Final = ("x", "y")
START_MS: Final = 1_000_000
MONEY: Final = 100
"""In every account in the beginning."""
TIMEOUT_MS: Final = 10_000
SKEW_MS: Final = {"a": 0, "b": 700, "c": -3_000, "vault": 900, "gpus": -1_500}
"""How far clocks of scopes, of the lock and of the pool are from that of transactions."""
LOCK: Final = "vault"
POOL: Final = "gpus"
CAPACITY: Final = 3
PART: Final = 2
"""What is asked for of the pool: one at a time fits."""
LEASE_MS: Final = 4_000


class Seen(NamedTuple):
    """An event of an aggregate, and its clock then."""

    domain: str
    key: str
    event: Event
    now_ms: int


class Cluster:
    """Every scope with money in its accounts. `now_ms` is the time; `seen` the log, `bag` what is on its way."""

    def __init__(self) -> None:
        self.now_ms = START_MS
        self.states: dict[tuple[str, str], Any] = {}
        self.bag: list[Order] = []
        self.seen: list[Seen] = []
        self._count = 0
        for scope in SCOPES:
            writes = tuple([Write(account, "put", str(MONEY)) for account in ACCOUNTS])
            self.take(Order("state", scope, CommitChanges("bank", "serializable", None, (), (), writes, "", "")))
        self.take(Order("limits", POOL, ConfigurePool("ops", CAPACITY, None, None, (), (), ())))

    def take(self, order: Order) -> list[Event]:
        """Has a command decided; what follows goes into the bag."""
        domain = DOMAINS[order.domain]
        place = (order.domain, order.key)
        now_ms = self.now_ms + SKEW_MS.get(order.key, 0)
        decider = domain.versions[1]
        self._count += 1
        events = list(decider.decide(self.states.get(place), order.command, At(now_ms, self._count, f"r{self._count}")))
        for event in events:
            assert not isinstance(event, CommandRejected), event
            self.states[place] = decider.evolve(self.states.get(place), event)
            self.seen.append(Seen(order.domain, order.key, event, now_ms))
            reaction = domain.reactions.get(type(event))
            self.bag += reaction(order.key, event) if reaction else ()
        return events

    def tick(self) -> None:
        """Deadlines that are due are handled, as a worker does."""
        for (domain, key), state in list(self.states.items()):
            if state is not None:
                self.take(Order(domain, key, Tick()))

    def ask(self, domain: str, key: str, command: Command) -> list[Event]:
        return self.take(Order(domain, key, command))

    # -- what clients do

    def balance(self, scope: str, account: str) -> tuple[int, int]:
        """What a client reads: amount and version."""
        item = self.states["state", scope].keys.get(account)
        return int(item.value), item.version

    def part(self, scope: str, account: str, by: int) -> ScopeChanges:
        """A client's half of a transfer, by what it reads now."""
        amount, version = self.balance(scope, account)
        write = Write(account, "put", str(amount + by))
        return ScopeChanges(scope, "serializable", None, (SeenKey(account, version),), (), (write,))

    def begin(self, name: str, parts: tuple[ScopeChanges, ...], *guards: Guard) -> None:
        self.ask("transactions", name, BeginTransaction("ada", (), parts, True, TIMEOUT_MS, 0, guards))

    def roll_back(self, name: str) -> None:
        self.ask("transactions", name, RollBackTransaction("ada", "changed her mind"))

    def acquire(self, owner: str) -> None:
        self.ask("locks", LOCK, AcquireLock(owner, owner, LEASE_MS, None))

    def release(self) -> None:
        lock = self.states.get(("locks", LOCK))
        if lock is not None and lock.holders:
            self.ask("locks", LOCK, ReleaseLock(lock.holders[0].agent, lock.holders[0].token))

    def request(self, owner: str) -> None:
        terms = (PART, "shared", 0, 0, LEASE_MS, None, True)
        self.ask("limits", POOL, RequestCapacity(owner, owner, "", *terms))

    def give_back(self) -> None:
        for holder in self.states["limits", POOL].holders[:1]:
            self.ask("limits", POOL, ReleaseCapacity(holder.agent, holder.token, holder.request, None, None))

    @property
    def of_lock(self) -> Guard:
        """By the last grant, whether the lock is still held or not."""
        tokens = [one.event.token for one in self.seen if isinstance(one.event, LockGranted)]
        return Guard("locks", LOCK, max(tokens, default=0), None)

    @property
    def of_pool(self) -> Guard:
        """By the last grant, likewise."""
        grants = [(one.event.token, one.event.request) for one in self.seen if isinstance(one.event, CapacityGranted)]
        return Guard("limits", POOL, *max(grants, default=(0, "nobody's")))

    def transfer_inside(self, scope: str, amount: int) -> None:
        """A commit of one scope alone."""
        parts = [self.part(scope, account, by) for account, by in zip(ACCOUNTS, (-amount, amount), strict=True)]
        reads = tuple([read for part in parts for read in part.reads])
        writes = tuple([write for part in parts for write in part.writes])
        self.ask("state", scope, CommitChanges("bob", "serializable", None, reads, (), writes, "", ""))

    # -- the end

    def settle(self) -> None:
        """From now on nothing is lost; time passes until nothing is left to do."""
        for _ in range(40):
            while self.bag:
                self.take(self.bag.pop(0))
            self.now_ms += 61_000
            self.tick()


def problem_of(seen: list[Seen]) -> str | None:
    """What is wrong with a log, by its events alone; None: nothing."""
    problems: list[str] = []

    def demand(holds: bool, problem: str) -> None:
        if not holds:
            problems.append(problem)

    checker = Checker(demand)
    for _, key, event, now_ms in seen:
        checker.see(key, event, now_ms)
    checker.end()
    return "; ".join(problems) or None
