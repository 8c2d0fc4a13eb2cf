"""Causes that do not come: when they count as missing, and what becomes of what waits for them."""

from __future__ import annotations

import pytest
from accord.schemas import clock as clocks
from accord.schemas.clock import VectorClock
from accord.streams.signals.causal import CausalBuffer, Missing, Ready

MISSING_AFTER_S = 30.0


def clock(lamport: int, **entries: int) -> VectorClock:
    return VectorClock({name.replace("_", "/"): count for name, count in entries.items()}, lamport)


def waiting() -> CausalBuffer[str]:
    """An effect in partition 1 that waits for decision 5 of partition 0, of which 3 was read."""
    buffer: CausalBuffer[str] = CausalBuffer("signals", (0, 1), MISSING_AFTER_S)
    buffer.tick(0)
    buffer.read(0, 2, clock(3, signals_0=3))
    buffer.read(1, 0, clock(6, signals_0=5, signals_1=6), "effect")
    return buffer


def pass_time(buffer: CausalBuffer[str], seconds: int, paused: tuple[int, ...] = ()) -> None:
    last_s = int(buffer._last_s or 0)
    for now_s in range(last_s + 1, last_s + seconds + 1):
        buffer.tick(now_s, paused)


def test_an_event_is_held_until_its_cause_came() -> None:
    buffer = waiting()
    assert buffer.take() is None and buffer.held(1) == 1
    buffer.read(0, 3, clock(4, signals_0=4))
    assert buffer.take() is None
    buffer.read(0, 4, clock(5, signals_0=5), "cause")
    assert [buffer.take(), buffer.take(), buffer.take()] == [Ready("cause", ()), Ready("effect", ()), None]


def test_a_partition_that_brings_nothing_is_reported_after_the_bound_and_not_before() -> None:
    buffer = waiting()
    pass_time(buffer, 29)
    assert buffer.overdue() is None and not buffer.wants_ends
    pass_time(buffer, 1)
    overdue = buffer.overdue()
    assert overdue == (1, "effect", (Missing("signals/0", 5, 3),))
    assert buffer.take() is None, "it is held until somebody gives the cause up"
    buffer.give_up(overdue)
    assert buffer.take() == Ready("effect", overdue.missing)
    assert buffer.overdue() is None


def test_one_that_is_read_is_not_missing_until_it_was_read_to_its_end() -> None:
    buffer = waiting()
    for offset in range(3, 60):
        pass_time(buffer, 1)
        buffer.read(0, offset, None)
    assert buffer.overdue() is None and buffer.wants_ends
    buffer.know_ends({0: 61, 1: 1})
    assert buffer.overdue() is None
    buffer.read(0, 60, None)
    assert buffer.overdue() == (1, "effect", (Missing("signals/0", 5, 3),))


def test_one_that_is_paused_is_not_missing_and_nor_is_it_in_sleep() -> None:
    buffer = waiting()
    pass_time(buffer, 60, paused=(0,))
    assert buffer.overdue() is None
    buffer = waiting()
    buffer.tick(10_000)
    assert buffer.overdue() is None, "the process stood still"


def test_what_was_given_up_is_not_waited_for_again() -> None:
    """Of a partition that was read to its end up to there, of one that brought nothing until it does."""
    buffer = waiting()
    buffer.read(1, 1, clock(7, signals_0=5, signals_1=7), "second")
    buffer.read(1, 2, clock(8, signals_0=6, signals_1=8), "third")
    pass_time(buffer, 30)
    buffer.know_ends({0: 3, 1: 3})
    overdue = buffer.overdue()
    assert overdue is not None
    buffer.give_up(overdue)
    assert [ready.item for ready in iter(buffer.take, None)] == ["effect", "second"]
    buffer = waiting()
    buffer.read(1, 1, clock(8, signals_0=6, signals_1=8), "second")
    pass_time(buffer, 30)
    overdue = buffer.overdue()
    assert overdue is not None
    buffer.give_up(overdue)
    assert [ready.missing[0].needed for ready in iter(buffer.take, None)] == [5, 6]
    buffer.read(0, 3, clock(4, signals_0=4))
    buffer.read(1, 2, clock(9, signals_0=6, signals_1=9), "third")
    assert buffer.take() is None, "it is read again"


def test_events_that_claim_to_cause_each_other_are_reported() -> None:
    buffer = waiting()
    buffer.read(0, 3, clock(5, signals_0=4, signals_1=9), "other")
    assert buffer.take() is None
    pass_time(buffer, 29)
    assert buffer.overdue() is None
    pass_time(buffer, 1)
    overdue = buffer.overdue()
    assert overdue == (0, "other", (Missing("signals/1", 9, 5),))
    buffer.give_up(overdue)
    assert buffer.take() == Ready("other", overdue.missing)


def test_a_full_clock_waits_for_the_ends_and_a_silent_partition_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "ENTRIES_MAX", 2)

    def held() -> CausalBuffer[str]:
        buffer: CausalBuffer[str] = CausalBuffer("signals", (0, 1), MISSING_AFTER_S)
        buffer.tick(0)
        buffer.read(1, 0, clock(9, ada=1, signals_1=9), "effect")
        return buffer

    buffer = held()
    assert buffer.take() is None and buffer.wants_ends
    buffer.know_ends({0: 1, 1: 1})
    buffer.read(0, 0, clock(3, signals_0=3), "cause")
    assert [ready.item for ready in iter(buffer.take, None)] == ["cause", "effect"]
    buffer = held()
    buffer.know_ends({0: 1, 1: 1})
    buffer.know_ends({0: 7, 1: 7})
    buffer.read(0, 0, None)
    assert buffer.take() == Ready("effect", ()), "what came later cannot have caused it"
    buffer = held()
    buffer.know_ends({0: 1, 1: 1})
    pass_time(buffer, 30)
    overdue = buffer.overdue()
    assert overdue == (1, "effect", (Missing("signals/0", None, 0),))
    buffer.give_up(overdue)
    assert buffer.take() == Ready("effect", overdue.missing)


def test_of_events_with_full_clocks_the_one_with_the_smaller_lamport_time_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also if it has to wait itself: it may be a cause of the other."""
    monkeypatch.setattr(clocks, "ENTRIES_MAX", 2)
    buffer: CausalBuffer[str] = CausalBuffer("signals", (0, 1, 2), MISSING_AFTER_S)
    buffer.read(1, 0, clock(9, ada=1, signals_1=9), "effect")
    buffer.know_ends({0: 1, 1: 1, 2: 1})
    buffer.read(2, 0, None)
    buffer.read(0, 0, clock(5, bob=1, signals_0=5), "cause")
    buffer.know_ends({0: 1, 1: 1, 2: 2})
    assert buffer.take() is None
    buffer.read(2, 1, None)
    assert [ready.item for ready in iter(buffer.take, None)] == ["cause", "effect"]


def test_a_partition_read_to_the_lamport_time_before_has_no_cause_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clocks, "ENTRIES_MAX", 2)
    buffer: CausalBuffer[str] = CausalBuffer("signals", (0, 1), MISSING_AFTER_S)
    buffer.read(1, 0, clock(9, ada=1, signals_1=9), "effect")
    buffer.read(0, 0, clock(7, bob=1, signals_0=7))
    assert buffer.take() is None
    buffer.read(0, 1, clock(8, bob=1, signals_0=8))
    assert buffer.take() == Ready("effect", ())
