"""Transactions over several scopes: what became of each, step by step, and whether all who took part agree.

Keys are added, never renamed. They are read off the events of transactions and of the scopes that took part, not off
their states; so what is not remembered any more is there, too.

`check` holds both sides against each other, and what the scopes hold against invariants of yours:

    def nothing_is_lost(scopes):
        total = sum(keys["balance"] for keys in scopes.values())
        return None if total == 400 else f"the balances are {total}"

    with replay.open(source) as log:
        problems = check(log, invariants=[nothing_is_lost])
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec
from accord.replay.history import History, everything, one_of
from accord.replay.scopes import value_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.schemas.messages import Event, log, state, transactions
from accord.streams.partition import Decided
from accord.streams.transactions.transaction import ABORTED, COMMITTED, OPEN, PREPARING, STATUSES

__all__ = [
    "STATUSES",
    "Invariant",
    "Problem",
    "StepView",
    "TransactionView",
    "check",
    "transaction_at",
    "transactions_at",
]

DOMAIN: Final = "transactions"
Invariant = Callable[[Mapping[str, Mapping[str, Any]]], str | None]
"""Is given what all scopes hold, values by key by scope; returns what is wrong with it, or None."""

MIXED: Final = "mixed"
STUCK: Final = "stuck"
IN_DOUBT: Final = "in_doubt"
INVARIANT: Final = "invariant"


class StepView(msgspec.Struct, frozen=True):
    """One step. `what`: begun, enlisted, prepare, vote, decided, acknowledged, told, ended, refused; `who` is the agent
    or the scope."""

    what: str
    who: str
    text: str
    at: str
    position: str


class TransactionView(msgspec.Struct, frozen=True):
    """A transaction. `status` is open, preparing, committed or aborted; `ended_at` is when all had acknowledged.

    `reason`, `description` and `refused_by` say why it was aborted. `position` is its last event.
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


class Problem(msgspec.Struct, frozen=True):
    """What is wrong. `kind`: mixed: a scope has not what was decided; stuck: the time is over, and it was not decided,
    or was decided and not everybody has done it; in_doubt: a scope has something prepared whose time is over;
    invariant: yours. `scope` and `transaction` are empty where they say nothing."""

    kind: str
    transaction: str
    scope: str
    description: str
    position: str


class Kept(msgspec.Struct):
    """A transaction as its events tell it."""

    agent: str
    begun_ms: int
    due_ms: int
    status: str = OPEN
    scopes: tuple[str, ...] = ()
    decided: transactions.TransactionDecided | None = None
    ended_ms: int | None = None
    steps: list[StepView] = []
    position: str = ""


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
        case transactions.ChangesEnlisted(changes=changes):
            kept.scopes = (*kept.scopes, *[of.scope for of in changes])
        case transactions.PrepareAsked(changes=changes):
            kept.status, kept.scopes = PREPARING, tuple([of.scope for of in changes])
        case transactions.TransactionDecided():
            kept.status, kept.decided = event.outcome, event
        case transactions.TransactionEnded():
            kept.ended_ms = event.ended_ms


def _step(event: Any) -> tuple[str, str, str] | None:
    """What, who, and how; None: it is no step."""
    tell = _STEPS.get(type(event))
    return None if tell is None else tell(event)


def _scopes(event: Any) -> str:
    return ", ".join([of.scope for of in event.changes])


def _reason(event: Any) -> str:
    return f", {event.reason}: {event.description}" if event.reason else ""


_STEPS: Final[Mapping[type[Event], Callable[[Any], tuple[str, str, str]]]] = {
    transactions.TransactionBegun: lambda e: ("begun", e.agent, " ".join(e.members)),
    transactions.ChangesEnlisted: lambda e: ("enlisted", e.agent, _scopes(e)),
    transactions.PrepareAsked: lambda e: ("prepare", e.agent, _scopes(e)),
    transactions.VoteRecorded: lambda e: ("vote", e.key, ("yes" if e.yes else "no") + _reason(e)),
    transactions.TransactionDecided: lambda e: ("decided", e.agent, e.outcome + _reason(e)),
    transactions.OutcomeAcknowledged: lambda e: ("acknowledged", e.key, e.outcome),
    transactions.OutcomeTold: lambda e: ("told", e.key, e.outcome),
    transactions.OutcomeToldAgain: lambda e: ("told", ", ".join([one.key for one in e.tell]), f"{e.outcome}, again"),
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
    )


# -- both sides against each other


class Took(msgspec.Struct):
    """What a scope did about a transaction: `prepared`, `committed` or `aborted`, the last one."""

    what: str
    due_ms: int
    position: str


class Side(msgspec.Struct):
    """A scope: what it did about transactions, by id, what it holds, and the time of its last decision."""

    took: dict[str, Took] = {}
    keys: dict[str, Any] = {}
    now_ms: int = 0


class Sides(History[Side]):
    """The scopes of a partition, by name."""

    def see(self, decided: Decided) -> None:
        scope, position = self.place(decided)
        if not decided.events or isinstance(decided.events[0], log.EVENTS):
            return
        side = self.kept.setdefault(scope, Side({}, {}))
        side.now_ms = decided.decision.now_ms
        for event in decided.events:
            match event:
                case state.ChangesPrepared(transaction=transaction, due_ms=due_ms):
                    side.took[transaction] = Took("prepared", due_ms, position)
                case state.PreparedCommitted(transaction=transaction, due_ms=due_ms):
                    side.took[transaction] = Took(COMMITTED, due_ms, position)
                case state.PreparedAborted(transaction=transaction):
                    side.took[transaction] = Took(ABORTED, 0, position)
                case state.ChangesCommitted(changes=changes):
                    for change in changes:
                        side.keys.pop(change.key, None)
                        if change.value is not None:
                            side.keys[change.key] = value_of(change.value)


def check(
    source: Source, point: Point = None, *, invariants: Sequence[Invariant] = (), processes: int = 1
) -> tuple[Problem, ...]:
    """What is wrong with the transactions of a log up to a point: participants against the log, and your invariants.

    The time is that of the newest decision of transactions and scopes. Of a log that is written to while it is read,
    what is under way may be seen on one side only: look again, or at a point (`accord events list` tells one).

    Args:
        invariants: functions that are given what all scopes hold.

    Raises:
        What `state_at` raises.
    """
    sides = dict(everything(source, "state", Sides, point, processes))
    known = dict(everything(source, DOMAIN, Transactions, point, processes))
    now_ms = max(
        [side.now_ms for side in sides.values()]
        + [ms for kept in known.values() for ms in (kept.begun_ms, kept.ended_ms or 0)],
        default=0,
    )
    problems = [*_of_transactions(known, sides, now_ms), *_of_scopes(known, sides, now_ms)]
    holding = {scope: side.keys for scope, side in sorted(sides.items())}
    for invariant in invariants:
        wrong = invariant(holding)
        if wrong is not None:
            problems.append(Problem(INVARIANT, "", "", wrong, ""))
    return tuple(problems)


def _of_transactions(known: Mapping[str, Kept], sides: Mapping[str, Side], now_ms: int) -> Iterator[Problem]:
    for key, kept in sorted(known.items()):
        if kept.decided is None and kept.due_ms < now_ms:
            text = f"it is {kept.status}, and its time was over at {iso(kept.due_ms)}"
            yield Problem(STUCK, key, "", text, kept.position)
        elif kept.decided is not None and kept.ended_ms is None and kept.due_ms < now_ms:
            yield Problem(STUCK, key, "", f"it is {kept.status}, and not everybody has done that", kept.position)
        if kept.status == COMMITTED and kept.ended_ms is not None:
            for scope in kept.scopes:
                took = sides.get(scope, Side({}, {})).took.get(key)
                if took is None or took.what != COMMITTED:
                    has = "nothing of it" if took is None else took.what
                    text = f"it was committed and has ended; {scope} has {has}"
                    yield Problem(MIXED, key, scope, text, kept.position if took is None else took.position)


def _of_scopes(known: Mapping[str, Kept], sides: Mapping[str, Side], now_ms: int) -> Iterator[Problem]:
    for scope, side in sorted(sides.items()):
        for key, took in side.took.items():
            kept = known.get(key)
            outcome = ABORTED if kept is None else kept.status
            if took.what == COMMITTED and outcome != COMMITTED:
                text = f"{scope} has done it, and it was {outcome if kept else 'never begun'}"
                yield Problem(MIXED, key, scope, text, took.position)
            elif took.what == ABORTED and outcome == COMMITTED and kept is not None and kept.ended_ms is None:
                yield Problem(MIXED, key, scope, f"{scope} has dropped it, and it was committed", took.position)
            elif took.what == "prepared" and took.due_ms < now_ms:
                text = f"{scope} is prepared for it and has not been told the outcome"
                yield Problem(IN_DOUBT, key, scope, text, took.position)
