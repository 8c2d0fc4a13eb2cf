"""What follows from decisions: after them, in order, at least once, and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest
from accord.streams.runtime import followups
from accord.streams.runtime.followups import UNSENT_MAX, Addressed, Followups
from accord.streams.runtime.output import Outgoing, Report
from confluent_kafka import KafkaError, KafkaException

Sent = tuple[str, int, bytes]


class Output:
    """A producer whose reports the test gives."""

    def __init__(self) -> None:
        self.number = 0
        self.sent: list[Sent] = []
        self.reports: list[Report] = []
        self.unknown: str | None = None
        """Sending to this topic raises."""
        self.fatal_at: str | None = None
        """Sending to this topic ends the producer; what it holds is reported as failed."""

    def send_all(self, topic: str, partition: int, records: Sequence[Outgoing], report: Report) -> None:
        if topic == self.unknown:
            raise KafkaException(KafkaError(KafkaError._UNKNOWN_TOPIC))
        self.reports.append(report)
        if topic == self.fatal_at:
            self.number += 1
            return
        self.sent += [(topic, partition, value) for _, value, _ in records]

    def report(self, offset: int | None = 1, count: int | None = None) -> None:
        """Reports the oldest sendings, or all."""
        due, self.reports = self.reports[:count], self.reports[count or len(self.reports) :]
        for report in due:
            report(offset)


def records(*values: str, topic: str = "inbox") -> Callable[[], list[Addressed]]:
    """Each value goes to the partition of its first character: `1a`."""
    return lambda: [Addressed(topic, int(value[0]), b"", value.encode(), []) for value in values]


def values(output: Output) -> list[str]:
    return [value.decode() for _, _, value in output.sent]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(followups, "RETRY_S", 0.0)


def made() -> tuple[Output, Followups]:
    output = Output()
    return output, Followups(output, lambda: None)  # type: ignore[arg-type]


def test_nothing_goes_before_its_decision_is_confirmed() -> None:
    output, following = made()
    following.add(3, records("0a"))
    following.add(5, records("0b"))
    following.send(2)
    assert values(output) == []
    following.send(4)
    assert values(output) == ["0a"]
    following.send(5)
    assert values(output) == ["0a", "0b"]


def test_done_means_acknowledged_in_every_partition_and_says_so_under_load() -> None:
    output, following = made()
    following.add(3, records("0a", "1a", "0b"))
    following.add(5, records("0c"))
    assert not following.done(3)
    assert following.done(2)
    following.send(5)
    output.report(count=1)
    assert not following.done(3), "the record in the other partition may be lost"
    output.report(count=1)
    assert following.done(4), "though later ones are under way"
    assert not following.done(5)
    output.report()
    assert following.done(99)


def test_followed_is_what_is_acknowledged_of_all_that_is_confirmed() -> None:
    output, following = made()
    assert following.followed(7) == 7, "from nothing follows nothing"
    following.add(3, records("0a"))
    following.add(9, records("0b"), first=5)
    assert following.followed(2) == 2
    assert following.followed(7) == 2
    following.send(7)
    assert following.followed(7) == 2, "it is on its way"
    output.report()
    assert following.followed(7) == 4, "what follows from 5 to 9 goes together"
    following.send(9)
    output.report()
    assert following.followed(9) == 9


def test_what_has_no_records_holds_nothing_up() -> None:
    output, following = made()
    for seq in range(5_000):
        following.add(seq, records())
    following.add(5_000, records("0a"))
    following.send(5_000)
    assert values(output) == ["0a"]
    assert following.done(4_999)


def test_what_failed_is_sent_again_before_anything_later(quick: None) -> None:
    async def run() -> None:
        output, following = made()
        for seq, value in enumerate(["0a", "0b", "0c"], start=1):
            following.add(seq, records(value))
        following.send(2)
        output.report(None, count=1)
        following.send(3)
        assert values(output) == ["0a", "0b"], "0c must not overtake what is sent again"
        output.report(count=1)
        await asyncio.sleep(0.01)
        assert values(output) == ["0a", "0b", "0a", "0b", "0c"]
        assert not following.done(1)
        output.report()
        assert following.done(3)

    asyncio.run(run())


def test_a_new_producer_waits_for_the_reports_of_the_old_one(quick: None) -> None:
    """What the old one held may have failed: the new one's records would come before it."""

    async def run() -> None:
        output, following = made()
        following.add(1, records("0a"))
        following.add(2, records("0b"))
        following.send(1)
        output.number += 1
        following.send(2)
        assert values(output) == ["0a"]
        output.report(None)
        await asyncio.sleep(0.01)
        assert values(output) == ["0a", "0a", "0b"]

    asyncio.run(run())


def test_a_producer_that_ends_in_the_middle_takes_the_rest_along(quick: None) -> None:
    async def run() -> None:
        output, following = made()
        output.fatal_at = "broken"
        parts = [*records("0a")(), *records("0x", topic="broken")(), *records("1a")()]
        following.add(1, lambda: parts)
        following.send(1)
        assert values(output) == ["0a"], "1a would overtake what the old producer held for that partition"
        output.fatal_at = None
        output.report(None)
        await asyncio.sleep(0.01)
        assert values(output) == ["0a", "0a", "0x", "1a"]

    asyncio.run(run())


def test_a_topic_that_the_producer_does_not_know_is_tried_again(quick: None) -> None:
    async def run() -> None:
        output, following = made()
        output.unknown = "gone"
        parts = [*records("0a")(), *records("0x", topic="gone")()]
        following.add(1, lambda: parts)
        following.add(2, records("0b"))
        following.send(2)
        assert values(output) == ["0a"]
        output.unknown = None
        output.report()
        await asyncio.sleep(0.01)
        assert values(output) == ["0a", "0a", "0x", "0b"]
        output.unknown = "gone"
        following.add(3, records("0y", topic="gone"))
        output.report()
        following.send(3)
        output.unknown = None
        await asyncio.sleep(0.01)
        output.report()
        assert following.done(3)

    asyncio.run(run())


def test_at_the_bound_there_is_no_room() -> None:
    output, following = made()
    assert following.has_room(10**9), "nothing is under way"
    following.add(7, records("0a"))
    following.send(7)
    assert following.has_room(6 + UNSENT_MAX)
    assert not following.has_room(7 + UNSENT_MAX)
    output.report()
    assert following.has_room(7 + UNSENT_MAX)


def test_a_bug_in_what_is_made_loses_nothing() -> None:
    _, following = made()
    following.add(1, lambda: [1 / 0])  # type: ignore[list-item]
    with pytest.raises(ZeroDivisionError):
        following.send(1)
    assert not following.done(1)
