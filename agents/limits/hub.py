"""Rate limits and pools, as methods of the hub."""

from __future__ import annotations

from accord.agents.hub import Hub
from accord.agents.limits.limits import Pool, Request
from accord.agents.locks.locks import OnLoss


class LimitsHub(Hub):
    """What a hub offers of rate limits and pools."""

    def limit(
        self,
        name: str,
        *,
        tokens: int = 0,
        wait_ms: int | None = None,
        lease_ms: int | None = None,
        priority: int = 0,
        role: str = "",
        on_loss: OnLoss = "cancel",
    ) -> Request:
        """A slot for one call of a shared resource. A name that nobody has configured lets in one call at a time, first
        come first served; `pool(name).configure` sets how many at a time and a minute, and who.

        Args:
            tokens: that the call is expected to take, counted where the pool has tokens a minute.
            role: in which the agent asks, where the pool is for some only.

        The other arguments, and the errors, are those of `lock`.
        """
        return Request(self, name, lease_ms, wait_ms, on_loss, tokens=tokens, priority=priority, role=role)

    def pool(self, name: str) -> Pool:
        """A pool of capacity, to configure or to ask for a part of. Raises BadInput if the name cannot be one."""
        return Pool(self, name)
