"""The log's refusals about locks, as the errors that a program meets."""

from __future__ import annotations

from typing import Any

import msgspec
from accord.schemas.messages import limits, locks
from accord.schemas.messages.locks import ConditionRefused, LockDenied, ReleaseRefused
from accord.schemas.position import Position

from accord.errors import AccordError, DeadlockVictim, LockTimeout, NotOwner, Overloaded, TermsDiffer, WouldSelfDeadlock


def denial(key: str, denied: LockDenied, wait_ms: int | None, position: Position) -> AccordError:
    named: dict[str, Any] = {
        "key": key, "agent": denied.agent, "holder": denied.holder, "position": str(position),
        "token": denied.token, "held_ms": denied.held_ms, "place": denied.place, "waiting": denied.waiting,
    }  # fmt: skip
    held = f"Held by {denied.holder} (token {denied.token}) for {denied.held_ms / 1_000:.1f} s"
    if denied.reason == "would_self_deadlock":
        return WouldSelfDeadlock(
            f"{key}: this call chain holds it already (token {denied.token}); waiting for it would never end.",
            remedy="Pass the grant down instead of acquiring again.",
            **named,
        )
    if denied.reason == "barrier":
        return TermsDiffer(f"{key} is a barrier at present, not a lock.", remedy="Use another name.", **named)
    if denied.reason == "permits":
        return TermsDiffer(
            f"{key} is shared by {_permits(denied.permits)} at present, and cannot be shared otherwise meanwhile.",
            remedy="Ask for it in the same way everywhere, or use another name.",
            **named,
        )
    if denied.reason == "queue_full":
        return Overloaded(f"{key}: {denied.waiting} requests wait for it, no more are taken. {held}.", **named)
    if denied.reason == "held":
        return LockTimeout(f"{key} is not free. {held}.", remedy=f"See: accord locks show {key}.", **named)
    place = f"; you were {ordinal(denied.place)} of {denied.waiting}" if denied.place else ""
    held = held if denied.holder else "It was just freed"
    return LockTimeout(
        f"{key} not granted within {wait_ms} ms. {held}{place}.", remedy=f"See: accord locks show {key}.", **named
    )


def _permits(number: int | None) -> str:
    return "any number of readers" if number == 0 else f"{number} permits"


def not_owner(key: str, refused: ReleaseRefused, position: Position) -> NotOwner:
    now = (
        f"{refused.holder} holds it with token {refused.current_token}" if refused.holder is not None else "it is free"
    )
    return NotOwner(
        f"{key}: token {refused.token} was not released: {now}.",
        key=key,
        agent=refused.agent,
        holder=refused.holder,
        position=str(position),
        token=refused.token,
    )


def deadlock(key: str, broken: locks.DeadlockBroken | limits.DeadlockBroken, position: Position) -> DeadlockVictim:
    """The error of a request that was a deadlock's victim."""
    ring = "; ".join(f"{wait.agent} waits for {wait.name}, held by {wait.holder}" for wait in broken.cycle)
    return DeadlockVictim(
        f"{key} not granted: a deadlock, and this call chain is the youngest of {len(broken.cycle)}: {ring}.",
        remedy="Give back what you hold and begin again: hub.run(function) does so.",
        key=key,
        agent=broken.agent,
        holder=broken.cycle[0].holder,
        position=str(position),
        cycle=[msgspec.structs.asdict(wait) for wait in broken.cycle],
    )


def no_condition(key: str, refused: ConditionRefused, position: Position) -> AccordError:
    named: dict[str, Any] = {"key": key, "agent": refused.agent, "holder": refused.holder, "position": str(position)}
    if refused.reason == "queue_full":
        return Overloaded(f"{key}: as many wait for it as can.", **named)
    now = (
        f"{refused.holder} holds it with token {refused.current_token}" if refused.holder is not None else "it is free"
    )
    return NotOwner(f"{key}: token {refused.token} does not hold it alone: {now}.", **named)


def ordinal(number: int) -> str:
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
