"""What pins a lock: transactions that are committed only if it is still held under a token.

Rules:
- It is pinned only if the token is its current one, by this partition's clock. From then on to the transaction's
  outcome nobody new is granted it, if its holder goes: by release, by a lease that ends or is revoked, by waiting on a
  condition. Who asks meanwhile queues. So between the vote and what the transaction changes nobody else held it.
- A holder's lease and its end are as without it: what is pinned is who comes next, not who holds it.
- Once the transaction's time is over the outcome is asked for, and again at growing intervals, at most once a minute,
  for as long as it takes: a lock never decides for itself.
- A command to pin it that comes again after the outcome may pin it once more; its vote is then answered with the
  outcome, or the lock asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.locks import (
    LeasePinned,
    LeaseUnpinned,
    PinGone,
    PinLease,
    PinOutcomeWanted,
    PinRefused,
    PinRepeated,
    UnpinLease,
)
from accord.schemas.messages.transactions import AcknowledgeOutcome, AskOutcome, RecordVote
from accord.streams.decider import At, Order
from accord.streams.locks.bounds import PIN_ASK_MS, PIN_ASK_MS_MAX, PINS_MAX

if TYPE_CHECKING:
    from accord.streams.locks.decider import Holder, Lock

NOT_HOLDER: Final = "not_holder"
LATE: Final = "late"
BUSY: Final = "busy"
LOCKS: Final = "locks"
TRANSACTIONS: Final = "transactions"


class Pin(msgspec.Struct, frozen=True, gc=False):
    """A transaction that pins the lock for a holder. `asked_ms` is when its outcome was asked for last, or would have
    been first; `times` how often."""

    transaction: str
    agent: str
    token: int
    request: str | None
    pinned_ms: int
    asked_ms: int
    times: int = 0

    @property
    def next_ask_ms(self) -> int:
        return self.asked_ms + min(PIN_ASK_MS << min(self.times, 16), PIN_ASK_MS_MAX)

    def is_for(self, holder: Holder) -> bool:
        return holder.token == self.token and self.request in (None, holder.request)


def keeps_out(lock: Lock) -> Pin | None:
    """The pin because of which nobody is granted the lock: its holder has gone. None: there is none."""
    for pin in lock.pins:
        if not any(pin.is_for(holder) for holder in lock.holders):
            return pin
    return None


def asks_due(lock: Lock, now_ms: int) -> list[Event]:
    """The questions that are due."""
    return [
        PinOutcomeWanted(pin.transaction, pin.times + 1, now_ms) for pin in lock.pins if pin.next_ask_ms <= now_ms
    ]  # fmt: skip


def pin(lock: Lock, c: PinLease, at: At) -> list[Event]:
    """What a command to pin the lock brings."""
    if any(pin.transaction == c.transaction for pin in lock.pins):
        return [PinRepeated(c.transaction)]
    now = lock.holders[0] if lock.holders else None
    current = (None, None) if now is None else (now.agent, now.token)
    wanted = Pin(c.transaction, c.agent, c.token, c.request, at.now_ms, c.due_ms)
    if not any(wanted.is_for(holder) for holder in lock.holders):
        whose = "it is free" if now is None else f"{now.agent} holds it with token {now.token}"
        refused = NOT_HOLDER, f"token {c.token} is not the lock's current one: {whose}"
    elif at.now_ms >= c.due_ms:
        refused = LATE, "the transaction's time is over"
    elif len(lock.pins) >= PINS_MAX:
        refused = BUSY, f"{PINS_MAX} transactions pin this lock"
    else:
        return [LeasePinned(c.agent, c.transaction, c.token, c.request, c.due_ms, at.now_ms)]
    return [PinRefused(c.agent, c.transaction, c.token, *refused, *current)]


def unpin(lock: Lock, c: UnpinLease, _: At) -> list[Event]:
    """What the outcome of a transaction brings."""
    for pin in lock.pins:
        if pin.transaction == c.transaction:
            return [LeaseUnpinned(pin.agent, c.transaction, c.outcome)]
    return [PinGone(c.transaction, c.outcome)]


def pinned(pins: tuple[Pin, ...], e: LeasePinned) -> tuple[Pin, ...]:
    return (*pins, Pin(e.transaction, e.agent, e.token, e.request, e.pinned_ms, e.due_ms))


def asked(pins: tuple[Pin, ...], e: PinOutcomeWanted) -> tuple[Pin, ...]:
    return tuple(
        [
            msgspec.structs.replace(pin, asked_ms=e.asked_ms, times=e.times)
            if pin.transaction == e.transaction
            else pin
            for pin in pins
        ]
    )


# -- what follows elsewhere: votes and acknowledgements


def _yes(lock: str, e: LeasePinned | PinRepeated) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, RecordVote(LOCKS, lock, True, "", "", (), ""))]


def _no(lock: str, e: PinRefused) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, RecordVote(LOCKS, lock, False, e.reason, e.description, (), ""))]


def _done(lock: str, e: LeaseUnpinned | PinGone) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, AcknowledgeOutcome(LOCKS, lock, e.outcome))]


def _ask(lock: str, e: PinOutcomeWanted) -> list[Order]:
    return [Order(TRANSACTIONS, e.transaction, AskOutcome(LOCKS, lock))]


REACTIONS: Final[Mapping[type[Event], Callable[[str, Any], Sequence[Order]]]] = {
    LeasePinned: _yes,
    PinRepeated: _yes,
    PinRefused: _no,
    LeaseUnpinned: _done,
    PinGone: _done,
    PinOutcomeWanted: _ask,
}
