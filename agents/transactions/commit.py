"""How a transaction over several scopes is put on the log and awaited, and what its end means.

Rules that act here:
- Its outcome is what the log says (`TransactionDecided`); who asked listens from before it asks.
- Who is told that it was committed reads what it wrote: it waits until all scopes have done it, a bounded time. After
  that it stands all the same.
- Who stops waiting before it is decided has it rolled back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from accord.agents.connection.connection import Answer, future, settle
from accord.agents.state.values import commit_refused
from accord.agents.watched import Watched
from accord.schemas.messages import Command
from accord.schemas.messages.transactions import (
    BeginTransaction,
    CommitTransaction,
    EnlistChanges,
    Guard,
    ReadTransaction,
    RollBackTransaction,
    ScopeChanges,
    Submission,
    TransactionDecided,
    TransactionEnded,
    TransactionRead,
    TransactionRefused,
)
from accord.streams.pins import NOT_HOLDER
from accord.streams.state.decider import BUSY, HELD
from accord.streams.transactions.decider import ROLLED_BACK, TIMEOUT
from accord.streams.transactions.transaction import ABORTED, UNKNOWN

from accord.errors import (
    AccordError,
    BadInput,
    Denied,
    KeyHeld,
    LeaseLost,
    Overloaded,
    Refused,
    TransactionAborted,
    TransactionTimeout,
    Unavailable,
)

if TYPE_CHECKING:
    from accord.agents.hub import Hub

DOMAIN: Final = "transactions"
KEEP_MS: Final = 600_000
"""How long a transaction is remembered after its end. The log has it for good."""
DONE_WAIT_MS: Final = 10_000
"""How long to wait until all scopes have done what was committed."""
CANCELLED: Final = "whoever began it has given up"


class Contents(NamedTuple):
    """What is put into a transaction."""

    changes: tuple[ScopeChanges, ...]
    guards: tuple[Guard, ...]
    tasks: tuple[Submission, ...]


class Outcome(NamedTuple):
    """A decision, and where it lies."""

    event: TransactionDecided
    answer: Answer


class OnLog(Watched):
    """A transaction that the log has, or will have."""

    def __init__(self, hub: Hub, transaction: str) -> None:
        self._decided: Future[Outcome] = future()
        self._ended: Future[None] = future()
        super().__init__(hub, DOMAIN, "transaction", transaction, self._decided, self._ended)

    def _heard(self, answer: Answer) -> None:
        """A decision about it; on accord's thread."""
        for event in answer.events:
            if isinstance(event, TransactionDecided):
                settle(self._decided, Outcome(event, answer))
            elif isinstance(event, TransactionEnded):
                self.forget()
                settle(self._ended, None)

    async def begin(self, members: Sequence[str], timeout_ms: int) -> None:
        """Begins it, open for what members enlist."""
        await self._ask(BeginTransaction(self._hub.agent, tuple(members), (), False, timeout_ms, KEEP_MS))

    async def enlist(self, what: Contents) -> None:
        """Adds to it. Raises what `refused` says."""
        await self._ask(EnlistChanges(self._hub.agent, *what))

    async def commit_at_once(self, what: Contents, timeout_ms: int) -> None:
        """Begins and commits it. Raises what the outcome says."""
        terms = (True, timeout_ms, KEEP_MS, what.guards, what.tasks)
        command = BeginTransaction(self._hub.agent, (), what.changes, *terms)
        await self._commit(command, timeout_ms)

    async def commit(self, what: Contents, timeout_ms: int) -> None:
        """Commits it, with what is added last. Raises what the outcome says."""
        await self._commit(CommitTransaction(self._hub.agent, *what), timeout_ms)

    async def roll_back(self, reason: str) -> None:
        """Ends it; what has ended already has."""
        await self.send(RollBackTransaction(self._hub.agent, reason))
        self.forget()

    async def look(self) -> TransactionRead:
        """How it stands. Raises NotFound."""
        answer = await self.send(ReadTransaction(self._hub.agent))
        read = answer.events[-1]
        if not isinstance(read, TransactionRead):
            raise self._unknown()
        return read

    async def _ask(self, command: Command) -> None:
        answer = await self.send(command)
        event = answer.events[-1]
        if isinstance(event, TransactionRefused):
            raise self._refused(event, answer)

    async def _commit(self, command: Command, timeout_ms: int) -> None:
        try:
            await self._ask(command)
            wait_ms = timeout_ms + self._hub.settings.client.worker_wait_ms
            outcome = await self._wait(self._decided, wait_ms, "was not decided")
            if outcome.event.outcome == ABORTED:
                raise aborted(self.id, outcome)
            with suppress(Unavailable):  # it stands, whoever has not done it yet
                await self._wait(self._ended, DONE_WAIT_MS, "has not ended")
        except asyncio.CancelledError:
            self._submit(RollBackTransaction(self._hub.agent, CANCELLED))
            raise
        finally:
            self.forget()

    def _refused(self, event: TransactionRefused, answer: Answer) -> AccordError:
        """The error for a command that changes nothing."""
        named: dict[str, Any] = {"key": self.id, "agent": event.agent, "position": str(answer.position)}
        match event.reason:
            case "not_owner" | "not_member":
                return Denied(f"{event.agent} is no {event.reason.removeprefix('not_')} of {self.id}.", **named)
            case "nothing":
                return BadInput(f"transaction {self.id} has no changes.")
            case "unknown":
                return self._unknown()
            case "enlisted":
                text = "a scope, a lock or a pool is enlisted already: who takes part enlists each once"
            case "too_much":
                text = "together that is more than a transaction may have"
            case status:
                text = "its time is over" if status == UNKNOWN else f"it is {status} already"
        return TransactionAborted(f"transaction {self.id}: {text}.", reason=event.reason, **named)


def aborted(transaction: str, outcome: Outcome) -> Refused:
    """The error for a transaction of which nothing was done."""
    event, answer = outcome
    named: dict[str, Any] = {"key": event.refused_by or transaction, "position": str(answer.position)}
    text = f"transaction {transaction}: {event.refused_by + ': ' if event.refused_by else ''}{event.description}."
    see = f"See: accord tx show {transaction}."
    match event.reason:
        case reason if reason == HELD:
            return KeyHeld(text, holder=event.holder, remedy="Try again: hub.run_transaction() does that.", **named)
        case reason if reason == NOT_HOLDER:
            return LeaseLost(text, remedy="Acquire it again, and begin anew.", **named)
        case reason if reason == BUSY:
            return Overloaded(text, remedy="Try again later.", **named)
        case reason if reason in (TIMEOUT, "late"):
            return TransactionTimeout(text, remedy=see, reason=TIMEOUT, **named)
        case reason if reason == ROLLED_BACK:
            return TransactionAborted(text, remedy=see, reason=reason, **named)
    return commit_refused(event.refused_by, event, answer)
