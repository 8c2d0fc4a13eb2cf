"""Transactions over scopes: all or none, what was prepared and nothing else, nobody in doubt in the end; and nothing is
made or lost: the sum over all accounts, which are keys that begin with `account-`, stays what it was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from accord.schemas.messages import Event, limits, locks
from accord.schemas.messages.state import ChangesCommitted, ChangesPrepared, PreparedAborted, PreparedCommitted
from accord.schemas.messages.transactions import PrepareAsked, TransactionDecided, TransactionEnded
from accord.testing.simulation.judges.seen import Demand, Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    checker = Checker(demand)
    balances: dict[tuple[str, str], int] = {}
    opened = 0
    for one in seen:
        for event in one.events:
            checker.see(one.key, event, one.decision.now_ms)
            if isinstance(event, ChangesCommitted):
                for change in event.changes:
                    if change.key.startswith("account-") and change.value is not None:
                        if (one.key, change.key) not in balances:
                            opened += int(change.value)
                        balances[one.key, change.key] = int(change.value)
    checker.end()
    have = sum(balances.values())
    demand(have == opened, f"there were {opened} in all accounts, and there are {have}")


class Checker:
    """Takes the events of all participants, in order."""

    def __init__(self, demand: Demand) -> None:
        self.asked: dict[str, tuple[set[str], int]] = {}
        self.decided: dict[str, tuple[str, int]] = {}
        self.ended: set[str] = set()
        self.prepared: dict[tuple[str, str], ChangesPrepared] = {}
        self.done: dict[str, list[str]] = defaultdict(list)
        self.pinned: dict[tuple[str, str], int] = {}
        self.granted: dict[tuple[str, str], set[str]] = {}
        """Where a transaction was done when what it had pinned was granted to another."""
        self._demand = demand
        self._before: dict[str, Event] = {}

    def see(self, key: str, event: Event, now_ms: int) -> None:
        """An event of the transaction or the scope that a key names."""
        match event:
            case PrepareAsked(changes=changes, due_ms=due_ms):
                self.asked[key] = {of.scope for of in changes}, due_ms
            case TransactionDecided(outcome=outcome):
                self._demand(key not in self.decided, f"{key} was decided twice")
                self.decided[key] = outcome, now_ms
            case TransactionEnded():
                self.ended.add(key)
            case ChangesPrepared(transaction=transaction):
                self.prepared[key, transaction] = event
            case PreparedCommitted(transaction=transaction):
                self._committed(key, transaction)
            case locks.LeasePinned() | limits.LeasePinned():
                self.pinned[key, event.transaction] = event.token
            case locks.LockGranted() | limits.CapacityGranted():
                for (place, transaction), held in self.pinned.items():
                    if place == key and event.token != held:
                        self.granted.setdefault((place, transaction), set(self.done[transaction]))
            case PreparedAborted(transaction=transaction):
                self.prepared.pop((key, transaction), None)
                outcome, _ = self.decided.get(transaction, ("aborted", 0))
                self._demand(outcome == "aborted", f"{key} dropped {transaction}, which was committed")
            case _:
                pass
        self._before[key] = event

    def _committed(self, key: str, transaction: str) -> None:
        outcome, _ = self.decided.get(transaction, ("", 0))
        self._demand(outcome == "committed", f"{key} did {transaction}, which was not committed")
        prepared, before = self.prepared.pop((key, transaction), None), self._before.get(key)
        self._demand(prepared is not None, f"{key} did {transaction}, and had not prepared it")
        wanted = prepared.changes if prepared is not None else ()
        made = before.changes if isinstance(before, ChangesCommitted) else ()
        self._demand(not wanted or made == wanted, f"{key} did something else than it had prepared for {transaction}")
        self.done[transaction].append(key)

    def end(self) -> None:
        self._demand(not self.prepared, f"in doubt in the end: {sorted(self.prepared)}")
        for name, (scopes, due_ms) in self.asked.items():
            self._demand(name in self.ended, f"{name} is stuck")
            outcome, at_ms = self.decided.get(name, ("", 0))
            if outcome == "committed":
                self._demand(at_ms <= due_ms, f"{name} was committed after its time")
                done = self.done[name]
                self._demand(sorted(done) == sorted(scopes), f"mixed: {name} was committed, and done in {done}")
                for (place, transaction), before in self.granted.items():
                    held = transaction != name or before == scopes
                    self._demand(held, f"{name} was done in {sorted(before)} when another got its {place}")
