"""Locks of every kind for plain functions, and as methods of the sync hub."""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from types import EllipsisType, TracebackType
from typing import Any, Final, Generic, TypeVar

from accord.agents.connection.runtime import countdown
from accord.agents.hub import Hub
from accord.agents.leases.call_chain import enter_chain, leave_chain
from accord.agents.leases.leases import Hold
from accord.agents.locks import conditions
from accord.agents.locks.arguments import check_permits, check_wait_ms
from accord.agents.locks.barriers import Reached
from accord.agents.locks.locks import Asked, AskedLock, Held, RWLock, SeveralLocks
from accord.agents.locks.roles import AskedRole, role_of, stands_by_again

from accord import logs
from accord.errors import BadInput, LeaseLost, NotOwner, Unavailable

logger = logs.get("accord.locks")
T = TypeVar("T")


class Grant(Held):
    """What is held. `lost` is set when the lease is lost."""

    def __init__(self, hold: Hold) -> None:
        super().__init__(hold)
        self.lost: Final = threading.Event()
        hold.on_loss(self.lost.set)

    def release(self) -> None:
        """Gives it back, and returns when the log says so. Raises what the async `Grant.release` raises."""
        self._hold.check_not_released()
        leave_chain(self._hold)
        self._hold.release().result()

    def _leave(self, error: BaseException | None) -> None:
        """The end of `with`."""
        hold = self._hold
        leave_chain(hold)
        try:
            hold.release().result()
        except (LeaseLost, NotOwner) as lost:
            if error is None:
                raise hold.loss("its release was refused") from lost
            error.add_note(str(lost))
        except Unavailable as unavailable:
            logger.warning("a release was not confirmed; the lease ends by itself", key=hold.key, why=str(unavailable))


G = TypeVar("G", bound=Grant)


class Leased(Asked, Generic[G]):
    """What is held by lease, for `with` and `acquire`; usable again and again, from several threads."""

    def __init__(
        self, hub: Hub, name: str, lease_ms: int | None = None, wait_ms: int | None = None, **terms: Any
    ) -> None:
        super().__init__(hub, name, lease_ms, wait_ms, **terms)
        self._entered = _Entered[G]()

    @abstractmethod
    def _granted(self, hold: Hold) -> G:
        """What the program gets of a grant."""

    def acquire(self, *, wait_ms: int | EllipsisType | None = ...) -> G:
        """Waits for it; arguments and errors are those of `accord.agents.locks.locks.Leased.acquire`."""
        with self._operation("acquire"):
            hold = self._ask(wait_ms)
            try:
                hold.granted.result()
            except KeyboardInterrupt:
                hold.withdraw()
                raise
        enter_chain(hold)
        return self._granted(hold)

    def __enter__(self) -> G:
        grant = self.acquire()
        self._entered.stack.append(grant)
        return grant

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered.leave(f"{self.noun} {self.name}")._leave(error)


class Lock(Leased[Grant], AskedLock):
    """A lock by name; made by `Accord.lock` and its like."""

    def _granted(self, hold: Hold) -> Grant:
        return Grant(hold)


class Tenure(Grant):
    """As `accord.agents.locks.roles.Tenure`."""

    @property
    def role(self) -> str:
        """Its name."""
        return role_of(self)


class Role(Leased[Tenure], AskedRole):
    """As `accord.agents.locks.roles.Role`."""

    def _granted(self, hold: Hold) -> Tenure:
        return Tenure(hold)

    def acquire(self, *, wait_ms: int | EllipsisType | None = ...) -> Tenure:
        """Stands by until the role is free; arguments and errors are those of a lock's `acquire`."""
        left_ms = countdown(self._wait_ms if isinstance(wait_ms, EllipsisType) else check_wait_ms(wait_ms))
        while True:
            try:
                return super().acquire(wait_ms=left_ms())
            except LeaseLost as lost:
                if not stands_by_again(lost):
                    raise


class MultiLock(SeveralLocks[Lock]):
    """As `accord.agents.locks.locks.MultiLock`."""

    def __init__(self, names: Iterable[str], wait_ms: int | None, make: Callable[[str, int | None], Lock]) -> None:
        super().__init__(names, wait_ms, make)
        self._entered = _Entered[ExitStack]()

    def __enter__(self) -> dict[str, Grant]:
        with ExitStack() as stack:
            grants = {name: stack.enter_context(lock) for name, lock in self._in_turn()}
            self._entered.stack.append(stack.pop_all())
        return grants

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._entered.leave("locks").__exit__(kind, error, trace)


class Condition(Lock):
    """As `accord.agents.locks.conditions.Condition`."""

    def wait(self, *, wait_ms: int | None = None) -> bool:
        """Frees the lock, waits for a notice, and returns with the lock held again: whether there was one."""
        with self._operation("wait"):
            hold = conditions.mine(self, "wait()")
            again = conditions.sleep(hold, wait_ms)
            try:
                again.granted.result()
            except KeyboardInterrupt:
                again.withdraw()
                raise
            finally:
                conditions.show(hold, again)
        return again.notified

    def wait_for(self, predicate: Callable[[], bool], *, wait_ms: int | None = None) -> bool:
        """Waits until the predicate is true; returns what it was last. It is called with the lock held."""
        left_ms = countdown(wait_ms)
        while not (result := predicate()) and (left := left_ms()) != 0:
            self.wait(wait_ms=left)
        return result

    def notify(self, n: int = 1) -> int:
        """Has up to `n` of those who wait go on, first come first; returns how many there were."""
        return self._notify(conditions.portions(self, n))

    def notify_all(self) -> int:
        """As `notify`, for all who wait."""
        return self._notify(conditions.portions(self))

    def _notify(self, counts: list[int]) -> int:
        told = 0
        for count in counts:
            there = conditions.notified(self, conditions.notify(self, count).result())
            told += there
            if there < count:
                break
        return told


class Barrier(Reached):
    """As `accord.agents.locks.barriers.Barrier`."""

    def wait(self, *, wait_ms: int | EllipsisType | None = ...) -> int:
        """Waits until all parties have come; returns the place in the order of arrival, 0 for the first."""
        with self._operation():
            arrival = self._reach(wait_ms)
            try:
                return arrival.passed.result()
            except KeyboardInterrupt:
                arrival.withdraw()
                raise


class _Entered(threading.local, Generic[T]):
    """What a thread has entered and not left."""

    def __init__(self) -> None:
        self.stack: list[T] = []

    def leave(self, what: str) -> T:
        if not self.stack:
            raise BadInput(f"{what}: with must be left by the thread that entered it.")
        return self.stack.pop()


class SyncLocksHub(Hub):
    """What a sync hub offers of locks."""

    def lock(
        self,
        name: str,
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        priority: int = 0,
        reentrant: bool = False,
        heartbeat: bool = False,
    ) -> Lock:
        """A lock: one holder at a time, by lease, first come first served; as `accord.Accord.lock`."""
        return Lock(self, name, lease_ms, wait_ms, priority=priority, reentrant=reentrant, heartbeat=heartbeat)

    def role(self, name: str, *, wait_ms: int | None = None, priority: int = 0) -> Role:
        """A role, with others standing by; as `accord.Accord.role`."""
        return Role(self, name, None, wait_ms, priority=priority)

    def semaphore(
        self, name: str, permits: int, *, lease_ms: int | None = None, wait_ms: int | None = None, priority: int = 0
    ) -> Lock:
        """A lock that up to `permits` share; as `accord.Accord.semaphore`."""
        return Lock(self, name, lease_ms, wait_ms, priority=priority, permits=check_permits(permits))

    def rwlock(
        self, name: str, *, lease_ms: int | None = None, wait_ms: int | None = None, priority: int = 0
    ) -> RWLock[Lock]:
        """A lock that many read or one writes; as `accord.Accord.rwlock`."""
        return RWLock(partial(Lock, self, name, lease_ms, wait_ms, priority=priority))

    def locks(
        self, names: Iterable[str], *, lease_ms: int | None = None, wait_ms: int | None = None, priority: int = 0
    ) -> MultiLock:
        """Several locks, all or none; as `accord.Accord.locks`."""

        def make(name: str, left_ms: int | None) -> Lock:
            return Lock(self, name, lease_ms, left_ms, priority=priority)

        return MultiLock(names, wait_ms, make)

    def condition(self, name: str, *, lease_ms: int | None = None, wait_ms: int | None = None) -> Condition:
        """A condition variable and its lock; as `accord.Accord.condition`."""
        return Condition(self, name, lease_ms, wait_ms)

    def barrier(self, name: str, parties: int, *, lease_ms: int | None = None, wait_ms: int | None = None) -> Barrier:
        """A point that `parties` reach together; as `accord.Accord.barrier`."""
        return Barrier(self, name, parties, lease_ms, wait_ms)
