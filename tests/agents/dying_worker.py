"""A worker that kills itself, -9, at a point of the log: `python -m tests.agents.dying_worker EVENT`, settings from the
environment.

It dies when it knows that its first decision with this event is in the log; what follows from it, it has not sent.
Without an EVENT it is an ordinary worker.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from accord.schemas.messages import Event
from accord.streams.runtime.consequences import Consequences
from accord.streams.runtime.followups import Addressed
from accord.streams.runtime.worker import run

from accord.settings import Settings


def die() -> list[Addressed]:
    os.kill(os.getpid(), signal.SIGKILL)
    return []


def let_die(event: str) -> None:
    build, notify = Consequences.of, Consequences.notify

    def is_there(events: Sequence[Event]) -> bool:
        return any(type(one).__name__ == event for one in events)

    def built(
        self: Consequences, identity: Any, decision: Any, events: Sequence[Event], command: Any
    ) -> list[Addressed]:
        return die() if is_there(events) else build(self, identity, decision, events, command)

    def notified(self: Consequences, owned: Any, decided: Any) -> None:
        for decision, events in decided:
            if is_there(events) and not self.any_of(decision):
                owned.followups.add(decision.seq, die)
        notify(self, owned, decided)

    Consequences.of, Consequences.notify = built, notified  # type: ignore[method-assign]


if __name__ == "__main__":
    if sys.argv[1:]:
        let_die(sys.argv[1])
    sys.exit(run(Settings.load()))
