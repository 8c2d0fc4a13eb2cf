"""How a lock is asked for: the words of the locks domain for a `Hold`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from accord.agents.leases.leases import Terms
from accord.agents.locks.refusals import denial, not_owner
from accord.schemas.messages import Command, Event
from accord.schemas.messages.locks import (
    AcquireLock,
    LockDenied,
    ReleaseLock,
    ReleaseRefused,
    RenewLease,
    WaitOnCondition,
    WithdrawRequest,
)
from accord.schemas.position import Position

from accord.errors import AccordError, NotOwner

if TYPE_CHECKING:
    from accord.agents.leases.heartbeat import Heartbeat


class LockTerms(Terms):
    """See `accord.streams.locks.decider`.

    Args:
        permits: None is alone, 0 is with any number, n with n - 1 others.
        priority: higher goes first.
        heartbeat: on which it hangs. Until the log has said that it does, its lease is no longer than what makes a
            process fail.
    """

    domain: ClassVar[str] = "locks"
    noun: ClassVar[str] = "lock"

    def __init__(
        self,
        lease_ms: int,
        wait_ms: int | None,
        permits: int | None = None,
        priority: int = 0,
        heartbeat: Heartbeat | None = None,
    ) -> None:
        super().__init__(lease_ms, wait_ms, heartbeat)
        self.permits = permits
        self.priority = priority

    def request(self, agent: str, owner: str) -> Command:
        return AcquireLock(agent, owner, self._untied_ms, self.wait_ms, self.permits, self.priority)

    def withdraw(self, agent: str, request: str) -> Command:
        return WithdrawRequest(agent, request)

    def renew(self, agent: str, token: int, request: str) -> Command:
        return RenewLease(agent, token, self._renewed_ms(request), self.told(request))

    @property
    def _untied_ms(self) -> int:
        """The lease before the log has said that it hangs on the heartbeat."""
        return self.lease_ms if self.heartbeat is None else min(self.lease_ms, self.heartbeat.fail_ms)

    def _renewed_ms(self, request: str) -> int:
        tied = self.heartbeat is not None and self.heartbeat.is_tied(request)
        return self.lease_ms if tied else self._untied_ms

    def release(self, agent: str, token: int, request: str) -> Command:
        return ReleaseLock(agent, token, self.told(request))

    def told(self, request: str) -> str | None:
        """As of any grant; one who is alone needs nothing."""
        return None if self.permits is None else request

    def denial(self, key: str, denied: Event, position: Position) -> AccordError:
        assert isinstance(denied, LockDenied)
        return denial(key, denied, self.wait_ms, position)

    def not_owner(self, key: str, refused: Event, position: Position) -> NotOwner:
        assert isinstance(refused, ReleaseRefused)
        return not_owner(key, refused, position)


class NoticeTerms(LockTerms):
    """The lock again, after a notice, for who holds it alone under `token`; `wait_ms` is for the notice."""

    def __init__(self, lease_ms: int, wait_ms: int | None, token: int) -> None:
        super().__init__(lease_ms, wait_ms)
        self._token = token

    def request(self, agent: str, owner: str) -> Command:
        return WaitOnCondition(agent, self._token, self.wait_ms)
