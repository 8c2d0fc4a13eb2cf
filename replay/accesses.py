"""Which events say that something shared was read or written: what races are looked for in.

What accord decides itself cannot be raced for: the commands to one lock or task take turns in its partition. Races are
about what lies behind it, so an event counts only if it tells of that:

    signals   SignalEmitted      its data names what was touched: {"writes": "rooms/12"}, {"reads": ["rooms/12", ...]}
    signals   SignalEmitted      NAME_started, NAME_complete and NAME_failed of `coordinate`: a body that ran
    locks     StaleWriteRefused  a `FencedResource` refused a write with an outdated token
    limits    StaleWriteRefused  as for locks
    limits    PoolConfigured     the terms of a pool were written
    state     ChangesCommitted   keys were put or deleted; one that names the version that it replaces was told of it
    transactions  PrepareAsked   as for state, in several scopes, if it was committed; ChangesEnlisted likewise
    tasks     ResultIgnored      the result of a run came after another had taken the step over
    auctions  ResultIgnored      as for tasks

A domain that has more adds a line to `ACCESSES`, `STALE` or `BODIES`. Artifacts are not there: one that was put is
never changed, and two that are alike are one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import msgspec
from accord.replay.timeline import TimelineEvent

Kind = Literal["read", "write"]

NAMES_MAX: Final = 32
"""Resources that one signal may name; the rest is not looked at."""


class Access(msgspec.Struct, frozen=True):
    """A resource that was read or written. Two writes of the same `value` do not disagree; None: it is not known."""

    kind: Kind
    resource: str
    value: Any = None


class Stale(msgspec.Struct, frozen=True):
    """A write or a result that was refused, for its token had passed on. `later` is the token that had come meanwhile,
    if it is known."""

    resource: str
    token: int
    later: int | None


class Body(msgspec.Struct, frozen=True):
    """The beginning or the end of a coordinated body. `lock` and `token` are None for one without a lock."""

    name: str
    ended: bool
    lock: str | None
    token: int | None


def accesses(event: TimelineEvent) -> list[Access]:
    """What an event says was read or written."""
    found = _of(ACCESSES, event)
    return found(event) if found is not None else []


def stale(event: TimelineEvent) -> Stale | None:
    """The outdated write that an event says was refused."""
    found = _of(STALE, event)
    return found(event) if found is not None else None


def body(event: TimelineEvent) -> Body | None:
    """The coordinated body that an event says began or ended."""
    found = _of(BODIES, event)
    return found(event) if found is not None else None


def tells(domain: str) -> bool:
    """Whether events of a domain can tell of what is shared."""
    return any(domain in table for table in (ACCESSES, STALE, BODIES))


def _of(table: Mapping[str, Mapping[str, Any]], event: TimelineEvent) -> Any:
    return table.get(event.position.partition("/")[0], {}).get(event.event)


def _data(event: TimelineEvent) -> dict[str, Any]:
    """A signal's own data."""
    data = event.data.get("data")
    return data if isinstance(data, dict) else {}


def _named(event: TimelineEvent) -> list[Access]:
    data = _data(event)
    return [Access("read", name) for name in _names(data.get("reads"))] + [
        Access("write", name) for name in _names(data.get("writes"))
    ]


def _names(told: Any) -> list[str]:
    listed = told if isinstance(told, list) else [told]
    return [name for name in listed if isinstance(name, str) and name][:NAMES_MAX]


def _configured(event: TimelineEvent) -> list[Access]:
    terms = {name: value for name, value in event.data.items() if name not in ("agent", "configured_ms")}
    return [Access("write", f"pool {event.key}", terms)]


def _changed(event: TimelineEvent) -> list[Access]:
    """Counters and sets are merged where they are decided: nobody overwrites anybody."""
    return [
        Access("write", f"{event.key}/{change['key']}", change["value"])
        for change in event.data["changes"]
        if change["operation"] in _OVERWRITES
    ]


def _transacted(event: TimelineEvent) -> list[Access]:
    """What is done if it is committed; whether it was, whoever looks at all of the log knows."""
    return [
        Access("write", f"{of['scope']}/{write['key']}", write["operand"])
        for of in event.data["changes"]
        for write in of["writes"]
        if write["operation"] in _OVERWRITES
    ]


_OVERWRITES: Final = ("put", "delete")


def _refused(event: TimelineEvent) -> Stale | None:
    return Stale(event.data["resource"], event.data["token"], event.data["highest_token"])


def _ignored(event: TimelineEvent) -> Stale | None:
    if event.data["reason"] != "taken_over":
        return None
    step = event.data.get("step")
    return Stale(f"{event.key} {step}" if step else event.key, event.data["token"], None)


_ENDS: Final = {"started": False, "complete": True, "failed": True}


def _body(event: TimelineEvent) -> Body | None:
    data = _data(event)
    name, _, what = event.key.rpartition("_")
    if not name or data.get("status") != what or what not in _ENDS or "lock_wait_ms" not in data:
        return None
    lock, token = data.get("lock"), data.get("token")
    if lock is not None and token is None:
        return None  # it failed without getting its lock: no body ran
    return Body(name, _ENDS[what], lock, token)


ACCESSES: Final[Mapping[str, Mapping[str, Callable[[TimelineEvent], list[Access]]]]] = {
    "signals": {"SignalEmitted": _named, "SignalNumbered": _named},
    "limits": {"PoolConfigured": _configured},
    "state": {"ChangesCommitted": _changed},
    "transactions": {"PrepareAsked": _transacted, "ChangesEnlisted": _transacted},
}
STALE: Final[Mapping[str, Mapping[str, Callable[[TimelineEvent], Stale | None]]]] = {
    "locks": {"StaleWriteRefused": _refused},
    "limits": {"StaleWriteRefused": _refused},
    "tasks": {"ResultIgnored": _ignored},
    "auctions": {"ResultIgnored": _ignored},
}
BODIES: Final[Mapping[str, Mapping[str, Callable[[TimelineEvent], Body | None]]]] = {
    "signals": {"SignalEmitted": _body},
}
