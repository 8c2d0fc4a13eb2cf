"""A process that takes part in conflicts: `python -m tests.agents.conflict_member ROLE ...`, settings from the
environment.

`claim AGENT GROUND TOPIC OTHER` claims a topic, and the other one if somebody does it already; prints what it does, and
ends when its input does.
`judge POINT GROUND CALLS` judges and kills itself, -9, at a named point; each time that it is asked is a line in the
file CALLS. Points: `asked` (the signal has come), `answering` (its model thinks), `told` (its judgement is on its way),
`recorded` (the log has it).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.agents.conflicts.judging import Judgement, Judging, Matter
from accord.schemas.messages.conflicts import ConflictRead, JudgeConflict

from accord import Accord, ConflictLost

POINTS = ("asked", "answering", "told", "recorded")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Judging):
    """A judge that dies at a point."""

    point: str
    ground: str
    """The ground at whose conflicts it dies; it may be asked again about others."""

    async def _asked(self, asked: Mapping[str, Any]) -> None:
        if asked["ground"] != self.ground:
            return
        if self.point == "asked":
            die()
        await super()._asked(asked)

    async def _answer(self, read: ConflictRead, matter: Matter) -> None:
        submit = self._hub.connection.submit

        def told(domain: str, key: str, command: Any, **terms: Any) -> Any:
            submission = submit(domain, key, command, **terms)
            if self.point == "told" and isinstance(command, JudgeConflict):
                self._hub.connection._sender.close(5)  # type: ignore[union-attr]
                die()
            return submission

        self._hub.connection.submit = told  # type: ignore[method-assign]
        await super()._answer(read, matter)
        if self.point == "recorded":
            die()


async def judge(point: str, ground: str, calls: Path) -> None:
    def judged(matter: Matter) -> Judgement:
        with calls.open("a") as file:
            file.write(f"{matter.ground}\n")
        if point == "answering":
            die()
        return Judgement("b", "37 is prime", 0.9)

    async with Accord(agent="judge-1") as hub:
        judging = Dying(hub, judged, None)
        judging.point, judging.ground = point, ground
        async with judging:
            print("ready", flush=True)
            await asyncio.Event().wait()


async def claim(agent: str, ground: str, topic: str, other: str) -> None:
    async with Accord(agent=agent) as hub:
        for wanted in (topic, other):
            try:
                async with hub.ground(ground).intend("research", topic=wanted):
                    print(wanted, flush=True)
                    await asyncio.to_thread(sys.stdin.read)
                    return
            except ConflictLost as lost:
                print(f"{lost.details['outcome']} {' '.join(lost.details['by'])}", flush=True)


if __name__ == "__main__":
    role, *arguments = sys.argv[1:]
    if role == "judge":
        asyncio.run(judge(arguments[0], arguments[1], Path(arguments[2])))
    else:
        asyncio.run(claim(*arguments))
