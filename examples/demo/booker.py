"""An agent: books rooms for its guests, against others who want the same ones.

Plain blocking code, as the client of a payment service is. Paused for longer than its lease it would go on where it
stopped and write: what the hotel then sees is its old token.
"""

from __future__ import annotations

import argparse
import os
import queue
import sys
from typing import Any

from hotel import Desk

import accord
from accord import coordinate, emit, when

AGENT = os.environ["ACCORD_AGENT"]
LEASE_MS = 2_000
RESEARCH_S = 60.0

desk = Desk(os.environ["HOTEL_URL"], AGENT)


@coordinate("hotel_booker", lock_name="room_{room}", lease_ms=LEASE_MS)
def book(room: str, guest: str) -> dict[str, Any]:
    """Books a room for a guest, if it is free. One agent at a time is in here for a room."""
    return reserve(room, guest, accord.grant().token)


@coordinate("hotel_booker")
def book_without_lock(room: str, guest: str) -> dict[str, Any]:
    """The same, and nobody takes turns."""
    return reserve(room, guest, None)


def reserve(room: str, guest: str, token: int | None) -> dict[str, Any]:
    """Looks, pays, writes: between the first and the last, much can happen."""
    if desk.guest_of(room) is not None:
        return {"room": room, "guest": guest, "booked": False}
    under = f" (token {token})" if token is not None else ""
    say(f"room {room} is free{under}; pays for {guest}")
    emit("payment_started", {"room": room, "guest": guest})
    desk.pay(room)
    desk.book(room, guest, token)
    say(f"booked room {room} for {guest}")
    return {"room": room, "guest": guest, "booked": True}


def serve(guest: str, rooms: list[str], *, locks: bool) -> bool:
    """Tries one room after the other for a guest."""
    for room in rooms:
        try:
            if (book if locks else book_without_lock)(room, guest)["booked"]:
                return True
        except accord.Refused as error:
            say(f"{error.code}: {error}")
    return False


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rooms", required=True, help="as 12,14: the first is tried first")
    parser.add_argument("--guests", required=True, help="as Iris,Jon")
    parser.add_argument("--no-locks", action="store_true")
    options = parser.parse_args()
    found: queue.Queue[str] = queue.Queue()

    # A name of its own for each agent: handlers of one name share the events.
    @when("hotel_researcher_complete", name=f"{AGENT}_hears_of_the_hotel")
    def on_hotel(event_data: Any) -> None:
        found.put(event_data["result"]["hotel"])

    with accord.sync.Accord() as hub:
        say("ready")
        found.get(timeout=RESEARCH_S)
        turned_away = 0
        for guest in options.guests.split(","):
            turned_away += not serve(guest, options.rooms.split(","), locks=not options.no_locks)
        say(f"is through; {turned_away} guest{'s' * (turned_away != 1)} without a room")
        hub.drain()


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        main()
    except accord.AccordError as error:
        sys.exit(f"{error.code}: {error}")
    except queue.Empty:
        sys.exit("heard of no hotel")
