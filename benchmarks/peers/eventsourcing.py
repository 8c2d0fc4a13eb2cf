"""The library `eventsourcing`: locks as its aggregates, recorded by its SQLite module, their states projected again.

Its history is the same as ours: every lock is acquired, then every lock released, again and again; an event each. What
it does not do, and ours does: headers, vector clocks, a chain of hashes, a broker between.
"""

from __future__ import annotations

import time
from typing import Any, Final

from benchmarks.peers.peer import directory, lacking

PAGE: Final = 1_000
MODULE: Final = "eventsourcing"


def missing() -> str | None:
    """What is not installed; None: it can run."""
    return lacking(MODULE)


def replay_rate(count: int, locks: int) -> float:
    """Events a second, from the recorder through its mapper into aggregates.

    Raises:
        RuntimeError: the aggregates are not what the history makes of them.
    """
    from eventsourcing.application import Application  # noqa: PLC0415
    from eventsourcing.domain import Aggregate, event  # noqa: PLC0415

    class Lock(Aggregate):
        @event("Opened")
        def __init__(self, name: str) -> None:
            self.name, self.holder, self.token = name, "", 0

        @event("Granted")
        def grant(self, request: str, agent: str, owner: str, token: int, lease_ms: int, deadline_ms: int) -> None:
            self.holder, self.token = agent, token

        @event("Released")
        def release(self, agent: str, token: int) -> None:
            self.holder = ""

    with directory() as place:
        application = Application(
            env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(place / "history.db")}
        )
        try:
            return _rate(application, Lock, count, locks)
        finally:
            application.close()


def _rate(application: Any, lock_type: Any, count: int, locks: int) -> float:
    made = [lock_type(name=f"room-{number}") for number in range(locks)]
    rounds = max(1, count // (2 * locks))
    for token in range(1, rounds + 1):
        for number, lock in enumerate(made):
            agent = f"agent-{number % 8}#5f2c"
            lock.grant(f"{token:032x}", agent, f"{agent}:{token}", token, 3_600_000, 1_772_000_000_000 + token)
            lock.release(agent, token)
        application.save(*made)

    states: dict[object, Any] = {}
    seen, following = 0, 1
    began = time.perf_counter()
    while found := application.recorder.select_notifications(following, PAGE):
        for notification in found:
            happened = application.mapper.to_domain_event(notification)
            states[happened.originator_id] = happened.mutate(states.get(happened.originator_id))
        seen, following = seen + len(found), found[-1].id + 1
    rate = seen / (time.perf_counter() - began)
    if seen != locks * (2 * rounds + 1) or {getattr(lock, "token", 0) for lock in states.values()} != {rounds}:
        raise RuntimeError(f"{seen} events made {len(states)} locks that are not as they should be")
    return rate
