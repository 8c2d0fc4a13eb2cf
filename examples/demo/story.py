"""The race once more, from the log alone: what happened, and whether what was promised was kept.

Nothing here was told by the agents: it is read from the archive, through accord's replay.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from accord.replay.timeline import TimelineEvent
from hotel import Booking

from accord import replay

GRAVE: Final = frozenset({"LeaseExpired", "StaleWriteRefused", "hotel_booker_failed"})


class Row(NamedTuple):
    """A line of the timeline; `after_ms` counts from the first line, `grave` is for what must not pass unseen."""

    after_ms: int
    position: str
    agent: str
    text: str
    grave: bool


class Promise(NamedTuple):
    """Something that is promised, and whether it was kept. `position` is where in the log it can be seen."""

    name: str
    text: str
    kept: bool
    position: str | None = None


class Story:
    """What the log of a race says, read from its archive."""

    def __init__(self, archive: str) -> None:
        with replay.open(archive) as log:
            self.events = [event for event in log.events() if event.time is not None]
        self._holders = {(e.key, e.data["token"]): e for e in self.events if e.event == "LockGranted"}
        completed = [_emitted(event) for event in self.events if event.key == "hotel_booker_complete"]
        in_vain = [call for call in completed if not call["result"]["booked"]]
        self.in_vain_count = len(in_vain)
        self._in_vain = {(call["lock"], call["token"]) for call in in_vain if "lock" in call}
        self._in_vain_requests = {self._holders[at].data["request"] for at in self._in_vain if at in self._holders}

    def rows(self) -> Iterator[Row]:
        """The timeline, without the calls that found their room taken."""
        first = _ms(self.events[0]) if self.events else 0
        before: set[tuple[str, str, bool]] = set()
        for event in self.events:
            told = self._signal(event) if event.event == "SignalEmitted" else self._lock(event)
            if told is not None and told not in before:  # a second release of a lost lock is no news
                before.add(told)
                agent, text, grave = told
                yield Row(_ms(event) - first, event.position, agent, text, grave)

    def _lock(self, event: TimelineEvent) -> tuple[str, str, bool] | None:
        agent, key, data = event.agent or "", event.key, event.data
        if data.get("request") in self._in_vain_requests or (key, data.get("token")) in self._in_vain:
            return None
        match event.event:
            case "LockQueued":
                text = f"waits for {key}, place {data['place']}"
            case "LockGranted":
                text = f"gets {key}, token {data['token']}"
            case "LockReleased":
                text = f"frees {key}"
            case "LeaseExpired":
                text = f"loses {key}: the lease of token {data['token']} ran out"
            case "StaleWriteRefused":
                writer = self._holder(key, data["token"])
                text = f"refuses {writer}'s write to {data['resource']}: "
                text += f"token {data['token']} is older than {data['highest_token']}"
            case "ReleaseRefused" | "RenewalRefused":
                text = f"is told that {key} is no longer its own (token {data['token']})"
            case _:
                return None
        return agent, text, event.event in GRAVE

    def _signal(self, event: TimelineEvent) -> tuple[str, str, bool] | None:
        agent, data = event.agent or "", _emitted(event)
        match event.key:
            case "trip_requested":
                text = f"announces a trip to {data['city']}"
            case "hotel_researcher_complete":
                text = f"chose the {data['result']['hotel']} in {data['duration_ms']} ms"
            case "payment_started":
                text = f"pays for {data['guest']}, room {data['room']}"
            case "hotel_booker_complete" if data["result"]["booked"]:
                text = f"booked room {data['result']['room']} for {data['result']['guest']}"
            case "hotel_booker_failed":
                text = f"failed: {data['error_type']}"
            case _:
                return None
        return agent, text, event.key in GRAVE

    def _holder(self, key: str, token: int) -> str | None:
        grant = self._holders.get((key, token))
        return grant.agent if grant is not None else None

    # -- promises

    def promises(self, bookings: Sequence[Booking], rooms: tuple[str, ...], killed: str, paused: str) -> list[Promise]:
        """What is promised of a race with locks, but for `verify`."""
        return [
            every_room_once(bookings, rooms),
            self._under_lock(bookings),
            self._passed_on("takeover", killed, "was killed"),
            self._passed_on("pause", paused, "was stopped"),
            self._refused(paused),
        ]

    def _under_lock(self, bookings: Sequence[Booking]) -> Promise:
        kept = all(self._holder(f"room_{b.room}", b.token or 0) == b.agent for b in bookings)
        return Promise("fenced", "every booking carries the token that the log granted to its agent", kept)

    def _passed_on(self, name: str, agent: str, how: str) -> Promise:
        """The lease of an agent ran out, and the same lock was granted to another one then."""
        for event in self.events:
            if event.event == "LeaseExpired" and event.agent == agent:
                later = [
                    grant
                    for (key, token), grant in self._holders.items()
                    if key == event.key and token > event.data["token"] and grant.agent != agent
                ]
                if later:
                    next_one = min(later, key=lambda grant: int(grant.data["token"]))
                    later_ms = _ms(next_one) - _ms(event)
                    when = "in the decision that ended the lease" if later_ms == 0 else f"{later_ms} ms after the lease"
                    text = f"{agent} {how}: {next_one.agent} got {event.key} {when}"
                    return Promise(name, text, True, next_one.position)
        return Promise(name, f"{agent} {how}: its lock was not passed on", False)

    def _refused(self, agent: str) -> Promise:
        for event in self.events:
            if event.event == "StaleWriteRefused" and self._holder(event.key, event.data["token"]) == agent:
                text = f"{agent} came back and wrote with token {event.data['token']}: refused"
                return Promise("stale_write", text, True, event.position)
        return Promise("stale_write", f"no write of {agent} was refused", False)


def every_room_once(bookings: Sequence[Booking], rooms: tuple[str, ...]) -> Promise:
    """No double booking, and no room left empty."""
    kept = sorted(booking.room for booking in bookings) == sorted(rooms)
    return Promise("bookings", f"{len(bookings)} bookings = {len(rooms)} rooms", kept)


def _emitted(event: TimelineEvent) -> dict[str, Any]:
    data: dict[str, Any] = event.data["data"]
    return data


def _ms(event: TimelineEvent) -> int:
    assert event.time is not None
    return round(datetime.fromisoformat(event.time).timestamp() * 1_000)
