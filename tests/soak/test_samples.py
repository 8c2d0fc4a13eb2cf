"""What counts as flat."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from tempfile import TemporaryFile

import pytest

from tests.soak.samples import Held, Sample, grown, held, slope

MIB = 1 << 20


def samples(worker: Sequence[Held], step: int = 1_000) -> list[Sample]:
    client = Held(9, 25, 70 * MIB, None)
    return [Sample(step * place, one, client) for place, one in enumerate(worker)]


def test_what_stays_is_flat_whatever_it_was_in_between() -> None:
    quiet, busy = Held(32, 40, 100 * MIB, 5), Held(40, 60, 100 * MIB, 900)
    assert grown(samples([quiet, *[busy] * 9, quiet])) == []


@pytest.mark.parametrize(
    ("last", "told"),
    [
        (Held(34, 40, 100 * MIB, 5), "worker: threads rose from 32 to 34"),
        (Held(32, 43, 100 * MIB, 5), "worker: handles rose from 40 to 43"),
        (Held(32, 40, 100 * MIB, 6), "worker: rows rose from 5 to 6"),
    ],
)
def test_what_rises_is_told(last: Held, told: str) -> None:
    quiet = Held(32, 40, 100 * MIB, 5)
    assert grown(samples([*[quiet] * 10, last])) == [told]


def test_memory_may_rise_in_the_first_half_and_not_in_the_second() -> None:
    rising = [Held(32, 40, (100 + min(place, 5)) * MIB, 5) for place in range(11)]
    assert grown(samples(rising)) == []
    leak = [Held(32, 40, 100 * MIB + 300_000 * place, 5) for place in range(11)]
    assert grown(samples(leak)) == ["worker: memory rises by 300 bytes an operation"]
    kept = [Held(32, 40, 100 * MIB + 300_000 * place, 5 + 1_000 * place) for place in range(11)]
    assert grown(samples(kept), remembered=1) == []


def test_the_slope_of_points() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == 2
    assert slope([(4, 1), (4, 9)]) == 0


def test_what_a_process_holds_is_seen() -> None:
    before = held(os.getpid())
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    with TemporaryFile():
        during = held(os.getpid())
    ended.set()
    thread.join()
    assert during.threads == before.threads + 1 and during.handles == before.handles + 1
    assert during.memory_bytes > MIB and during.rows is None
