"""Locks for async programs.

    async with hub.lock("room_12", lease_ms=30_000, wait_ms=5_000) as grant:
        ...                         # alone, until the lease is lost
    grant = await hub.lock("room_12").acquire(wait_ms=0)
    await grant.release()
    async with hub.semaphore("gpu", permits=2): ...
    async with hub.rwlock("report").read(): ...
    async with hub.locks(["room_12", "room_13"]) as grants: ...

Rules that act here:
- The owner is the call chain: another task queues, the same chain gets WouldSelfDeadlock, or enters once more if it
  asked for a reentrant lock.
- A lease that is lost cancels the body of `async with`, as `asyncio.timeout` does, and surfaces there as LeaseLost;
  with `on_loss="flag"` it only sets `grant.lost`, and the body must look. Either way the body may go on for a while
  before it notices: guard what it writes by `grant.token`.
- Who is cancelled while waiting withdraws its request.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack, suppress
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, Literal, TypeVar

from accord.agents.connection.runtime import countdown
from accord.agents.leases.call_chain import enter_chain, held_in_chain, leave_chain
from accord.agents.leases.leases import Hold, OnQueued, Terms
from accord.agents.locks.arguments import check_lease_ms, check_name, check_priority, check_wait_ms
from accord.agents.locks.terms import LockTerms
from accord.agents.operations import Operation
from accord.agents.signals.signals import current_task
from accord.schemas.messages.transactions import Guard
from accord.schemas.position import Position

from accord import logs
from accord.errors import BadInput, LeaseLost, NotOwner, Unavailable
from accord.tracing import SpanKind

if TYPE_CHECKING:
    from accord.agents.connection.connection import Connection
    from accord.agents.hub import Hub

logger = logs.get("accord.locks")

OnLoss = Literal["cancel", "flag"]


class Asked(ABC):
    """What is held by lease, as it was named and asked for; what the async and the sync client share.

    Raises:
        BadInput: the name or a duration cannot be one.
    """

    noun: ClassVar[str]

    def __init__(
        self, hub: Hub, name: str, lease_ms: int | None = None, wait_ms: int | None = None, *, priority: int = 0
    ) -> None:
        self.name: Final = check_name(name, self.noun)
        self.on_queued: OnQueued | None = None
        """Called on accord's thread when a request has to queue; must not block."""
        self._hub = hub
        self._lease_ms = lease_ms
        self._wait_ms = check_wait_ms(wait_ms)
        self._priority = check_priority(priority)
        if lease_ms is not None:
            check_lease_ms(lease_ms, 0)

    @abstractmethod
    def _terms(self, lease_ms: int, wait_ms: int | None) -> Terms:
        """What a request asks for."""

    def _operation(self, name: str) -> Operation:
        return Operation(self._hub, name, current_task(), kind=SpanKind.CLIENT, key=self.name)

    def _ask(self, wait_ms: int | EllipsisType | None) -> Hold:
        hub = self._hub
        hub.ensure_open(f"{self.noun} {self.name}")
        locks = hub.settings.locks
        lease_ms = check_lease_ms(locks.lease_ms if self._lease_ms is None else self._lease_ms, locks.clock_step_ms)
        wait = self._wait_ms if isinstance(wait_ms, EllipsisType) else check_wait_ms(wait_ms)
        return hub.leases.ask(self.name, self._terms(lease_ms, wait), self.on_queued)


class AskedLock(Asked):
    """A lock as it was named and asked for."""

    noun = "lock"

    def __init__(
        self,
        hub: Hub,
        name: str,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        *,
        permits: int | None = None,
        priority: int = 0,
        reentrant: bool = False,
        heartbeat: bool = False,
    ) -> None:
        super().__init__(hub, name, lease_ms, wait_ms, priority=priority)
        self._permits = permits
        self._heartbeat = heartbeat
        self._reentrant = reentrant

    def _terms(self, lease_ms: int, wait_ms: int | None) -> Terms:
        heartbeat = self._hub.heartbeat if self._heartbeat else None
        return LockTerms(lease_ms, wait_ms, self._permits, self._priority, heartbeat)

    def _ask(self, wait_ms: int | EllipsisType | None) -> Hold:
        """Asks for it; or enters it once more, where that is wanted and this call chain holds it."""
        self._hub.ensure_open(f"lock {self.name}")
        mine = held_in_chain(self.name) if self._reentrant else None
        if mine is not None:
            mine.enter_again()
            return mine
        return super()._ask(wait_ms)


class Held:
    """A grant, as the async and the sync client share it.

    `token` is the fencing token: hand it to what is guarded, and have it refuse smaller ones than it has seen.
    `position` is where the grant stands in the log. Waiting on a condition begins a new grant: both change with it.
    """

    def __init__(self, hold: Hold) -> None:
        self.key: Final[str] = hold.key
        self._hold = hold
        hold.grants.append(self)

    @property
    def token(self) -> int:
        return self._hold.token

    @property
    def position(self) -> Position:
        position = self._hold.position
        assert position is not None, "it is held"
        return position

    def follow(self, hold: Hold) -> None:
        """The lock is held by another request now: its holder waited on a condition."""
        self._hold = hold
        hold.grants.append(self)

    @property
    def agent(self) -> str:
        return self._hold.agent

    @property
    def guard(self) -> Guard:
        """What makes it a condition of a transaction (`Transaction.guard`).

        Raises:
            LeaseLost, NotOwner: it is held no more.
        """
        self.check()
        terms = self._hold.terms
        return Guard(terms.domain, self.key, self.token, terms.told(self._hold.id))

    @property
    def connection(self) -> Connection:
        """Through which it was asked for."""
        return self._hold.connection

    @property
    def valid(self) -> bool:
        """Whether the holder may believe that it is its own at this moment."""
        return self._hold.valid

    def check(self) -> None:
        """Raises LeaseLost when the lease was lost, NotOwner when it was released."""
        self._hold.check()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.key} token={self.token} at {self.position} valid={self.valid}>"


class Grant(Held):
    """What is held. `lost` is set when the lease is lost."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(hold)
        self.lost: Final = asyncio.Event()
        loop = asyncio.get_running_loop()
        self._body: _Body | None = None

        def tell() -> None:
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._on_loss)

        self._tell = tell
        hold.on_loss(tell)

    def follow(self, hold: Hold) -> None:
        super().follow(hold)
        hold.on_loss(self._tell)

    def _on_loss(self) -> None:
        self.lost.set()
        if self._body is not None:
            self._body.cancel()

    async def release(self) -> None:
        """Gives it back, and returns when the log says so.

        Raises:
            LeaseLost: the lease had ended before.
            NotOwner: it was released already, or the log says that the token is not the current one.
            NoWorker, KafkaUnreachable: not confirmed; the lease ends by itself.
        """
        self._hold.check_not_released()
        leave_chain(self._hold)
        await asyncio.wrap_future(self._hold.release())


G = TypeVar("G", bound=Grant)


class Leased(Asked, Generic[G]):
    """What is held by lease, for `async with` and `acquire`; usable again and again, from several tasks."""

    def __init__(
        self,
        hub: Hub,
        name: str,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        **terms: Any,
    ) -> None:
        super().__init__(hub, name, lease_ms, wait_ms, **terms)
        if on_loss not in ("cancel", "flag"):
            raise BadInput(f"on_loss={on_loss!r}: 'cancel' or 'flag' is needed.")
        self._on_loss = on_loss
        self._bodies: dict[asyncio.Task[object], list[_Body]] = {}

    @abstractmethod
    def _granted(self, hold: Hold) -> G:
        """What the program gets of a grant."""

    async def acquire(self, *, wait_ms: int | EllipsisType | None = ...) -> G:
        """Waits for it.

        Args:
            wait_ms: how long, in ms; 0 tries once, None is without limit; left out: as it was made.

        Raises:
            LockTimeout: not granted in time; names the holder and the place in the queue.
            WouldSelfDeadlock: this call chain holds it.
            TermsDiffer: others share the lock with another number of permits.
            Denied: the pool is not for this role.
            NotFound: nobody has configured the pool.
            ExceedsCapacity: the pool never has so much.
            Overloaded: too many requests wait, or too many commands are under way.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers; the request is withdrawn.
            LeaseLost: it was granted so late that the lease had ended.
            NotConnected: the hub is not open, or was closed meanwhile.
        """
        with self._operation("acquire"):
            hold = self._ask(wait_ms)
            try:
                await asyncio.wrap_future(hold.granted)
            except asyncio.CancelledError:
                hold.withdraw()
                raise
        enter_chain(hold)
        return self._granted(hold)

    async def __aenter__(self) -> G:
        grant = await self.acquire()
        task = asyncio.current_task()
        assert task is not None
        grant._body = _Body(grant, task, self._on_loss)
        self._bodies.setdefault(task, []).append(grant._body)
        return grant

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task = asyncio.current_task()
        bodies = self._bodies.get(task) if task is not None else None
        if task is None or not bodies:
            raise BadInput(
                f"{self.noun} {self.name}: async with must be left by the task that entered it.", key=self.name
            )
        body = bodies.pop()
        if not bodies:
            del self._bodies[task]
        await body.leave(error)


class Lock(Leased[Grant], AskedLock):
    """A lock by name; made by `Accord.lock` and its like."""

    def _granted(self, hold: Hold) -> Grant:
        return Grant(hold)


L = TypeVar("L", bound=AskedLock)


class RWLock(Generic[L]):
    """A lock that many read or one writes; made by `Accord.rwlock`. Readers do not become writers.

    Args:
        make: makes the lock that is asked for with some `permits`, None without.

    Raises:
        BadInput: the name, a duration or the priority cannot be one.
    """

    def __init__(self, make: Callable[..., L]) -> None:
        self._make = make
        make()  # what is wrong is said here

    def read(self) -> L:
        """Shared with other readers."""
        return self._make(permits=0)

    def write(self) -> L:
        """Alone."""
        return self._make()


class SeveralLocks(Generic[L]):
    """Several locks, as they were named and asked for; what the async and the sync `MultiLock` share.

    They are asked for one after the other, in the order of their names, so two who want the same ones cannot wait for
    each other. If one is not granted, those before it are released.

    Args:
        wait_ms: for all together.
        make: makes a lock of its name and the wait that is left.
    """

    def __init__(self, names: Iterable[str], wait_ms: int | None, make: Callable[[str, int | None], L]) -> None:
        self.names: Final = ordered(names)
        self._wait_ms = check_wait_ms(wait_ms)
        self._make = make
        for name in self.names:
            make(name, wait_ms)  # what is wrong is said here

    def _in_turn(self) -> Iterator[tuple[str, L]]:
        """Each lock when it is its turn, with what is left of the wait."""
        left_ms = countdown(self._wait_ms)
        for name in self.names:
            yield name, self._make(name, left_ms())


class MultiLock(SeveralLocks[Lock]):
    """Several locks, all or none; made by `Accord.locks`."""

    def __init__(self, names: Iterable[str], wait_ms: int | None, make: Callable[[str, int | None], Lock]) -> None:
        super().__init__(names, wait_ms, make)
        self._entered: dict[asyncio.Task[object], list[AsyncExitStack]] = {}

    async def __aenter__(self) -> dict[str, Grant]:
        task = asyncio.current_task()
        assert task is not None
        async with AsyncExitStack() as stack:
            grants = {name: await stack.enter_async_context(lock) for name, lock in self._in_turn()}
            self._entered.setdefault(task, []).append(stack.pop_all())
        return grants

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        task = asyncio.current_task()
        stacks = self._entered.get(task) if task is not None else None
        if task is None or not stacks:
            raise BadInput("async with must be left by the task that entered it.")
        stack = stacks.pop()
        if not stacks:
            del self._entered[task]
        return await stack.__aexit__(kind, error, trace)


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """The names of several locks in the order in which everybody asks for them. Raises BadInput for a bad list."""
    if isinstance(names, str):
        raise BadInput(f"locks({names!r}): a list of names is needed; for one lock: hub.lock({names!r}).")
    found = [check_name(name) for name in names]
    if not found or len(set(found)) < len(found):
        raise BadInput(f"locks({found!r}): one or more names are needed, each once.")
    return tuple(sorted(found))


class _Body:
    """The body of an `async with`, which a lost lease cancels (as asyncio.timeout does it)."""

    def __init__(self, grant: Grant, task: asyncio.Task[object], on_loss: OnLoss) -> None:
        self._grant = grant
        self._raises = on_loss == "cancel"
        self._task = task
        self._cancelling_before = task.cancelling()
        self._cancelled = False
        self._over = False

    def cancel(self) -> None:
        if self._raises and not self._over and not self._cancelled:
            self._cancelled = True
            self._task.cancel(f"the lease of {self._grant.key} was lost")

    async def leave(self, error: BaseException | None) -> None:
        """Gives it back; turns our own cancellation into LeaseLost, and lets that of others pass."""
        self._over = True
        hold = self._grant._hold
        leave_chain(hold)
        if self._cancelled:
            await self._leave_cancelled(hold, error)
            return
        try:
            await asyncio.wrap_future(hold.release())
        except (LeaseLost, NotOwner) as lost:
            if error is not None:
                error.add_note(str(lost))
            elif self._raises:
                raise hold.loss("its release was refused") from lost
        except Unavailable as unavailable:
            logger.warning("a release was not confirmed; the lease ends by itself", key=hold.key, why=str(unavailable))

    async def _leave_cancelled(self, hold: Hold, error: BaseException | None) -> None:
        lost = hold.loss()
        if error is None:
            # The body ended before the cancellation reached it: it is still on its way, and meant for nobody else.
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
        if self._task.uncancel() > self._cancelling_before:  # somebody else wants the task to end, too
            if error is None:
                raise asyncio.CancelledError from lost
        elif error is None or isinstance(error, asyncio.CancelledError):
            raise lost from error
        else:
            error.add_note(str(lost))
