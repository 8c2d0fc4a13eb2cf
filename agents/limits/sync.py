"""Rate limits and pools for plain functions, and as methods of the sync hub."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from accord.agents.hub import Hub
from accord.agents.leases.leases import Hold
from accord.agents.limits.limits import AskedSlot, NamedPool, Reporting
from accord.agents.locks.sync import Grant, Leased


class Slot(Grant, Reporting):
    """A held part of a pool."""


class Request(Leased[Slot], AskedSlot):
    """A request for capacity; made by `Accord.limit` and `Pool.request`."""

    def _granted(self, hold: Hold) -> Slot:
        return Slot(hold)


class Pool(NamedPool):
    """As `accord.agents.limits.limits.Pool`."""

    def configure(
        self,
        *,
        capacity: int,
        requests_per_minute: int | None = None,
        tokens_per_minute: int | None = None,
        roles: Iterable[str] = (),
        weights: Mapping[str, int] | None = None,
    ) -> None:
        """Sets the pool's terms, in place of those before, and returns when the log has them."""
        self._configure(capacity, requests_per_minute, tokens_per_minute, roles, weights).result()

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
    ) -> Request:
        """A part of the pool, for `with` or `acquire()`."""
        asked = {"amount": amount, "mode": mode, "priority": priority, "tokens": tokens, "role": role}
        return Request(self._hub, self.name, duration_ms, wait_ms, must_exist=True, **asked)


class SyncLimitsHub(Hub):
    """What a sync hub offers of rate limits and pools."""

    def limit(
        self,
        name: str,
        *,
        tokens: int = 0,
        wait_ms: int | None = None,
        lease_ms: int | None = None,
        priority: int = 0,
        role: str = "",
    ) -> Request:
        """A slot for one call of a shared resource; as `accord.Accord.limit`."""
        return Request(self, name, lease_ms, wait_ms, tokens=tokens, priority=priority, role=role)

    def pool(self, name: str) -> Pool:
        """A pool of capacity; as `accord.Accord.pool`."""
        return Pool(self, name)
