"""A process that votes or proposes and kills itself, -9, at a named point: `python -m tests.agents.ballot_member POINT
KEY CALLS`, settings from the environment. Each time that it is asked for its vote is a line in the file CALLS.

Points of a voter: `asked` (the signal has come), `answering` (its model thinks), `told` (its vote is on its way),
`recorded` (the log has it). `proposed` is the proposer's: the log has the proposal.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accord.agents.proposals.proposal import Proposal
from accord.agents.proposals.voting import Question, Voting

from accord import Accord

POINTS = ("asked", "answering", "told", "recorded")
VOTERS = ["ada", "bob", "cleo"]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Dying(Voting):
    """A voter that dies at a point."""

    point: str
    key: str
    """The proposal at which it dies; it may be asked again about others."""

    async def _asked(self, asked: Mapping[str, Any]) -> None:
        if asked["proposal"] != self.key:
            return
        if self.point == "asked":
            die()
        await super()._asked(asked)

    async def _vote(self, proposal: Proposal, question: Question) -> None:
        submit = proposal._hub.connection.submit

        def told(*arguments: Any, **terms: Any) -> Any:
            submission = submit(*arguments, **terms)
            if self.point == "told":
                proposal._hub.connection._sender.close(5)  # type: ignore[union-attr]
                die()
            return submission

        proposal._hub.connection.submit = told  # type: ignore[method-assign]
        await super()._vote(proposal, question)
        if self.point == "recorded":
            die()


async def main(point: str, key: str, calls: Path) -> None:
    def vote(question: Question) -> str:
        with calls.open("a") as file:
            file.write(f"{question.proposal}\n")
        if point == "answering":
            die()
        return "no"

    if point == "proposed":
        async with Accord(agent="ada") as hub:
            await hub.propose("is ada there?", voters=VOTERS, key=key)
            die()
    async with Accord(agent="bob") as hub:
        voting = Dying(hub, vote, None)
        voting.point, voting.key = point, key
        async with voting:
            print("ready", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
