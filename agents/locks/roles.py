"""Roles: what one agent does for all, with others standing by.

    async with hub.role("planner") as tenure:
        ...                         # the planner, until `tenure.lost`
        plans.write(tenure, plan)   # a FencedResource refuses who was the planner before

Rules that act here:
- A role is a lock that hangs on its holder's heartbeat, and so does each standby's place in its queue: who fails loses
  either, and the role goes to the first standby that is alive.
- A tenure's token only grows. Its belief (`valid`, `lost`, `check()`) ends before the log says that the holder failed.
- A standby that was taken for failed stands by again, behind the others, as long as it is willing to wait.
"""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from accord.agents.connection.runtime import countdown
from accord.agents.hub import Hub
from accord.agents.leases.leases import Hold
from accord.agents.locks.arguments import check_name, check_wait_ms
from accord.agents.locks.locks import AskedLock, Grant, Held, Leased
from accord.streams.roster.bounds import ROLE_PREFIX

from accord.errors import LeaseLost


class AskedRole(AskedLock):
    """A role as it was named and asked for; what the async and the sync client share."""

    noun = "role"

    def __init__(self, hub: Hub, role: str, *args: Any, **terms: Any) -> None:
        super().__init__(hub, ROLE_PREFIX + check_name(role, self.noun), *args, heartbeat=True, **terms)


def role_of(held: Held) -> str:
    """The role that is held."""
    return held.key.removeprefix(ROLE_PREFIX)


def stands_by_again(lost: LeaseLost) -> bool:
    """Whether it was not the role that was lost, but the place in its queue."""
    return bool(lost.details.get("waiting"))


class Tenure(Grant):
    """The role while it is held: a grant whose `token` fences who held it before."""

    @property
    def role(self) -> str:
        """Its name."""
        return role_of(self)


class Role(Leased[Tenure], AskedRole):
    """A role by name; made by `Accord.role`, usable again and again, from several tasks."""

    def _granted(self, hold: Hold) -> Tenure:
        return Tenure(hold)

    async def acquire(self, *, wait_ms: int | EllipsisType | None = ...) -> Tenure:
        """Stands by until the role is free; arguments and errors are those of a lock's `acquire`."""
        left_ms = countdown(self._wait_ms if isinstance(wait_ms, EllipsisType) else check_wait_ms(wait_ms))
        while True:
            try:
                return await super().acquire(wait_ms=left_ms())
            except LeaseLost as lost:
                if not stands_by_again(lost):
                    raise
