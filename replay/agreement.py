"""Whether all who took part in transactions agree, and what can be done if not.

`check` holds scopes, locks, pools and tasks against the transactions that they took part in, and what the scopes hold
against invariants of yours:

    def nothing_is_lost(scopes):
        total = sum(keys["balance"] for keys in scopes.values())
        return None if total == 400 else f"the balances are {total}"

    with replay.open(source) as log:
        problems = check(log.source, invariants=[nothing_is_lost, sum_of("customer_*/credit", 0)])

What can be broken at all, and what a repair does about it (a command on the log; see `TransactionRepaired`):
- stuck: its time is over, and nobody has decided it, since no worker runs: it is aborted. Or it was decided, and it was
  told for so long that it is told no more: it is told again to who has not done it. No repair changes an outcome.
- in_doubt: a scope, a lock or a pool has something prepared whose time is over, and was not told: it is told.
- mixed: a scope has not what was decided, or a task that was to begin with it did not. No rule of accord brings that
  about; whoever else writes to the topics may. Nobody but you can tell what is right then: it is reported.
- invariant: what scopes hold is not what you say that it is. Likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec
from accord.replay.history import History, everything
from accord.replay.scopes import value_of
from accord.replay.source import Source
from accord.replay.state import Point
from accord.replay.timeline import iso
from accord.replay.transactions import DOMAIN, Kept, Transactions
from accord.schemas.messages import limits, locks, log, state, tasks
from accord.streams.partition import Decided
from accord.streams.transactions.bounds import IN_DOUBT, STUCK
from accord.streams.transactions.transaction import ABORTED, COMMITTED, STATE

Invariant = Callable[[Mapping[str, Mapping[str, Any]]], str | None]
"""Is given what all scopes hold, values by key by scope; returns what is wrong with it, or None."""

MIXED: Final = "mixed"
INVARIANT: Final = "invariant"

SLACK_MS: Final = 20_000
"""Longer than another worker takes to go on where one died."""
ABORT: Final = "abort it"
TELL_AGAIN: Final = "tell the outcome again to who has not done it"
TELL: Final = "tell it the outcome"


class Problem(msgspec.Struct, frozen=True):
    """What is wrong. `kind`: mixed: somebody has not what was decided; stuck: the time is over, and it was not decided,
    or was decided and not everybody has done it; in_doubt: a scope, a lock or a pool has something prepared whose time
    is over; invariant: yours. `scope` (or lock, or pool) and `transaction` are empty where they say nothing.

    `repair` says what a repair does; empty: it can be none. `domain` is that of the scope, lock or pool.
    """

    kind: str
    transaction: str
    scope: str
    description: str
    position: str
    domain: str = ""
    repair: str = ""


def sum_of(pattern: str, total: int | str | Decimal) -> Invariant:
    """The invariant that values add up, exactly.

    Args:
        pattern: of which keys, as `SCOPE/KEY`; `*`, `?` and `[...]` stand for any characters, one, and one of some.
        total: what they add up to.

    Returns:
        An invariant. Numbers count as they are written, texts that are written as numbers too.

    Raises:
        ValueError: the total is no number.
    """
    try:
        wanted = Decimal(total)
    except InvalidOperation:
        raise ValueError(f"{total!r} is no number") from None

    def holds(scopes: Mapping[str, Mapping[str, Any]]) -> str | None:
        found = Decimal(0)
        for scope, keys in scopes.items():
            for key, value in keys.items():
                if fnmatchcase(f"{scope}/{key}", pattern):
                    number = _number(value)
                    if number is None:
                        return f"{scope}/{key} is no number: {str(value)[:40]!r}"
                    found += number
        return None if found == wanted else f"the sum of {pattern} is {found}, not {wanted}"

    return holds


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


class Took(msgspec.Struct):
    """What a scope, a lock or a pool did about a transaction: `prepared`, `committed` or `aborted`, the last one."""

    what: str
    due_ms: int
    position: str


class Side(msgspec.Struct):
    """A scope, a lock or a pool: what it did about transactions, by id; what a scope holds; when it decided last."""

    took: dict[str, Took] = {}
    keys: dict[str, Any] = {}
    now_ms: int = 0


class Sides(History[Side]):
    """The scopes, the locks or the pools of a partition, by name."""

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
                case locks.LeasePinned() | limits.LeasePinned():
                    side.took[event.transaction] = Took("prepared", event.due_ms, position)
                case locks.LeaseUnpinned(transaction=transaction, outcome=outcome):
                    side.took[transaction] = Took(outcome, 0, position)
                case limits.LeaseUnpinned(transaction=transaction, outcome=outcome):
                    side.took[transaction] = Took(outcome, 0, position)
                case state.PreparedAborted(transaction=transaction):
                    side.took[transaction] = Took(ABORTED, 0, position)
                case state.ChangesCommitted(changes=changes):
                    for change in changes:
                        side.keys.pop(change.key, None)
                        if change.value is not None:
                            side.keys[change.key] = value_of(change.value)


class Begun(History[None]):
    """The tasks of a partition that were begun."""

    def see(self, decided: Decided) -> None:
        if any(isinstance(event, tasks.TaskSubmitted) for event in decided.events):
            self.kept[self.place(decided)[0]] = None


def check(
    source: Source,
    point: Point = None,
    *,
    invariants: Sequence[Invariant] = (),
    now_ms: int | None = None,
    processes: int = 1,
) -> tuple[Problem, ...]:
    """What is wrong with the transactions of a log up to a point: participants against the log, and your invariants.

    The time is that of the newest decision of transactions, scopes and locks. Of a log that is written to while it is
    read, what is under way may be seen on one side only: look again, or at a point (`accord events list` tells one).

    Args:
        now_ms: this moment, for a log that is written to, in ms since 1970: what should have been done `SLACK_MS` ago
            was not, if nobody decides. None: the log's time alone.
        invariants: functions that are given what all scopes hold.

    Raises:
        What `state_at` raises.
    """
    known = dict(everything(source, DOMAIN, Transactions, point, processes))
    sides = dict(everything(source, STATE, Sides, point, processes))
    used = {guard.domain for kept in known.values() for guard in kept.guards}
    guards = {domain: dict(everything(source, domain, Sides, point, processes)) for domain in sorted(used)}
    until_ms = max(
        [side.now_ms for some in (sides, *guards.values()) for side in some.values()]
        + [ms for kept in known.values() for ms in (kept.begun_ms, kept.ended_ms or 0)]
        + [now_ms - SLACK_MS if now_ms is not None else 0]
    )
    problems = [
        *_of_transactions(known, sides, until_ms),
        *_of_scopes(known, sides, until_ms),
        *[problem for domain, some in guards.items() for problem in _in_doubt(domain, some, until_ms)],
    ]
    if any(kept.tasks for kept in known.values()):
        problems += _of_tasks(known, dict(everything(source, "tasks", Begun, point, processes)), until_ms)
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
            yield Problem(STUCK, key, "", text, kept.position, repair=ABORT)
        elif kept.decided is not None and kept.ended_ms is None and kept.due_ms < now_ms:
            text = f"it is {kept.status}, and not everybody has done that"
            yield Problem(STUCK, key, "", text, kept.position, repair=TELL_AGAIN)
        if kept.status == COMMITTED and kept.ended_ms is not None:
            for scope in kept.scopes:
                took = sides.get(scope, Side({}, {})).took.get(key)
                if took is None or took.what != COMMITTED:
                    has = "nothing of it" if took is None else took.what
                    text = f"it was committed and has ended; {scope} has {has}"
                    yield Problem(MIXED, key, scope, text, kept.position if took is None else took.position, STATE)


def _of_scopes(known: Mapping[str, Kept], sides: Mapping[str, Side], now_ms: int) -> Iterator[Problem]:
    for scope, side in sorted(sides.items()):
        for key, took in side.took.items():
            kept = known.get(key)
            outcome = ABORTED if kept is None else kept.status
            if took.what == COMMITTED and outcome != COMMITTED:
                text = f"{scope} has done it, and it was {outcome if kept else 'never begun'}"
                yield Problem(MIXED, key, scope, text, took.position, STATE)
            elif took.what == ABORTED and outcome == COMMITTED and kept is not None and kept.ended_ms is None:
                text = f"{scope} has dropped it, and it was committed"
                yield Problem(MIXED, key, scope, text, took.position, STATE)
    yield from _in_doubt(STATE, sides, now_ms)


def _in_doubt(domain: str, sides: Mapping[str, Side], now_ms: int) -> Iterator[Problem]:
    for name, side in sorted(sides.items()):
        for key, took in side.took.items():
            if took.what == "prepared" and took.due_ms < now_ms:
                text = f"{name} is prepared for it and has not been told the outcome"
                yield Problem(IN_DOUBT, key, name, text, took.position, domain, TELL)


def _of_tasks(known: Mapping[str, Kept], begun: Mapping[str, None], now_ms: int) -> Iterator[Problem]:
    for key, kept in sorted(known.items()):
        for task in kept.tasks:
            if kept.status == COMMITTED and kept.due_ms < now_ms and task not in begun:
                text = f"it was committed, and its task {task} was not begun"
                yield Problem(MIXED, key, "", text, kept.position)
            elif kept.status != COMMITTED and task in begun:
                yield Problem(MIXED, key, "", f"it is {kept.status}, and its task {task} was begun", kept.position)
