"""Why a lock was granted, queued for, denied or lost."""

from __future__ import annotations

from typing import Any, Final

from accord.replay.explain.case import Case, Reason, Reasons, clock, span, where
from accord.replay.timeline import TimelineEvent

LISTED_MAX: Final = 5
"""Holders and waiters that are told one by one."""
_ENDS: Final = ("LockReleased", "LeaseExpired", "LeaseRevoked", "ConditionAwaited")
_DENIED: Final = {
    "held": "it was asked for with wait_ms=0: to try once",
    "timeout": "it waited as long as it had said it would",
    "would_self_deadlock": "its own call chain holds it, and would wait for itself",
    "queue_full": "the queue is full",
    "permits": "it is shared by another number of permits",
}


def _in_the_way(case: Case) -> list[Reason]:
    """Who holds it, and who waits and came before."""
    holders, me = case.listed("holders"), case.data.get("request")
    found = [_held(case, holder) for holder in holders[:LISTED_MAX]]
    found += _more(len(holders) - LISTED_MAX, "holder")
    found += [kept(case, pin) for pin in case.listed("pins") if pin["token"] not in {one["token"] for one in holders}]
    mine = case.data.get("priority", 0)
    ahead = [one for one in case.listed("waiters") if one["request"] != me and one.get("priority", 0) >= mine]
    found += [_ahead(case, waiter) for waiter in ahead[:LISTED_MAX]]
    return found + _more(len(ahead) - LISTED_MAX, "request before it in the queue")


def _held(case: Case, holder: dict[str, Any]) -> Reason:
    permits = holder.get("permits")
    how = "" if permits is None else " as a reader" if permits == 0 else f" as one of {permits}"
    left_ms = holder["deadline_ms"] - case.now_ms
    lease = f"its lease had {span(left_ms)} left" if left_ms > 0 else f"its lease was over {span(-left_ms)} ago"
    return Reason(
        f"{holder['agent']} held it{how}: token {holder['token']}, granted {case.ago(holder['granted_ms'])} before at "
        f"{clock(holder['granted_ms'])}; {lease}",
        case.granted(holder["token"]),
    )


def kept(case: Case, pin: dict[str, Any]) -> Reason:
    """A transaction whose outcome comes first."""
    pinned = case.last("LeasePinned", transaction=pin["transaction"])
    text = f"transaction {pin['transaction']} of {pin['agent']} is being committed under it: token {pin['token']}"
    return Reason(f"{text}, which is held no more", where(pinned))


def _ahead(case: Case, waiter: dict[str, Any]) -> Reason:
    queued = case.last("LockQueued", request=waiter["request"])
    more = f", priority {waiter['priority']}" if waiter.get("priority") else ""
    return Reason(f"{waiter['agent']} waited before it, since {clock(waiter['since_ms'])}{more}", where(queued))


def _more(count: int, noun: str) -> list[Reason]:
    return [Reason(f"and {count} more {noun}{'s' * (count != 1)}")] if count > 0 else []


def _denied(case: Case) -> list[Reason]:
    why = _DENIED.get(case.data["reason"], case.data["reason"])
    queued = case.last("LockQueued", request=case.data["request"])
    waited = "" if queued is None else f", {case.ago(queued.data['since_ms'])} in the queue"
    return [Reason(why + waited, where(queued)), *_in_the_way(case)]


def _granted(case: Case) -> list[Reason]:
    queued = case.last("LockQueued", request=case.data["request"])
    if queued is None:
        return [Reason("nobody held it" if not case.listed("holders") else "there was room beside those who hold it")]
    found = [
        Reason(
            f"it was first in the queue, in which it had waited {case.ago(queued.data['since_ms'])}", queued.position
        )
    ]
    return found + [_ended(case, one) for one in case.decided if one.event in _ENDS]


def _ended(case: Case, event: TimelineEvent) -> Reason:
    how = {
        "LockReleased": "released it", "LeaseExpired": "lost it when its lease ended",
        "ConditionAwaited": "gave it back to wait for a notice", "LeaseRevoked": "had it taken away",
    }[event.event]  # fmt: skip
    return Reason(f"{event.agent} {how}: token {event.data['token']}", case.granted(event.data["token"]))


def _expired(case: Case) -> list[Reason]:
    token = case.data["token"]
    renewed = case.last("LeaseRenewed", token=token)
    held = case.last("LockGranted", token=token)
    since = renewed or held
    what = "it was renewed last" if renewed else "it was granted, and never renewed"
    found = [] if since is None else [Reason(f"{what} for {span(since.data['lease_ms'])}", since.position)]
    late_ms = case.now_ms - case.data["deadline_ms"]
    after = "" if late_ms <= 0 else f", {span(late_ms)} before the log's next record for this lock"
    return [*found, Reason(f"its lease ended at {clock(case.data['deadline_ms'])}{after}")]


def _not_the_holder(case: Case) -> list[Reason]:
    token = case.data["token"]
    ended = case.last(*_ENDS, token=token)
    lost = case.last("LockGranted", token=token)
    found = []
    if ended is not None:
        found.append(Reason(f"token {token} had ended: {ended.event}", ended.position))
    elif lost is None:
        found.append(Reason(f"token {token} was never granted for this lock, as far as its history was looked at"))
    return found + [_held(case, holder) for holder in case.listed("holders")[:LISTED_MAX]]


def _no_pin(case: Case) -> list[Reason]:
    why = Reason(f"{case.data['reason']}: {case.data['description']}")
    return [why, *(_not_the_holder(case) if case.data["reason"] == "not_holder" else [])]


def _stale(case: Case) -> list[Reason]:
    data = case.data
    found = [Reason(f"{data['resource']} had seen token {data['highest_token']}", case.granted(data["highest_token"]))]
    ended = case.last(*_ENDS, token=data["token"])
    if ended is not None:
        found.append(Reason(f"token {data['token']} had ended: {ended.event}", ended.position))
    return found


def broken(case: Case) -> list[Reason]:
    """The ring of waits of which one had to give way."""
    return [
        Reason(f"{wait['agent']} waited for {wait['holder']}: {wait['name']} (token {wait['token']})")
        for wait in case.data["cycle"]
    ]


REASONS: Final[Reasons] = {
    "LockQueued": _in_the_way,
    "LockDenied": _denied,
    "LockGranted": _granted,
    "LeaseExpired": _expired,
    "ReleaseRefused": _not_the_holder,
    "RenewalRefused": _not_the_holder,
    "PinRefused": _no_pin,
    "StaleWriteRefused": _stale,
    "DeadlockBroken": broken,
}
