"""In which order handlers are called: those of one event name, whoever they are, in one order, causes first.

Agents answer each other, and an independent checker judges what each of them was given by the vector clocks.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from itertools import combinations

from accord.schemas.clock import VectorClock
from hypothesis import given
from hypothesis import strategies as st

from accord import Event, sync
from accord.embedded import Embedded
from accord.settings import Settings
from tests.agents.support import until

AGENTS = ("ada", "bob", "cleo")
ROUNDS_MAX = 4
FIRST = 6

Given = tuple[str, VectorClock]
"""The id of an event, and its clock."""


def causes_that_came_later(given_in_order: Sequence[Given]) -> list[tuple[str, str]]:
    """Pairs of events of which the second, given later, happened before the first."""
    return [
        (first, second)
        for (first, clock), (second, other) in combinations(given_in_order, 2)
        if other.compare(clock) == "before"
    ]


@given(st.integers(2, 12), st.randoms(use_true_random=False))
def test_the_checker_finds_what_is_wrong(count: int, chance: random.Random) -> None:
    """In a chain of causes every exchange is a violation; events of agents that know nothing of each other are none."""
    clock, chain = VectorClock(), []
    for number in range(count):
        clock = clock.advanced(f"agent-{number % 3}", clock)
        chain.append((str(number), clock))
    assert causes_that_came_later(chain) == []
    place = chance.randrange(count - 1)
    exchanged = [*chain[:place], chain[place + 1], chain[place], *chain[place + 2 :]]
    assert causes_that_came_later(exchanged) == [(str(place + 1), str(place))]
    strangers = [(str(number), VectorClock().advanced(f"agent-{number}")) for number in range(count)]
    chance.shuffle(strangers)
    assert causes_that_came_later(strangers) == []


def test_handlers_of_one_name_are_given_one_order_with_causes_first(settings: Settings, embedded: Embedded) -> None:
    """Each answers what it hears, after a while that is its own; one of them loses its process in the middle."""
    chance = random.Random(7)
    heard: dict[str, dict[str, Given]] = {agent: {} for agent in AGENTS}
    waits = threading.Event()

    def declare(hub: sync.Accord, agent: str) -> None:
        @hub.when("talk", name=f"hears-{agent}")
        def hears(event_data: dict[str, int], event: Event) -> None:
            waits.wait(chance.random() / 100)
            heard[agent].setdefault(event.id, (event.id, event.clock))
            if event_data["round"] < ROUNDS_MAX and chance.random() < 0.4:
                hub.emit("talk", {"round": event_data["round"] + 1})

    def opened(stack: ExitStack, agent: str) -> sync.Accord:
        hub = sync.Accord(agent=agent)
        hub.use(settings, embedded.timestamp_ms)
        stack.enter_context(hub)
        declare(hub, agent)
        return hub

    with ExitStack() as stack:
        others = [opened(stack, agent) for agent in AGENTS[1:]]
        with ExitStack() as first:
            ada = opened(first, "ada")
            for number in range(FIRST):
                (ada, *others)[number % 3].emit("talk", {"round": 0}).wait()
        ada = opened(stack, "ada")  # it left in the middle: what it had not taken comes again
        is_quiet: Callable[[], bool] = lambda: len({len(known) for known in heard.values()}) == 1  # noqa: E731
        for _ in range(ROUNDS_MAX + 1):
            for hub in (ada, *others):
                hub.drain()
        until(is_quiet)
    orders = [list(known.values()) for known in heard.values()]
    assert [id_ for id_, _ in orders[0]] == [id_ for id_, _ in orders[1]] == [id_ for id_, _ in orders[2]]
    assert all(causes_that_came_later(order) == [] for order in orders)
    clocks = [clock for _, clock in orders[0]]
    assert sum(a.compare(b) == "before" for a, b in combinations(clocks, 2)) > FIRST, "some are causes of others"
