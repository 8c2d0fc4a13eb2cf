"""A process that drives a pattern and kills itself, -9, at a named point: `python -m tests.agents.patterns.driver
PATTERN KEY POINT`, settings from the environment. What came of it is printed as JSON.

The patterns are `roles` and `supervisor`, their agents work elsewhere. Points: `begun:N` (the N-th call is on the log),
`ended:N` (the driver has its outcome), `emitted:N` (the N-th event is on the log, that it was is not), and `never`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from typing import Any

from accord.agents.patterns import Roles, Supervisor, flow, publishing
from accord.agents.signals.plain import plain
from accord.agents.tasks import call

from accord import Accord

WORKERS = ("alice", "bob", "carol")
TIMEOUT_MS = 2_000
"""Of the supervisor's workers."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying_at(point: str) -> None:
    """Has this process die there."""
    what, _, at = point.partition(":")
    left = {"begun": 0, "ended": 0, "emitted": 0, what: int(at or 0)}

    def passes(kind: str) -> None:
        left[kind] -= 1
        if left[kind] == 0:
            die()

    submit, emit_on, made = call.submit, publishing.emit_on, flow.call

    async def submitting(*args: Any, **terms: Any) -> Any:
        handle = await submit(*args, **terms)
        passes("begun")
        return handle

    async def calling(*args: Any, **terms: Any) -> Any:
        called = await made(*args, **terms)
        passes("ended")
        return called

    async def emitting(*args: Any, **terms: Any) -> Any:
        position = await emit_on(*args, **terms)
        passes("emitted")
        return position

    call.submit, flow.call, publishing.emit_on = submitting, calling, emitting  # type: ignore[assignment]


async def main(pattern: str, key: str) -> Any:
    async with Accord(agent="driver"):
        if pattern == "roles":
            roles = Roles(planners=["planner"], executors=["ann", "ben"], reviewers=["rex"], integrators=["ivy"])
            return plain(await roles.run("a shop", key=key, timeout_ms=60_000))
        supervisor = Supervisor(WORKERS, timeout_ms=TIMEOUT_MS)
        results = await supervisor.route_and_execute("what is six times seven?", WORKERS, key=key)
        found = await supervisor.resolve(results, key=key)
        return plain({"results": results, "log": list(supervisor.log), **found})


if __name__ == "__main__":
    dying_at(sys.argv[3])
    print(json.dumps(asyncio.run(main(sys.argv[1], sys.argv[2]))))
