"""Limits and pools for async programs.

    async with hub.limit("openai_api", tokens=800) as slot:
        reply = await call()
        slot.used(reply.usage.total_tokens)       # what it really took
        slot.retry_after(2_000)                   # the API said so: nobody is let in meanwhile
    pool = hub.pool("gpus")
    await pool.configure(capacity=8, roles=["trainer"], weights={"trainer": 3})
    async with pool.request(4, role="trainer", duration_ms=60_000): ...

A slot is held by lease as a lock is: renewed while it is held, given back when its holder vanishes, and lost, with the
body cancelled, when it cannot be renewed. A limit that nobody has configured lets one call in at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Final

from accord.agents.connection.connection import Answer
from accord.agents.leases.leases import Hold, Terms
from accord.agents.limits.terms import PoolTerms
from accord.agents.locks.arguments import check_name, check_number
from accord.agents.locks.locks import Asked, Grant, Held, Leased, OnLoss
from accord.agents.signals.signals import current_task
from accord.schemas.messages.limits import ConfigurePool
from accord.streams.limits.bounds import CAPACITY_MAX, MODES, RATE_MAX, RETRY_AFTER_MS_MAX, TOKENS_MAX, WEIGHT_MAX

from accord.errors import BadInput

if TYPE_CHECKING:
    from accord.agents.hub import Hub


class AskedSlot(Asked):
    """Capacity of a pool as it is asked for; what the async and the sync `Request` share."""

    noun = "pool"

    def __init__(
        self,
        hub: Hub,
        name: str,
        lease_ms: int | None = None,
        wait_ms: int | None = None,
        *,
        amount: int = 1,
        mode: str = "shared",
        priority: int = 0,
        tokens: int = 0,
        role: str = "",
        must_exist: bool = False,
    ) -> None:
        super().__init__(hub, name, lease_ms, wait_ms, priority=priority)
        if mode not in MODES:
            raise BadInput(f"mode={mode!r}: 'shared' or 'exclusive' is needed.")
        self._asked: dict[str, Any] = {
            "amount": check_number("amount", amount, 1, CAPACITY_MAX),
            "mode": mode,
            "priority": priority,
            "tokens": check_number("tokens", tokens, 0, TOKENS_MAX),
            "role": check_name(role, "role") if role else "",
            "must_exist": must_exist,
        }

    def _terms(self, lease_ms: int, wait_ms: int | None) -> Terms:
        return PoolTerms(lease_ms, wait_ms, **self._asked)


class Reporting(Held):
    """What the holder of a slot may tell before it gives the slot back; it is recorded with the release."""

    @property
    def _report(self) -> PoolTerms:
        terms = self._hold.terms
        assert isinstance(terms, PoolTerms)
        return terms

    def used(self, tokens: int) -> None:
        """Tells how many tokens the call really took; without it, as many as were expected count.

        Raises:
            BadInput: not 0 to 10,000,000.
        """
        self._report.used_tokens = check_number("tokens", tokens, 0, TOKENS_MAX)

    def retry_after(self, ms: int) -> None:
        """Tells that the resource wants no call for `ms` from the release on: until then nobody is let in.

        Raises:
            BadInput: not 0 to 86,400,000 (a day).
        """
        self._report.retry_after_ms = check_number("retry_after ms", ms, 0, RETRY_AFTER_MS_MAX)


class Slot(Grant, Reporting):
    """A held part of a pool."""


class Request(Leased[Slot], AskedSlot):
    """A request for capacity; made by `Accord.limit` and `Pool.request`."""

    def _granted(self, hold: Hold) -> Slot:
        return Slot(hold)


class NamedPool:
    """What the async and the sync `Pool` share."""

    def __init__(self, hub: Hub, name: str) -> None:
        self.name: Final = check_name(name, "pool")
        self._hub = hub

    def _configure(
        self,
        capacity: int,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        roles: Iterable[str],
        weights: Mapping[str, int] | None,
    ) -> Future[Answer]:
        self._hub.ensure_open(f"pool {self.name}")
        if isinstance(roles, str):
            raise BadInput(f"roles={roles!r}: a list of names is needed.")
        shares = dict(weights or {})
        connection = self._hub.connection
        command = ConfigurePool(
            connection.agent,
            check_number("capacity", capacity, 1, CAPACITY_MAX),
            _rate("requests_per_minute", requests_per_minute),
            _rate("tokens_per_minute", tokens_per_minute),
            tuple([check_name(role, "role") for role in roles]),
            tuple([check_name(share, "share") for share in shares]),
            tuple([check_number("weight", weight, 1, WEIGHT_MAX) for weight in shares.values()]),
        )
        return connection.submit("limits", self.name, command, task=current_task()).decided


def _rate(name: str, value: int | None) -> int | None:
    return None if value is None else check_number(name, value, 1, RATE_MAX)


class Pool(NamedPool):
    """A pool of capacity by name; made by `Accord.pool`."""

    async def configure(
        self,
        *,
        capacity: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        roles: Iterable[str] = (),
        weights: Mapping[str, int] | None = None,
    ) -> None:
        """Sets the pool's terms, in place of those before, and returns when the log has them.

        Args:
            capacity: how much may be held at once, 1 to 1,000,000.
            requests_per_minute: grants a minute, at most; a minute's worth may come at once. None: any number.
            tokens_per_minute: tokens a minute, in the same way.
            roles: who may use it; empty: everybody.
            weights: 1 to 100, by agent or role; who has twice the weight gets twice as much. 1 for who is not named;
                at most 50 are.

        Raises:
            BadInput: an argument cannot be right.
            Rejected: the log says so: too many names, or one stands twice.
            NoWorker, KafkaUnreachable: nobody decides, or no broker answers.
        """
        await asyncio.wrap_future(self._configure(capacity, requests_per_minute, tokens_per_minute, roles, weights))

    def request(
        self,
        amount: int,
        *,
        mode: str = "shared",
        priority: int = 0,
        duration_ms: int | None = None,
        wait_ms: int | None = None,
        tokens: int = 0,
        role: str = "",
        on_loss: OnLoss = "cancel",
    ) -> Request:
        """A part of the pool, for `async with` or `acquire()`.

        Args:
            amount: how much of its capacity.
            mode: `"exclusive"` is with nobody else in the pool.
            priority: -10 to 10; higher goes first. Among equals, who has had least by its weight.
            duration_ms: the lease: after so long without renewal the capacity comes back. None: `locks.lease_ms`.
            wait_ms: how long to queue; 0 tries once, None waits without limit.
            tokens: that the call is expected to take.
            role: in which the agent asks.
            on_loss: as for `Accord.lock`.

        Raises:
            BadInput: an argument cannot be right.
        """
        asked = {"amount": amount, "mode": mode, "priority": priority, "tokens": tokens, "role": role}
        return Request(self._hub, self.name, duration_ms, wait_ms, on_loss, must_exist=True, **asked)
