"""Transactions over several scopes.

    async def transfer(tx):
        ada, bob = tx.scope("customer_ada"), tx.scope("customer_bob")
        balance = await ada.get("balance")
        if balance.value < 10:
            raise ValueError("too little")
        ada.put("balance", balance.value - 10)
        bob.put("balance", (await bob.get("balance")).value + 10)

    await hub.run_transaction(transfer)                 # again, if others came in between
    async with hub.transaction() as tx:                 # once: VersionConflict, KeyHeld, if they did
        tx.scope("customer_ada").put("limit", 100)
    async with hub.lock("customers") as held, hub.transaction() as tx:
        tx.guard(held)                                  # committed only if the lock is still held
        tx.scope("customer_ada").put("limit", 200)
        letter = await tx.submit(write_letter, "ada")   # a task that begins if it is committed
    async with hub.pool("gpus").request(4) as part, hub.transaction() as tx:
        tx.guard(part)                                  # or only if a part of a pool is
        tx.scope("training").put("run", 7)

Rules that act here:
- Nothing is written before the end, and an exception leaves nothing to undo. What was written in one scope alone is
  committed by one command to that scope; else by two-phase commit on the log (`accord.streams.transactions`).
- Serializable: what was read in every scope must still be so when it is committed, also if nothing is written. Under
  `snapshot` each scope is read as at one version of its own.
- A guard is judged on the log, when the transaction is committed: from then on until it is done everywhere nobody else
  gets the lock, or that part of the pool, also if its lease ends meanwhile.
- Other agents may take part, if who began it lets them: what they enlist is committed with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from accord.agents.locks.arguments import check_name, check_names, check_number
from accord.agents.locks.locks import Held
from accord.agents.signals import signals
from accord.agents.state.requests import commit
from accord.agents.state.scope import check_scope
from accord.agents.state.transaction import DEFAULT_ISOLATION, Isolation, Reader, Reading, turn
from accord.agents.state.turns import TRANSACTION_ATTEMPTS, Crowd, tries
from accord.agents.state.values import ISOLATIONS
from accord.agents.tasks.graph import TaskGraph
from accord.agents.tasks.handle import Handle
from accord.agents.tasks.submit import KEEP_MS, check_task, command_of
from accord.agents.transactions.commit import DONE_WAIT_MS, Contents, OnLog
from accord.schemas.messages.state import CommitChanges
from accord.schemas.messages.transactions import Guard, ScopeChanges, Submission
from accord.streams.state.bounds import TIMEOUT_MS_MAX
from accord.streams.transactions.bounds import GUARDS_MAX, MEMBERS_MAX, SCOPES_MAX, TASKS_MAX

from accord.errors import BadInput, KeyHeld, NotFound, SnapshotTooOld, VersionConflict

if TYPE_CHECKING:
    from accord.agents.hub import Hub

TIMEOUT_MS: Final = 30_000
BEGUN_LOOK_S: Final = 0.02
"""How soon a task that begins with a commit is looked for again; then after twice that time."""
R = TypeVar("R")
AGAIN: Final = (VersionConflict, SnapshotTooOld, KeyHeld)
"""What comes of others that were faster: after it a transaction is run again."""


class OutOfTurn(Exception):
    """Others change a scope, which a transaction comes to without having queued for it. Only who runs a transaction
    again sees this; functions that keep every exception to themselves go on out of turn."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"others change {scope} right now: it is their turn")
        self.scope = scope


class Part(Reader):
    """What a transaction does in one scope; made by `Transaction.scope`."""


P = TypeVar("P", bound=Reading)


class Parts(Generic[P]):
    """What the async and the sync transaction share: parts by scope, and how they are committed.

    Args:
        make: makes a part of a scope's name.
        joined: the id of a transaction that another agent has begun; None: its own.
    """

    def __init__(self, hub: Hub, isolation: str, timeout_ms: int, joined: str | None, make: Callable[[str], P]) -> None:
        if isolation not in ISOLATIONS:
            raise BadInput(f"isolation={isolation!r}: one of {', '.join(ISOLATIONS)} is needed.")
        self.id: Final = signals.new_task() if joined is None else check_name(joined, "transaction")
        """Its id on the log, if it is there: `accord tx show ID`."""
        self._hub = hub
        self._turns: frozenset[str] | None = None
        self._isolation = isolation
        self._timeout_ms = check_number("timeout_ms", timeout_ms, 1, TIMEOUT_MS_MAX)
        self._make = make
        self._parts: dict[str, P] = {}
        self._guards: dict[tuple[str, str], Guard] = {}
        self._tasks: list[tuple[Submission, Handle]] = []
        self._joined = joined is not None
        self._shared: OnLog | None = None
        self._begun = self._is_open = False

    def in_turn(self, scopes: Iterable[str]) -> Self:
        """Says that it is run again after a conflict, and that it has queued for these scopes, if others are there."""
        self._turns = frozenset(scopes)
        return self

    @property
    def scopes(self) -> list[str]:
        """The scopes that it has touched, in order."""
        return sorted(self._parts)

    def scope(self, name: str) -> P:
        """Its part in a scope: `get`, `keys`, `items`, `put`, `delete`, as of a transaction of that scope alone.

        Raises:
            BadInput: it cannot be a scope's name, there are more than 100, or the transaction is over.
            OutOfTurn: others change it right now; `run_transaction` calls again when it is this one's turn.
        """
        self._check_open()
        part = self._parts.get(check_scope(name))
        if part is None:
            if len(self._parts) >= SCOPES_MAX:
                raise BadInput(f"a transaction has at most {SCOPES_MAX} scopes.")
            if self._turns is not None and name not in self._turns and Crowd(self._hub, name).is_there:
                raise OutOfTurn(name)
            part = self._parts[name] = self._make(name)
            part.open()
        return part

    def guard(self, held: Held) -> None:
        """Makes it a condition that a lock, or a part of a pool, is still held, under the token that it has now: if it
        is not when the transaction is committed, nothing is done (`LeaseLost`). If it is, nobody else gets it before
        all is done.

        Guard it before anything is read that the lock protects.

        Args:
            held: what `hub.lock`, `hub.semaphore`, `hub.rwlock`, `hub.pool` or `hub.limit` has granted, to whichever
                agent; one grant of each lock or pool.

        Raises:
            LeaseLost, NotOwner: it is held no more.
            BadInput: it is no grant, there are more than 100, or the transaction is over.
        """
        self._check_open()
        if not isinstance(held, Held):
            raise BadInput(
                f"{held!r:.80} is no grant: a transaction is guarded by locks and parts of pools that are held.",
                remedy="Give what acquire() returns, or `async with` binds.",
            )
        guard = held.guard
        of = guard.domain, guard.key
        known = self._guards.setdefault(of, guard)
        if known != guard:
            raise BadInput(f"the transaction is guarded by another grant of {guard.key}.", remedy="Begin another one.")
        if len(self._guards) > GUARDS_MAX:
            del self._guards[of]
            raise BadInput(f"a transaction has at most {GUARDS_MAX} guards.")

    async def _submit(self, graph: TaskGraph, input: Any, keep_ms: int) -> Handle:
        self._check_open()
        if len(self._tasks) >= TASKS_MAX:
            raise BadInput(f"a transaction begins at most {TASKS_MAX} tasks.")
        c = await command_of(self._hub, graph, check_task(graph, input, keep_ms), keep_ms)
        task = signals.new_task()
        one = Submission(task, c.agent, c.type, c.team, c.input, c.steps, c.keep_ms, c.trace)
        self._tasks.append((one, Handle(self._hub, task, graph.last)))
        return self._tasks[-1][1]

    async def _share(self, *members: str) -> str:
        self._check_open()
        if self._joined or self._shared is not None:
            raise BadInput(f"transaction {self.id} is on the log already.", remedy="Name all members at once.")
        named = check_names("members", members, MEMBERS_MAX, noun="names of agents")
        on_log = OnLog(self._hub, self.id)
        try:
            await on_log.begin(named, self._timeout_ms)
        except BaseException:
            on_log.forget()
            raise
        self._shared = on_log
        return self.id

    def _check_open(self) -> None:
        if not self._is_open:
            raise BadInput("the transaction is over, or was not entered.", remedy="Begin another one.")

    def _enter(self) -> None:
        if self._begun:
            raise BadInput("a transaction runs once.", remedy="Begin another one.")
        self._hub.ensure_open("transaction()")
        self._begun = self._is_open = True

    def _close(self) -> None:
        self._is_open = False
        for part in self._parts.values():
            part.close()

    async def _end(self, error: BaseException | None) -> None:
        """Commits it, or drops it if there was an error. Raises what `accord.Accord.transaction` says."""
        self._close()
        if error is not None:
            self._forget_tasks()
            if self._shared is not None:
                await self._shared.roll_back(f"{type(error).__name__} where it was begun"[:200])
            return
        try:
            await self._commit()
        except BaseException as refused:
            self._forget_tasks()
            if isinstance(refused, AGAIN):
                for scope in self._parts:
                    Crowd(self._hub, scope).met()
            raise
        for part in self._parts.values():
            part.committed()
        if not self._joined:
            for _, handle in self._tasks:
                await _begun(handle)

    def _forget_tasks(self) -> None:
        for _, handle in self._tasks:
            handle.forget()

    async def _commit(self) -> None:
        terms = {scope: part.terms for scope, part in sorted(self._parts.items())}
        changes = tuple([ScopeChanges(scope, *of) for scope, of in terms.items() if not of.is_empty])
        what = Contents(changes, tuple(self._guards.values()), tuple([one for one, _ in self._tasks]))
        if self._shared is not None:
            await self._shared.commit(what, self._timeout_ms)
        elif not any(what):
            return
        elif self._joined:
            on_log = OnLog(self._hub, self.id)
            try:
                await on_log.enlist(what)
            finally:
                on_log.forget()
        elif len(changes) == 1 and not (what.guards or what.tasks):
            scope = changes[0].scope
            await commit(self._hub, scope, CommitChanges(self._hub.agent, *terms[scope], "", ""))
        else:
            await OnLog(self._hub, self.id).commit_at_once(what, self._timeout_ms)


async def _begun(handle: Handle) -> None:
    """Returns when a task is there that was begun by a commit, after a bounded time in any case: it will be."""
    again_s = BEGUN_LOOK_S
    with suppress(TimeoutError):
        async with asyncio.timeout(DONE_WAIT_MS / 1_000):
            while True:
                with suppress(NotFound):
                    await handle.look()
                    return
                await asyncio.sleep(again_s)
                again_s *= 2


class Transaction(Parts[Part]):
    """A transaction over several scopes, for `async with`; made by `Accord.transaction` and `join_transaction`."""

    def __init__(self, hub: Hub, isolation: str, timeout_ms: int = TIMEOUT_MS, joined: str | None = None) -> None:
        super().__init__(hub, isolation, timeout_ms, joined, self._part)

    def _part(self, scope: str) -> Part:
        return Part(self._hub, scope, self._isolation, "optimistic", _nothing)

    async def submit(self, graph: TaskGraph, input: Any = None, *, keep_ms: int = KEEP_MS) -> Handle:
        """A task that begins when the transaction is committed, once, and never if it is not.

        Args:
            graph, input, keep_ms: as of `Accord.submit`.

        Returns:
            The task. Before the commit it is not there; if there is none, nobody ever hears of it.

        Raises:
            BadInput: the graph is none, there are more than 20 tasks, or the transaction is over.
            TooLarge, Unavailable: as `Accord.submit`.
        """
        return await self._submit(graph, input, keep_ms)

    async def share(self, *members: str) -> str:
        """Lets other agents take part: begins it on the log, and returns its id for `join_transaction`.

        Its time runs from now on. Let it end after they have: what they enlist later is refused.

        Args:
            members: names of the agents.
        """
        return await self._share(*members)

    async def __aenter__(self) -> Self:
        self._enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end(error)


def _nothing(_: int) -> None:
    pass


@asynccontextmanager
async def turns(hub: Hub, scopes: Iterable[str]) -> AsyncGenerator[None]:
    """The locks on which changes of scopes take turns, of those where others are right now, in order of their names."""
    async with AsyncExitStack() as held:
        for scope in sorted(scopes):
            if Crowd(hub, scope).is_there:
                await held.enter_async_context(turn(hub, scope))
        yield


async def run_transaction(
    hub: Hub,
    function: Callable[[Transaction], Awaitable[R]],
    *,
    isolation: Isolation = DEFAULT_ISOLATION,
    timeout_ms: int = TIMEOUT_MS,
    attempts: int = TRANSACTION_ATTEMPTS,
) -> R:
    """`Accord.run_transaction`, on any hub."""
    scopes: set[str] = set()
    left = len(tries(attempts))
    while True:
        tx = Transaction(hub, isolation, timeout_ms).in_turn(scopes)
        try:
            async with turns(hub, scopes), tx:
                return await function(tx)
        except OutOfTurn as met:
            scopes.add(met.scope)
        except AGAIN:
            left -= 1
            if not left:
                raise
            scopes.update(tx.scopes)
