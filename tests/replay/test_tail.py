"""Tail goes on when a broker comes back."""

from __future__ import annotations

from collections.abc import Iterator

from accord.replay.tail import Notice, tail
from accord.replay.timeline import Filter, TimelineEvent

from accord import sync
from accord.embedded import Embedded


def test_an_outage_of_the_broker_is_told_and_waited_out() -> None:
    with Embedded() as running, sync.Accord(agent="ada", settings=running.settings) as hub:
        broker = running._broker
        assert broker is not None
        found = tail(running.settings, Filter())
        notices = [read(found, "following ")]
        hub.lock("room_1").acquire().release()
        assert granted(found, notices) == "room_1"
        broker.set_down(True)
        notices.append(read(found, "no broker answers"))
        broker.set_down(False)
        hub.lock("room_2").acquire().release()
        assert granted(found, notices) == "room_2"
        assert notices[1:] == ["no broker answers; waiting", "reading on"]
        found.close()  # type: ignore[attr-defined]


def read(found: Iterator[TimelineEvent | Notice], wanted: str) -> str:
    """The next notice, which begins so."""
    notice = next(one for one in found if isinstance(one, Notice))
    assert notice.text.startswith(wanted)
    return notice.text


def granted(found: Iterator[TimelineEvent | Notice], notices: list[str]) -> str:
    """The next lock that is granted, and the notices that come before."""
    for one in found:
        if isinstance(one, Notice):
            notices.append(one.text)
        elif one.event == "LockGranted":
            return one.key
    raise AssertionError("the tail has ended")
