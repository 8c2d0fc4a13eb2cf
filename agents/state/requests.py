"""What is asked of a scope: reads and commits, each a command that is answered by its decision."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from accord.agents.connection.connection import Answer
from accord.agents.connection.runtime import current
from accord.agents.operations import Operation
from accord.agents.signals.signals import current_task
from accord.agents.state.values import DOMAIN, commit_refused, key_held, read_refused
from accord.schemas.messages import Command
from accord.schemas.messages.state import (
    ChangesCommitted,
    CommitChanges,
    CommitHeld,
    CommitRefused,
    Entry,
    HistoryRead,
    KeyRead,
    RangeRead,
    ReadHistory,
    ReadKey,
    ReadRange,
    ReadRefused,
)

from accord.tracing import SpanKind

if TYPE_CHECKING:
    from accord.agents.hub import Hub


HELD_WAIT_MS: Final = 10_000
"""How long to try again while a transaction that is being committed holds a key."""
HELD_LEAST_MS: Final = 10
HELD_MOST_MS: Final = 500


async def send(hub: Hub, scope: str, command: Command, name: str) -> Answer:
    """Has a command to a scope decided. Raises what `Connection.submit` raises.

    Args:
        name: what is done, for spans and figures.
    """
    hub.ensure_open(f"state {scope}")
    task = current_task()
    with Operation(hub, name, task, kind=SpanKind.CLIENT, key=scope):
        return await asyncio.wrap_future(hub.connection.submit(DOMAIN, scope, command, task=task).decided)


async def _read(hub: Hub, scope: str, command: Command) -> Any:
    answer = await send(hub, scope, command, "read")
    event = answer.events[-1]
    if isinstance(event, ReadRefused):
        raise read_refused(scope, event, answer)
    return event


async def read_key(hub: Hub, scope: str, key: str, at: int | None) -> KeyRead:
    """A key at a version; None: the newest. Raises SnapshotTooOld, NotFound: it cannot be read at that version."""
    found: KeyRead = await _read(hub, scope, ReadKey(hub.agent, key, at))
    return found


async def read_range(
    hub: Hub, scope: str, prefix: str, at: int | None, *, values: bool
) -> tuple[tuple[Entry, ...], int]:
    """The keys with a prefix, all as at one version, and which that is. Raises what `read_key` raises."""
    page: RangeRead = await _read(hub, scope, ReadRange(hub.agent, prefix, "", values, at))
    entries = list(page.entries)
    while page.more:
        page = await _read(hub, scope, ReadRange(hub.agent, prefix, entries[-1].key, values, page.version))
        entries += page.entries
    return tuple(entries), page.version


async def read_history(hub: Hub, scope: str, key: str, after: int | None) -> tuple[tuple[Entry, ...], int]:
    """The versions of a key after one, or all that are kept; and up to which version of the scope. Raises what
    `read_key` raises."""
    page: HistoryRead = await _read(hub, scope, ReadHistory(hub.agent, key, after))
    entries = list(page.entries)
    while page.more:
        page = await _read(hub, scope, ReadHistory(hub.agent, key, entries[-1].version))
        entries += page.entries
    return tuple(entries), page.version


async def commit(hub: Hub, scope: str, command: CommitChanges) -> ChangesCommitted:
    """Has changes made, all or none.

    Raises:
        VersionConflict, SnapshotTooOld, WrongType, ExceedsCapacity: nothing was changed.
        KeyHeld: a transaction over several scopes has held a key for 10 s, and again each time that it was tried.
        Rejected: the log does not take it, say for its size.
        Degraded, KafkaUnreachable: nobody decides, or no broker answers; it may be decided later.
    """
    waited_ms = 0
    while True:
        answer = await send(hub, scope, command, "commit")
        event = answer.events[-1]
        if isinstance(event, CommitRefused):
            raise commit_refused(scope, event, answer)
        if not isinstance(event, CommitHeld):
            assert isinstance(event, ChangesCommitted)
            return event
        if waited_ms >= HELD_WAIT_MS:
            raise key_held(scope, event, answer, waited_ms)
        pause_ms = min(max(waited_ms, HELD_LEAST_MS), HELD_MOST_MS)
        await asyncio.sleep(current().uniform(0.5, 1) * pause_ms / 1_000)
        waited_ms += pause_ms
