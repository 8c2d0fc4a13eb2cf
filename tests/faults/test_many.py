"""Real Kafka, twenty client processes: in a file of its own, so that the long runs go side by side."""

from __future__ import annotations

import pytest

from tests.counts import only_long
from tests.faults.plan import Plan
from tests.faults.test_faults import checked

MANY = Plan(
    kills=6,
    client_kills=6,
    freezes=0,
    client_freezes=0,
    broker_kills=0,
    clients=20,
    increments=50,
    items=60,
    think_ms=400,
    pause_s_max=6,
)
"""Twenty processes count to 1,000, and ten of them call an API; slowly enough to meet all faults on their way."""


@only_long  # test_faults.py has all of it in small
@pytest.mark.timeout(900)
def test_twenty_processes_count_to_one_thousand_while_workers_and_clients_are_killed() -> None:
    assert checked(MANY).counted == 1_000
