"""How capacity of a pool is asked for: the words of the limits domain for a `Hold`, and its refusals as errors."""

from __future__ import annotations

from typing import Any, ClassVar

from accord.agents.leases.leases import Terms
from accord.agents.locks.refusals import ordinal
from accord.schemas.messages import Command, Event
from accord.schemas.messages.limits import (
    CapacityDenied,
    ReleaseCapacity,
    ReleaseRefused,
    RenewLease,
    RequestCapacity,
    WithdrawRequest,
)
from accord.schemas.position import Position

from accord.errors import (
    AccordError,
    Denied,
    ExceedsCapacity,
    LockTimeout,
    NotFound,
    NotOwner,
    Overloaded,
    WouldSelfDeadlock,
)


class PoolTerms(Terms):
    """See `accord.streams.limits`. What the call has shown goes with its release: `used_tokens`, `retry_after_ms`."""

    domain: ClassVar[str] = "limits"
    noun: ClassVar[str] = "pool"

    def __init__(
        self,
        lease_ms: int,
        wait_ms: int | None,
        *,
        amount: int,
        mode: str,
        priority: int,
        tokens: int,
        role: str,
        must_exist: bool,
    ) -> None:
        super().__init__(lease_ms, wait_ms)
        self.amount = amount
        self.mode = mode
        self.priority = priority
        self.tokens = tokens
        self.role = role
        self.must_exist = must_exist
        self.used_tokens: int | None = None
        self.retry_after_ms: int | None = None

    def request(self, agent: str, owner: str) -> Command:
        return RequestCapacity(
            agent, owner, self.role, self.amount, self.mode, self.priority, self.tokens, self.lease_ms, self.wait_ms,
            self.must_exist,
        )  # fmt: skip

    def withdraw(self, agent: str, request: str) -> Command:
        return WithdrawRequest(agent, request)

    def renew(self, agent: str, token: int, request: str) -> Command:
        return RenewLease(agent, token, request, self.lease_ms)

    def release(self, agent: str, token: int, request: str) -> Command:
        return ReleaseCapacity(agent, token, request, self.used_tokens, self.retry_after_ms)

    def denial(self, key: str, denied: Event, position: Position) -> AccordError:
        assert isinstance(denied, CapacityDenied)
        return denial(key, denied, self.wait_ms, self.tokens, position)

    def not_owner(self, key: str, refused: Event, position: Position) -> NotOwner:
        assert isinstance(refused, ReleaseRefused)
        return NotOwner(
            f"{key}: token {refused.token} was not released: nothing is held under it.",
            key=key,
            agent=refused.agent,
            position=str(position),
            token=refused.token,
        )


def denial(key: str, denied: CapacityDenied, wait_ms: int | None, tokens: int, position: Position) -> AccordError:
    """The error of a denied request; its `details` have the numbers of the decision, the reason as `reason`."""
    d = denied
    named: dict[str, Any] = {
        "key": key, "agent": d.agent, "holder": d.holder or None, "position": str(position), "reason": d.reason,
        "amount": d.amount, "capacity": d.capacity, "in_use": d.in_use, "place": d.place, "waiting": d.waiting,
        "retry_after_ms": d.retry_after_ms,
    }  # fmt: skip
    role = f"role {d.role}" if d.role else "no role"
    used = f"{d.in_use} of {d.capacity} in use, {d.waiting} waiting"
    soon = "" if d.retry_after_ms is None else f"Try again in {d.retry_after_ms} ms. "
    soon += f"See: accord resources show {key}."
    never: dict[str, tuple[type[AccordError], str, str]] = {
        "unknown_pool": (NotFound, "nobody has configured this pool.", f'First: hub.pool("{key}").configure(...).'),
        "role": (Denied, f"this pool is not open to {d.agent} ({role}).", "Ask in a permitted role."),
        "amount": (ExceedsCapacity, f"its capacity is {d.capacity}; {d.amount} can never be granted.", ""),
        "tokens": (ExceedsCapacity, f"it has fewer than {tokens} tokens a minute; they can never be granted.", ""),
        "would_self_deadlock": (
            WouldSelfDeadlock,
            f"this call chain holds so much of it that waiting for {d.amount} more would never end.",
            "Ask for all of it at once, or give back first.",
        ),
        "queue_full": (Overloaded, f"{d.waiting} requests wait for it, no more are taken.", ""),
        "timeout": (LockTimeout, f"not granted within {wait_ms} ms. {used}; you were {ordinal(d.place)}.", soon),
    }
    kind, text, remedy = never.get(d.reason, (LockTimeout, f"not free ({d.reason}). {used}.", soon))
    return kind(f"{key}: {text}", remedy=remedy, **named)
