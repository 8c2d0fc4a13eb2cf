"""A process of `test_order_on_kafka`: subscribes, notes what it is given, and dies where it is told to.

    python -m tests.agents.order_member FILE NAMES GROUP DIES_AFTER

It kills itself once FILE has `DIES_AFTER` lines, before the event that was noted last counts as done.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from accord import Event, sync


def declare(hub: sync.Accord, seen: Path, names: list[str], group: str, dies_after: int | None = None) -> None:
    """Subscribes from the start of the log, to the names with causes first and to the group."""
    lock = threading.Lock()

    def note(event_data: Any, event: Event) -> None:
        with lock, seen.open("a+") as file:
            file.write(f"{'causal' if event.number is None else event.number} {event.id} {event.redelivered:d}\n")
            file.flush()
            file.seek(0)
            if dies_after is not None and len(file.readlines()) >= dies_after:
                os.kill(os.getpid(), signal.SIGKILL)

    hub.when(names, name="judge", order="causal", since="start")(note)
    hub.when(group=group, name="reader", since="start")(note)


if __name__ == "__main__":
    file, names, group, dies_after = sys.argv[1:]
    with sync.Accord(agent="member") as hub:
        declare(hub, Path(file), names.split(","), group, int(dies_after))
        print("ready", flush=True)
        threading.Event().wait()
