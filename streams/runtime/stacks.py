"""What a worker's tasks wait for, as text: for whoever looks at one that seems to stand still (`kill -USR1 PID`)."""

from __future__ import annotations

import asyncio
import sys
import traceback
from collections.abc import Iterator
from types import FrameType
from typing import Any


def stacks(*loops: asyncio.AbstractEventLoop) -> str:
    """The stack of every thread, and of every task of these event loops, outermost first."""
    lines: list[str] = []
    for ident, frame in sys._current_frames().items():
        lines += [f"thread {ident}\n", *traceback.format_stack(frame)]
    for task in [task for loop in loops for task in asyncio.all_tasks(loop)]:
        lines.append(f"task {task.get_name()}\n")
        for waiting in _awaited(task.get_coro()):
            lines += traceback.format_stack(waiting, limit=1)
    return "".join(lines)


def _awaited(awaitable: Any) -> Iterator[FrameType]:
    """The frames from a coroutine down to what it waits for."""
    while awaitable is not None:
        for kind in ("cr", "gi", "ag"):
            frame = getattr(awaitable, f"{kind}_frame", None)
            if frame is not None:
                yield frame
                awaitable = getattr(awaitable, "gi_yieldfrom" if kind == "gi" else f"{kind}_await", None)
                break
        else:
            return
