"""Locks of every kind, as methods of the hub."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from accord.agents.hub import Hub
from accord.agents.locks.arguments import check_permits
from accord.agents.locks.barriers import Barrier
from accord.agents.locks.conditions import Condition
from accord.agents.locks.locks import Lock, MultiLock, OnLoss, RWLock
from accord.agents.locks.roles import Role


class LocksHub(Hub):
    """What a hub offers of locks."""

    def lock(
        self,
        name: str,
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        priority: int = 0,
        reentrant: bool = False,
        heartbeat: bool = False,
    ) -> Lock:
        """A lock: one holder at a time, by lease, first come first served.

        Args:
            name: 1 to 255 bytes of UTF-8.
            lease_ms: how long the lock stays with a holder that vanishes; renewed while it is held. None:
                `locks.lease_ms`. 1,000 to 86,400,000.
            wait_ms: how long to queue; 0 tries once, None waits without limit.
            on_loss: `"cancel"`: a lost lease cancels the body of `async with` and raises LeaseLost there; `"flag"`: it
                only sets `grant.lost`.
            priority: -10 to 10; higher goes first. Who is overtaken rises by one each time, so nobody starves.
            reentrant: a call chain that holds the lock enters it again, and frees it when it has left as often; without
                it, that is WouldSelfDeadlock.
            heartbeat: the lock, or the wait for it, ends when this process's heartbeat fails, however long its lease
                is: after 4 s (`health` in the settings).

        Raises:
            BadInput: the name, a duration or the priority cannot be one.
        """
        return Lock(self, name, lease_ms, wait_ms, on_loss, priority=priority, reentrant=reentrant, heartbeat=heartbeat)

    def role(self, name: str, *, wait_ms: int | None = None, on_loss: OnLoss = "cancel", priority: int = 0) -> Role:
        """A role: what one agent does for all while others stand by, in order; `async with` waits for it.

        It is a lock that hangs on the heartbeat: if its holder fails, the first standby has it within 5 s. What it
        gives is a grant whose `token` only grows: guard by it what the role writes (`FencedResource`).

        Args:
            name: 1 to 250 bytes of UTF-8.
            wait_ms: how long to stand by; 0 tries once, None waits without limit.
            on_loss: as for `lock`.
            priority: -10 to 10; of those who stand by, higher goes first.

        Raises:
            BadInput: the name, a duration or the priority cannot be one.
        """
        return Role(self, name, None, wait_ms, on_loss, priority=priority)

    def semaphore(
        self,
        name: str,
        permits: int,
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        priority: int = 0,
    ) -> Lock:
        """A lock that up to `permits` share, 1 to 200. Arguments and errors else as for `lock`.

        While anybody holds or waits for it, the number stays: another one is TermsDiffer. Those who share a lock write
        side by side, so their tokens do not fence one from the other.
        """
        return Lock(self, name, lease_ms, wait_ms, on_loss, priority=priority, permits=check_permits(permits))

    def rwlock(
        self,
        name: str,
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        priority: int = 0,
    ) -> RWLock[Lock]:
        """A lock that many `read()`, at most 200 at once, or one may `write()`. Arguments and errors as for `lock`.

        First come first served, so neither side starves. A reader does not become a writer: asking for that is
        WouldSelfDeadlock.
        """
        return RWLock(partial(Lock, self, name, lease_ms, wait_ms, on_loss, priority=priority))

    def locks(
        self,
        names: Iterable[str],
        *,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        on_loss: OnLoss = "cancel",
        priority: int = 0,
    ) -> MultiLock:
        """Several locks, all or none, each by name in what `async with` gives. Arguments and errors as for `lock`.

        Args:
            wait_ms: for all together.
        """

        def make(name: str, left_ms: int | None) -> Lock:
            return Lock(self, name, lease_ms, left_ms, on_loss, priority=priority)

        return MultiLock(names, wait_ms, make)

    def condition(
        self, name: str, *, lease_ms: int | None = None, wait_ms: int | None = None, on_loss: OnLoss = "cancel"
    ) -> Condition:
        """A condition variable and its lock, as `asyncio.Condition`. Arguments and errors as for `lock`."""
        return Condition(self, name, lease_ms, wait_ms, on_loss)

    def barrier(self, name: str, parties: int, *, lease_ms: int | None = None, wait_ms: int | None = None) -> Barrier:
        """A point that `parties` reach together, 1 to 200; `await hub.barrier("ready", 3).wait()`.

        Args:
            name: 1 to 255 bytes of UTF-8; not that of a lock in use.
            lease_ms: a party that is gone for so long breaks the barrier. None: `locks.lease_ms`.
            wait_ms: how long to wait for the others; None waits without limit.
        """
        return Barrier(self, name, parties, lease_ms, wait_ms)
