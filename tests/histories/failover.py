"""A log of heartbeats: a process that was suspected falsely, fails, and comes back too late; its lock and its place in
the team go to the next."""

from __future__ import annotations

from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.log import Tick
from accord.schemas.messages.roster import Beat, BeginPresence, EndPresence, JoinTeam, Tie
from accord.streams.roster.bounds import FORGET_MS

from tests.histories.office import Office

TIMES = 800, 2_400, 4_000
"""Of a beat, until it is suspected, until it has failed; in ms."""


def failover() -> Office:
    play = Office()
    for agent in ("ada", "bob"):
        play.tell("roster", "default", JoinTeam(agent, f"{agent}/1", ("write",), 1, 60_000))
    request = play.send("role/planner", AcquireLock("ada", "ada/o", 60_000, None)).decision.command_id
    play.send("role/planner", AcquireLock("bob", "bob/o", 60_000, None))
    ties = Tie("roster", "default", "ada/1"), Tie("locks", "role/planner", request)
    play.tell("roster", "ada/77", BeginPresence("ada", *TIMES, ties))
    play.tell("roster", "ada/77", Tick(), after_ms=2_400)
    play.tell("roster", "ada/77", Beat("ada", (), ()), after_ms=100)
    play.tell("roster", "bob/78", BeginPresence("bob", *TIMES, ()))
    play.tell("roster", "ada/77", Tick(), after_ms=4_000)
    play.tell("roster", "ada/77", Beat("ada", (), ()))
    play.tell("roster", "bob/78", EndPresence("bob"))
    play.tell("roster", "ada/77", Tick(), after_ms=FORGET_MS)
    return play
