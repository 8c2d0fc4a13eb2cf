"""The log that the document on replay looks at: three agents and a room, and what went wrong with it."""

from __future__ import annotations

from accord.schemas.messages.locks import ReportStaleWrite
from accord.schemas.messages.log import Tick

from tests.histories.crowd import Crowd, token_of


def booking() -> Crowd:
    """Ada is called, takes room_12 and stands still; bob has to wait and gets it when her lease is over. Then she goes
    on: her write is refused, and what she tells of the guest list is a race with bob, who told of it, too."""
    crowd = Crowd(cluster="history-booking", locks=1, signals=2)
    called = crowd.emit("desk", "guest_arrived", guest="lovelace")
    crowd.tell("ada", called, "signals", "guest_arrived")
    ada = token_of(crowd.acquire("ada", "room_12", lease_ms=2_000), "ada")
    crowd.acquire("bob", "room_12", lease_ms=30_000, wait_ms=60_000)
    crowd.acquire("eve", "room_12", wait_ms=0)
    granted = crowd.ask("worker", "room_12", Tick(), after_ms=2_000, told=False)
    crowd.tell("bob", granted, "locks", "room_12")
    bob = token_of(granted, "bob")
    crowd.emit("bob", "guest_listed", told=False, guest="turing", writes="guests")
    crowd.emit("ada", "guest_listed", told=False, guest="lovelace", writes="guests")
    crowd.ask("ada", "room_12", ReportStaleWrite("ada", "rooms/12", ada, bob))
    crowd.release("bob", "room_12", bob)
    return crowd
