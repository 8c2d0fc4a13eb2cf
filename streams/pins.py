"""What pins something that is held by lease: transactions that are committed only if it is still held under a token.

The rules are those of every domain whose grants can guard a transaction; `Pins` knows a domain by its messages.

Rules:
- It is pinned only if the token is a current one, by this partition's clock. From then on to the transaction's outcome
  nobody new is granted what the holder had, if the holder goes: by release, by a lease that ends or is revoked, by
  waiting on a condition. Who asks meanwhile queues. So between the vote and what the transaction changes nobody else
  held it.
- A holder's lease and its end are as without it: what is pinned is who comes next, not who holds it.
- Once the transaction's time is over the outcome is asked for, and again at growing intervals, at most once a minute,
  for as long as it takes: who is pinned never decides for itself.
- A command to pin it that comes again after the outcome may pin it once more; its vote is then answered with the
  outcome, or the outcome is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.transactions import AcknowledgeOutcome, AskOutcome, RecordVote
from accord.streams.decider import At, Order

PINS_MAX: Final = 32
"""Transactions that pin one lock or pool; beyond it they are refused with `busy`."""
PIN_ASK_MS: Final = 1_000
"""So long after a transaction's time is over its outcome is asked for; then twice as long each time."""
PIN_ASK_MS_MAX: Final = 60_000
TRANSACTION_DUE_MS_MAX: Final = 2**53
"""A time in ms since 1970 that every reader can count with."""
DUE_RANGE: Final = (0, TRANSACTION_DUE_MS_MAX, f"a time is 0 to {TRANSACTION_DUE_MS_MAX} ms since 1970")
OUTCOMES: Final = ("committed", "aborted")

NOT_HOLDER: Final = "not_holder"
LATE: Final = "late"
BUSY: Final = "busy"
TRANSACTIONS: Final = "transactions"


class Holder(Protocol):
    """Who holds something under a token; `request` tells those apart who have the same one."""

    @property
    def token(self) -> int: ...
    @property
    def request(self) -> str: ...


class Pin(msgspec.Struct, frozen=True, gc=False):
    """A transaction that pins what a holder has. `asked_ms` is when its outcome was asked for last, or would have
    been first; `times` how often. `request` None: the token alone tells whose it is."""

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


class Pinnable(Protocol):
    """What is held, and pinned."""

    @property
    def holders(self) -> Sequence[Holder]: ...
    @property
    def pins(self) -> tuple[Pin, ...]: ...


P = TypeVar("P", bound=Pinnable)


def problem_of_outcome(outcome: str) -> str | None:
    """Why a transaction cannot have ended so."""
    return None if outcome in OUTCOMES else f"outcome={outcome[:40]!r}: one of {', '.join(OUTCOMES)} is needed"


class Pins(Generic[P]):
    """The rules, in the words of a domain.

    Args:
        domain: its name.
        noun: what is pinned, for texts: `lock`.
        messages: the module of its messages, with `LeasePinned`, `PinRefused`, `PinRepeated`, `LeaseUnpinned`,
            `PinGone` and `PinOutcomeWanted`.
        not_held: why a command to pin it names no current grant.
        current: what a refusal tells beside the reason, as fields that come last.
    """

    def __init__(
        self,
        domain: str,
        noun: str,
        messages: ModuleType,
        not_held: Callable[[P, Any], str],
        current: Callable[[P], tuple[Any, ...]] = lambda _: (),
    ) -> None:
        self._domain = domain
        self._noun = noun
        self._messages = messages
        self._not_held = not_held
        self._current = current

    def pin(self, held: P, c: Any, at: At) -> list[Event]:
        """What a command to pin it, a `PinLease`, brings."""
        m = self._messages
        if any(pin.transaction == c.transaction for pin in held.pins):
            return [m.PinRepeated(c.transaction)]
        wanted = Pin(c.transaction, c.agent, c.token, c.request, at.now_ms, c.due_ms)
        if not any(wanted.is_for(holder) for holder in held.holders):
            refused = NOT_HOLDER, self._not_held(held, c)
        elif at.now_ms >= c.due_ms:
            refused = LATE, "the transaction's time is over"
        elif len(held.pins) >= PINS_MAX:
            refused = BUSY, f"{PINS_MAX} transactions pin this {self._noun}"
        else:
            return [m.LeasePinned(c.agent, c.transaction, c.token, c.request, c.due_ms, at.now_ms)]
        return [m.PinRefused(c.agent, c.transaction, c.token, *refused, *self._current(held))]

    def unpin(self, held: P, c: Any, _: At) -> list[Event]:
        """What the outcome of a transaction, an `UnpinLease`, brings."""
        for pin in held.pins:
            if pin.transaction == c.transaction:
                return [self._messages.LeaseUnpinned(pin.agent, c.transaction, c.outcome)]
        return [self._messages.PinGone(c.transaction, c.outcome)]

    def asks_due(self, held: P, now_ms: int) -> list[Event]:
        """The questions that are due."""
        wanted = self._messages.PinOutcomeWanted
        return [wanted(pin.transaction, pin.times + 1, now_ms) for pin in held.pins if pin.next_ask_ms <= now_ms]

    # -- what follows elsewhere: votes and acknowledgements

    @property
    def reactions(self) -> Mapping[type[Event], Callable[[str, Any], Sequence[Order]]]:
        m = self._messages
        return {
            m.LeasePinned: self._yes,
            m.PinRepeated: self._yes,
            m.PinRefused: self._no,
            m.LeaseUnpinned: self._done,
            m.PinGone: self._done,
            m.PinOutcomeWanted: self._ask,
        }

    def _yes(self, key: str, e: Any) -> list[Order]:
        return self._tell(e, RecordVote(self._domain, key, True, "", "", (), ""))

    def _no(self, key: str, e: Any) -> list[Order]:
        return self._tell(e, RecordVote(self._domain, key, False, e.reason, e.description, (), ""))

    def _done(self, key: str, e: Any) -> list[Order]:
        return self._tell(e, AcknowledgeOutcome(self._domain, key, e.outcome))

    def _ask(self, key: str, e: Any) -> list[Order]:
        return self._tell(e, AskOutcome(self._domain, key))

    def _tell(self, e: Any, command: Command) -> list[Order]:
        return [Order(TRANSACTIONS, e.transaction, command)]


# -- what events change


def pinned(pins: tuple[Pin, ...], e: Any) -> tuple[Pin, ...]:
    """After a `LeasePinned`."""
    return (*pins, Pin(e.transaction, e.agent, e.token, e.request, e.pinned_ms, e.due_ms))


def asked(pins: tuple[Pin, ...], e: Any) -> tuple[Pin, ...]:
    """After a `PinOutcomeWanted`."""
    return tuple(
        [
            msgspec.structs.replace(pin, asked_ms=e.asked_ms, times=e.times)
            if pin.transaction == e.transaction
            else pin
            for pin in pins
        ]
    )


def unpinned(pins: tuple[Pin, ...], e: Any) -> tuple[Pin, ...]:
    """After a `LeaseUnpinned`."""
    return tuple([pin for pin in pins if pin.transaction != e.transaction])
