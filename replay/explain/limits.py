"""Why capacity was granted, queued for or denied."""

from __future__ import annotations

from typing import Any, Final

from accord.replay.explain import locks
from accord.replay.explain.case import Case, Reason, Reasons, clock, span

_WHY: Final = {
    "amount": "no pool of this size has so much",
    "tokens": "a minute's worth has fewer tokens",
    "role": "its role is not permitted",
    "unknown_pool": "nobody has configured it",
    "would_self_deadlock": "its own call chain holds what it asks for, and would wait for itself",
    "turn": "others were before it",
    "capacity": "too much of it was held",
    "rate": "its rate was used up",
    "paused": "it was paused",
    "queue_full": "the queue is full",
    "timeout": "it waited as long as it had said it would",
}


def _in_the_way(case: Case) -> list[Reason]:
    reason, me = case.data["reason"], case.data.get("request")
    found = [Reason(_WHY.get(reason, reason))]
    holders, waiters = case.listed("holders"), [one for one in case.listed("waiters") if one["request"] != me]
    found += [_held(case, holder) for holder in holders[: locks.LISTED_MAX]]
    if len(holders) > locks.LISTED_MAX:
        found.append(Reason(f"and {len(holders) - locks.LISTED_MAX} more who hold a part of it"))
    gone = {(one["token"], one["request"]) for one in case.listed("kept")}
    found += [locks.kept(case, pin) for pin in case.listed("pins") if (pin["token"], pin["request"]) in gone]
    if waiters:
        names = ", ".join(one["agent"] for one in waiters[: locks.LISTED_MAX])
        found.append(Reason(f"{len(waiters)} waited already: {names}"))
    return found


def _held(case: Case, holder: dict[str, Any]) -> Reason:
    what = "all of it" if holder["exclusive"] else f"{holder['amount']} of it"
    return Reason(
        f"{holder['agent']} held {what}: token {holder['token']}, its lease had "
        f"{span(max(0, holder['deadline_ms'] - case.now_ms))} left",
        case.granted(holder["token"]),
    )


def _no_pin(case: Case) -> list[Reason]:
    ended = case.last("CapacityReleased", "LeaseExpired", token=case.data["token"])
    found = [Reason(f"{case.data['reason']}: {case.data['description']}")]
    if case.data["reason"] == "not_holder" and ended is not None:
        found.append(Reason(f"token {case.data['token']} had ended: {ended.event}", ended.position))
    return found


def _granted(case: Case) -> list[Reason]:
    queued = case.last("CapacityQueued", request=case.data["request"])
    if queued is None:
        return [Reason("there was room for it at once")]
    return [Reason(f"it had waited {span(case.data['waited_ms'])}: {case.data['reason']}", queued.position)]


def _expired(case: Case) -> list[Reason]:
    since = case.last("LeaseRenewed", "CapacityGranted", token=case.data["token"])
    ended = Reason(f"its lease ended at {clock(case.data['deadline_ms'])}")
    return [ended] if since is None else [Reason(f"{since.event} was the last word of it", since.position), ended]


def _stale(case: Case) -> list[Reason]:
    highest = case.data["highest_token"]
    return [Reason(f"{case.data['resource']} had seen token {highest}", case.granted(highest))]


REASONS: Final[Reasons] = {
    "CapacityQueued": _in_the_way,
    "CapacityDenied": _in_the_way,
    "CapacityGranted": _granted,
    "LeaseExpired": _expired,
    "PinRefused": _no_pin,
    "StaleWriteRefused": _stale,
    "DeadlockBroken": locks.broken,
}
