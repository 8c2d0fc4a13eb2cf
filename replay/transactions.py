"""Transactions over several scopes: what became of each, step by step. Whether all who took part agree: `agreement.py`.

Keys are added, never renamed. They are read off the events of transactions, not off their states; so what is not
remembered any more is there, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.replay.history import History, everything, one_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import Event, transactions
from accord.streams.partition import Decided
from accord.streams.transactions.bounds import LIMITS, LOCKS
from accord.streams.transactions.transaction import OPEN, PREPARING, STATUSES

__all__ = [
    "STATUSES",
    "StepView",
    "TransactionView",
    "transaction_at",
    "transactions_at",
]

DOMAIN: Final = "transactions"


class StepView(msgspec.Struct, frozen=True):
    """One step. `what`: begun, enlisted, prepare, vote, decided, acknowledged, told, released, ended, repaired,
    refused; `who` is the agent, or the scope, lock or pool."""

    what: str
    who: str
    text: str
    at: str
    position: str


class TransactionView(msgspec.Struct, frozen=True):
    """A transaction. `status` is open, preparing, committed or aborted; `ended_at` is when all had acknowledged.

    `reason`, `description` and `refused_by` say why it was aborted. `position` is its last event. `locks` and `pools`
    are those under which it is committed, `tasks` begin with that.
    """

    id: str
    status: str
    agent: str
    scopes: tuple[str, ...]
    reason: str
    description: str
    refused_by: str
    begun_at: str
    due_at: str
    decided_at: str | None
    ended_at: str | None
    steps: tuple[StepView, ...]
    position: str
    locks: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()


class Kept(msgspec.Struct):
    """A transaction as its events tell it."""

    agent: str
    begun_ms: int
    due_ms: int
    status: str = OPEN
    scopes: tuple[str, ...] = ()
    guards: tuple[transactions.Guard, ...] = ()
    tasks: tuple[str, ...] = ()
    decided: transactions.TransactionDecided | None = None
    ended_ms: int | None = None
    steps: list[StepView] = []
    position: str = ""

    def guards_of(self, domain: str) -> tuple[str, ...]:
        """The names of its guards of a domain."""
        return tuple([guard.key for guard in self.guards if guard.domain == domain])


class Transactions(History[Kept]):
    """The transactions of a partition, by id; one whose id was used again is the later one."""

    def see(self, decided: Decided) -> None:
        key, position = self.place(decided)
        now = iso(decided.decision.now_ms)
        for event in decided.events:
            if isinstance(event, transactions.TransactionBegun):
                due_ms = event.begun_ms + event.timeout_ms
                self.kept[key] = Kept(event.agent, event.begun_ms, due_ms, steps=[])
            kept = self.kept.get(key)
            if kept is None:
                continue
            _note(kept, event)
            step = _step(event)
            if step is not None:
                kept.steps.append(StepView(*step, now, position))
                kept.position = position


def _note(kept: Kept, event: Any) -> None:
    match event:
        case transactions.ChangesEnlisted():
            kept.scopes = (*kept.scopes, *[of.scope for of in event.changes])
            kept.guards = (*kept.guards, *event.guards)
            kept.tasks = (*kept.tasks, *[one.task for one in event.tasks])
        case transactions.PrepareAsked():
            kept.status, kept.scopes = PREPARING, tuple([of.scope for of in event.changes])
            kept.guards = event.guards
            kept.tasks = tuple([one.task for one in event.tasks])
        case transactions.TransactionDecided():
            kept.status, kept.decided = event.outcome, event
        case transactions.TransactionEnded():
            kept.ended_ms = event.ended_ms


def _step(event: Any) -> tuple[str, str, str] | None:
    """What, who, and how; None: it is no step."""
    tell = _STEPS.get(type(event))
    return None if tell is None else tell(event)


def _contents(event: Any) -> str:
    named = [*[of.scope for of in event.changes], *[f"{_NOUNS[guard.domain]} {guard.key}" for guard in event.guards]]
    return ", ".join([*named, *[f"task {one.task}" for one in event.tasks]])


_NOUNS: Final = {LOCKS: "lock", LIMITS: "pool"}


def _keys(parties: Sequence[transactions.Participant]) -> str:
    return ", ".join([one.key for one in parties])


def _reason(event: Any) -> str:
    return f", {event.reason}: {event.description}" if event.reason else ""


_STEPS: Final[Mapping[type[Event], Callable[[Any], tuple[str, str, str]]]] = {
    transactions.TransactionBegun: lambda e: ("begun", e.agent, " ".join(e.members)),
    transactions.ChangesEnlisted: lambda e: ("enlisted", e.agent, _contents(e)),
    transactions.PrepareAsked: lambda e: ("prepare", e.agent, _contents(e)),
    transactions.VoteRecorded: lambda e: ("vote", e.key, ("yes" if e.yes else "no") + _reason(e)),
    transactions.TransactionDecided: lambda e: ("decided", e.agent, e.outcome + _reason(e)),
    transactions.OutcomeAcknowledged: lambda e: ("acknowledged", e.key, e.outcome),
    transactions.OutcomeTold: lambda e: ("told", e.key, e.outcome),
    transactions.OutcomeToldAgain: lambda e: ("told", _keys(e.tell), f"{e.outcome}, again"),
    transactions.GuardsReleased: lambda e: ("released", _keys(e.tell), "all scopes have done it"),
    transactions.TransactionRepaired: lambda e: (
        "repaired",
        e.agent,
        f"{e.found}: {e.done}" + (f" {e.outcome}, {_keys(e.tell)}" if e.tell else ""),
    ),
    transactions.TransactionEnded: lambda e: ("ended", e.agent, e.outcome),
    transactions.TransactionRefused: lambda e: ("refused", e.agent, f"{e.command}: {e.reason}"),
}


def transactions_at(source: Source, point: Point = None, *, processes: int = 1) -> tuple[TransactionView, ...]:
    """Every transaction that was begun up to a point, oldest first. Those of one scope alone are commits of that scope.

    Raises:
        What `state_at` raises.
    """
    found = everything(source, DOMAIN, Transactions, point, processes)
    return tuple(sorted([_view(key, kept) for key, kept in found], key=lambda view: (view.begun_at, view.id)))


def transaction_at(source: Source, transaction: str, point: Point = None) -> TransactionView | None:
    """A transaction at a point, or None. Only its partition is read."""
    found = one_of(source, DOMAIN, Transactions, point, transaction)
    return None if found is None else _view(transaction, found)


def _view(key: str, kept: Kept) -> TransactionView:
    decided = kept.decided
    return TransactionView(
        key,
        kept.status,
        kept.agent,
        kept.scopes,
        decided.reason if decided else "",
        decided.description if decided else "",
        decided.refused_by if decided else "",
        iso(kept.begun_ms),
        iso(kept.due_ms),
        iso(decided.decided_ms) if decided else None,
        None if kept.ended_ms is None else iso(kept.ended_ms),
        tuple(kept.steps),
        kept.position,
        kept.guards_of(LOCKS),
        kept.tasks,
        kept.guards_of(LIMITS),
    )
