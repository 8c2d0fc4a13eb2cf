"""How often who may ask: the rate of a caller, and of how many callers it is remembered."""

from __future__ import annotations

import pytest
from accord.agents.service.door import CALLERS_MAX, Rate


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_as_many_at_once_as_a_minute_has_then_one_by_one(clock: Clock) -> None:
    rate = Rate(60, clock)
    assert [rate.take("ada") for _ in range(61)] == [0.0] * 60 + [1.0]
    clock.now_s += 0.75
    assert rate.take("ada") == pytest.approx(0.25)
    clock.now_s += 0.25
    assert [rate.take("ada"), rate.take("ada")] == [0.0, 1.0]
    assert rate.take("bob") == 0.0


def test_no_more_than_a_minutes_requests_are_saved(clock: Clock) -> None:
    rate = Rate(2, clock)
    rate.take("ada")
    clock.now_s += 3_600
    assert [rate.take("ada") for _ in range(3)] == [0.0, 0.0, 30.0]


def test_the_one_not_seen_for_longest_is_forgotten_at_the_bound(clock: Clock) -> None:
    rate = Rate(1, clock)
    for number in range(CALLERS_MAX):
        rate.take(str(number))
    assert rate.take("0") == 60.0, "all are remembered"
    rate.take("new")
    assert (rate.take("0"), rate.take("1")) == (60.0, 0.0)


def test_without_a_rate_there_is_no_bound(clock: Clock) -> None:
    rate = Rate(0, clock)
    assert {rate.take("ada") for _ in range(1_000)} == {0.0}
