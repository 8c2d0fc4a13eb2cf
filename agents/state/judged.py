"""A write that is in conflict with another one, put before a judge.

Who wrote first is not always who is right. So what was to be written and what is there are compared as findings are
(`accord.agents.conflicts`): judges are asked, a judgement with too little confidence or a tie goes to the ground's
authority, and all of it is on the log.

Rules that act here:
- A judgement for the new value is applied by compare-and-set, to the version that was judged: if that has changed too,
  it is judged anew, `JUDGED_MAX` times in all.
- Whatever is no judgement leaves what is there: no judge, silence, the rule standing in for one, no time left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from accord.agents.conflicts.findings import compare

from accord.errors import CircularTrigger, Overloaded, Unavailable, VersionConflict

if TYPE_CHECKING:
    from accord.agents.hub import Hub
    from accord.agents.state.scope import Rule, Scope
    from accord.agents.state.values import Versioned

JUDGED_MAX: Final = 3
WAIT_MS: Final = 60_000
"""How long to wait for one resolution: longer than judges have, unless the ground's terms say otherwise."""
RULE: Final = "judged"
"""What is on record as the function that made the value; its version is the id of the conflict."""
METHODS: Final = ("model", "authority")
"""Those of judgements; else the rule has decided, which knows nothing of values."""


def ground_of(scope: str) -> str:
    """The ground on which writes to a scope are judged unless another is named."""
    return f"state/{scope}"


async def put_judged(
    hub: Hub, scope: Scope, key: str, value: Any, if_version: int, *, ground: str | None, wait_ms: int
) -> Versioned:
    """`Scope.put_judged`, on any hub."""
    version, rule = if_version, None  # type: int, Rule | None
    for _ in range(JUDGED_MAX):
        try:
            return await _put(scope, key, value, version, rule)
        except VersionConflict as conflict:
            now = await scope.get(key)
            rule = await _judged(hub, scope, key, value, now, if_version, conflict, ground, wait_ms)
            if rule is None:
                return now
            version = now.version
    return await _put(scope, key, value, version, rule)


async def _put(scope: Scope, key: str, value: Any, version: int, rule: Rule | None) -> Versioned:
    if rule is None:
        return await scope.put(key, value, if_version=version)
    return await scope.replace(key, value, version, rule)


async def _judged(
    hub: Hub,
    scope: Scope,
    key: str,
    value: Any,
    now: Versioned,
    read: int,
    conflict: VersionConflict,
    ground: str | None,
    wait_ms: int,
) -> Rule | None:
    """Has the new value judged against what is there; returns what is recorded of it if it wins, None if both are the
    same.

    Raises:
        VersionConflict: it does not.
    """
    there = f"version {now.version}"
    about = {"scope": scope.name, "key": key}
    mine = {"agent": hub.agent, "recommendation": _state(value, exists=True), **about, "read_version": read}
    theirs = {"agent": there, "recommendation": _state(now.value, exists=now.exists), **about}
    try:
        comparison = await compare(hub, [mine, theirs], ground=ground or ground_of(scope.name), key=None)
        try:
            found = await comparison.result(wait_ms=wait_ms)
        finally:
            comparison.forget()
    except (Unavailable, Overloaded, CircularTrigger) as error:
        raise _refused(conflict, f"it was not judged: {error}", None) from error
    resolution = found.get("resolution")
    if resolution is None:
        return None
    if resolution["fallback"] or resolution["method"] not in METHODS:
        raise _refused(conflict, f"nobody has judged it ({resolution['fallback'] or resolution['method']})", resolution)
    if resolution["winner"] != hub.agent:
        text = f"{resolution['by']} has judged that {there} stays: {resolution['reasoning']}"
        raise _refused(conflict, text, resolution)
    return RULE, str(resolution["conflict"])


def _state(value: Any, *, exists: bool) -> dict[str, Any]:
    """A value as a recommendation: one that is null is no less an opinion than one that is not there."""
    return {"value": value} if exists else {"deleted": True}


def _refused(conflict: VersionConflict, why: str, resolution: dict[str, Any] | None) -> VersionConflict:
    """The conflict, with what came of judging it."""
    text = str(conflict).removesuffix(conflict.remedy).rstrip(". ")
    more = conflict.details | {"resolution": resolution}
    return VersionConflict(f"{text}; {why.rstrip('. ')}.", key=conflict.key, position=conflict.position, **more)
