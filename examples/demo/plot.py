"""The race: five agents as processes, and what happens to two of them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final, NamedTuple

from cast import Cast
from hotel import Booking, Hotel
from screen import Screen

import accord
from accord.settings import Settings

ROOMS: Final = ("12", "14")
BOOKERS: Final = {
    "ada": ("Iris", "Jon", "Kim"),
    "bob": ("Lea", "Max", "Nia"),
    "cyd": ("Otto", "Pia", "Quinn"),
    "dan": ("Rosa", "Sam", "Tess"),
}
CITY: Final = "Graz"
START_S: Final = 30.0
RACE_S: Final = 45.0
TAKEOVER_S: Final = 20.0


class Played(NamedTuple):
    """A race that is over. `killed` and `paused` are agents."""

    bookings: tuple[Booking, ...]
    hotel: str
    model: str
    killed: str | None
    paused: str | None


class Strikes:
    """What befalls agents while they pay: the first is killed, the second stopped until its room is another's."""

    def __init__(self, screen: Screen) -> None:
        self.cast: Cast
        self.hotel: Hotel
        self.killed: str | None = None
        self.paused: str | None = None
        self._screen = screen
        self._lock = threading.Lock()

    def at_payment(self, agent: str, room: str) -> None:
        """Called by the hotel, on the thread of this payment."""
        with self._lock:
            kill = self.killed is None
            pause = not kill and self.paused is None
            if kill:
                self.killed = agent
            elif pause:
                self.paused = agent
        if kill:
            self._screen.strikes(f"SIGKILL to {agent}, who holds room_{room} and is paying")
            self.cast.kill(agent)
        elif pause:
            self._screen.strikes(f"SIGSTOP to {agent}, who holds room_{room} and is paying")
            self.cast.pause(agent)
            self._screen.says("demo", "nobody renews their leases now")
            self.hotel.wait_until_booked(room, TAKEOVER_S)
            self._screen.strikes(f"SIGCONT to {agent}, who knows nothing of it and goes on")
            self.cast.resume(agent)


def play(screen: Screen, log: AbstractContextManager[tuple[Settings, Mapping[str, str]]], *, locks: bool) -> Played:
    """Runs the race.

    Args:
        log: gives the settings to be on the log with, and the environment of programs that are to be on it.
        locks: whether the bookers take turns; without, nobody is struck either.

    Raises:
        CastError: an agent did not do its part.
    """
    strikes = Strikes(screen)
    chosen: list[dict[str, Any]] = []
    with ExitStack() as stack:
        settings, environment = stack.enter_context(log)
        hotel = strikes.hotel = stack.enter_context(Hotel(ROOMS, strikes.at_payment if locks else lambda *_: None))
        cast = strikes.cast = stack.enter_context(Cast(screen, {**environment, "HOTEL_URL": hotel.url}))
        cast.start("researcher", "researcher.py")
        for number, (booker, guests) in enumerate(BOOKERS.items()):
            rooms = ROOMS if number % 2 == 0 else ROOMS[::-1]
            arguments = ("--rooms", ",".join(rooms), "--guests", ",".join(guests), *([] if locks else ["--no-locks"]))
            cast.start(booker, "booker.py", *arguments)
        hub = stack.enter_context(accord.sync.Accord(agent="hotel", settings=settings))
        hub.when("hotel_researcher_complete", name="hotel_hears_of_its_guests")(
            lambda event_data: chosen.append(event_data["result"])
        )
        cast.wait_ready(START_S)
        screen.says("demo", "five agents are ready, each in its own process")
        screen.says("demo", f"announces a trip to {CITY}")
        hub.emit("trip_requested", {"city": CITY}).wait()
        cast.wait(RACE_S)
        hub.drain()
    return Played(tuple(hotel.bookings), chosen[0]["hotel"], chosen[0]["model"], strikes.killed, strikes.paused)
