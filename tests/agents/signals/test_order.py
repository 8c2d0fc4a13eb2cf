"""In which order handlers are called: those of one event name, whoever they are, in one order, causes first; those of
several names with causes first if they ask for it; those of a group in the group's order.

Agents answer each other, and independent judges look at what each of them was given.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from itertools import combinations, groupby
from typing import Any

import pytest
from accord.agents.signals import subscription, wanted
from accord.agents.signals.subscription import Subscription
from accord.schemas.clock import VectorClock
from accord.schemas.codec import events_codec
from accord.schemas.messages.signals import CausesMissing, HandlerFailed
from accord.schemas.topics import partition_of
from hypothesis import given
from hypothesis import strategies as st

import accord
from accord import BadInput, Event, MissingCause, replay, sync
from accord.embedded import Embedded
from accord.settings import Settings
from accord.testing.simulation.judges.orders import causal_violations, total_violations
from tests.agents.support import until

AGENTS = ("ada", "bob", "cleo")
ROUNDS = 3
ROUNDS_MAX = 4
FIRST = 6

Given = tuple[str, VectorClock]
"""The id of an event, and its clock."""


def name_in(partition: int, stem: str, settings: Settings) -> str:
    """An event name that lies in a partition."""
    names = (f"{stem}-{number}" for number in range(1_000))
    return next(name for name in names if partition_of(name.encode(), settings.topics.partitions) == partition)


class Hubs:
    """Opens hubs; those that nobody closed are closed in the end."""

    def __init__(self, embedded: Embedded) -> None:
        self._embedded = embedded
        self._open: dict[sync.Accord, ExitStack] = {}

    def __call__(self, agent: str) -> sync.Accord:
        hub = sync.Accord(agent=agent)
        hub.use(self._embedded.settings, self._embedded.timestamp_ms)
        self._open[hub] = ExitStack()
        return self._open[hub].enter_context(hub)

    def close(self, hub: sync.Accord) -> None:
        self._open.pop(hub).close()

    def close_all(self) -> None:
        for hub in list(self._open):
            self.close(hub)


@pytest.fixture
def hubs(embedded: Embedded) -> Iterator[Hubs]:
    opened = Hubs(embedded)
    yield opened
    opened.close_all()


@pytest.fixture
def scrambled(monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """Has causal handlers read the partitions at paces of chance, each in its order."""
    chance = random.Random(11)
    read, release = Subscription._read, Subscription._release
    arrived: dict[Subscription, dict[int, deque[Any]]] = defaultdict(lambda: defaultdict(deque))

    def _read(self: Subscription, message: Any) -> None:
        if self._buffer is None or message.error() is not None:
            read(self, message)
        else:
            arrived[self][message.partition()].append(message)

    def _release(self: Subscription, *arguments: Any) -> None:
        lanes = [lane for lane in arrived[self].values() if lane]
        for lane in chance.sample(lanes, chance.randint(0, len(lanes))):
            for _ in range(chance.randint(0, len(lane))):
                read(self, lane.popleft())
        release(self, *arguments)

    monkeypatch.setattr(Subscription, "_read", _read)
    monkeypatch.setattr(Subscription, "_release", _release)
    monkeypatch.setattr(subscription, "POLL_S", 0.005)
    return chance


def test_agents_that_answer_each_other_over_several_names_are_given_causes_first(
    hubs: Hubs, settings: Settings, scrambled: random.Random
) -> None:
    """What each was given before it emitted is what caused it; one of them loses its process in the middle."""
    names = [name_in(number, "talk", settings) for number in range(3)]
    given: dict[str, list[str]] = {agent: [] for agent in AGENTS}
    causes: dict[str, set[str]] = {}
    lock = threading.Lock()

    def declare(hub: sync.Accord, agent: str) -> None:
        @hub.when(names, name=f"talks-{agent}", order="causal")
        def hears(event_data: dict[str, int], event: Event) -> None:
            with lock:
                given[agent].append(event.id)
                before = set(given[agent])
            if event_data["round"] < ROUNDS and scrambled.random() < 0.5:
                receipt = hub.emit(scrambled.choice(names), {"round": event_data["round"] + 1})
                with lock:
                    causes[receipt.id] = before

    opened = {agent: hubs(agent) for agent in AGENTS}
    for agent, hub in opened.items():
        declare(hub, agent)
    for number in range(9):
        receipt = opened[AGENTS[number % 3]].emit(names[number % 3], {"round": 0})
        causes.setdefault(receipt.id, set())
        receipt.wait()
        if number == 5:
            hubs.close(opened["ada"])
            opened["ada"] = hubs("ada")
            declare(opened["ada"], "ada")
    until(lambda: all(set(known) == set(causes) for known in given.values()), 20)
    closed = {event: closure(event, causes) for event in causes}
    assert sum(map(len, closed.values())) > 20, "some caused others"
    for agent in AGENTS:
        assert causal_violations(given[agent], closed) == []


def closure(event: str, causes: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    left = [event]
    while left:
        new = causes[left.pop()] - found
        found |= new
        left.extend(new)
    return found


def test_an_effect_that_is_read_first_waits_for_its_cause(
    hubs: Hubs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With causes first, and not without that."""
    cause, effect = name_in(0, "cause", settings), name_in(1, "effect", settings)
    seen: dict[str, list[str]] = {"causal": [], "name": []}
    go_on = threading.Event()
    read, late = Subscription._read, {"causal": deque[Any](), "name": deque[Any]()}

    def _read(self: Subscription, message: Any) -> None:
        lane = late[self._name]
        if message.partition() == 0 and not go_on.is_set():
            lane.append(message)
            return
        while lane and go_on.is_set():
            read(self, lane.popleft())
        read(self, message)

    monkeypatch.setattr(Subscription, "_read", _read)
    hub = hubs("ada")
    for order in ("causal", "name"):
        hub.when([cause, effect], name=order, order=order)(
            lambda event_data, event, known=seen[order]: known.append(event.name)
        )
    hub.emit(cause, {}).wait()
    hub.emit(effect, {}).wait()
    until(lambda: seen["name"] == [effect])
    assert seen["causal"] == []
    go_on.set()
    hub.emit(effect, {}).wait()
    until(lambda: len(seen["causal"]) == len(seen["name"]) == 3)
    assert seen == {"causal": [cause, effect, effect], "name": [effect, cause, effect]}


def test_one_process_at_a_time_is_called_and_the_next_goes_on(hubs: Hubs, settings: Settings) -> None:
    names = [name_in(number, "shift", settings) for number in range(4)]
    seen: list[tuple[str, int]] = []

    def declare(agent: str) -> sync.Accord:
        hub = hubs(agent)

        @hub.when(names, name="shift", order="causal")
        def note(event_data: dict[str, int], event: Event) -> None:
            assert event.redelivered or all(number != event_data["n"] for _, number in seen)
            seen.append((agent, event_data["n"]))

        return hub

    def emit(hub: sync.Accord, count: int) -> None:
        """Each is caused by those before."""
        begun = len({number for _, number in seen})
        for number in range(begun, begun + count):
            hub.emit(names[number % 4], {"n": number}).wait()
        until(lambda: len({number for _, number in seen}) == begun + count)

    first = declare("ada")
    emit(first, 8)
    second = declare("bob")
    second.drain()
    emit(first, 16)
    called, other = (first, second) if seen[-1][0] == "ada" else (second, first)
    hubs.close(called)
    emit(other, 8)
    assert seen[-1][0] == other.agent
    assert list(dict.fromkeys(number for _, number in seen)) == list(range(32)), "in order, and none lost"
    assert len(list(groupby(agent for agent, _ in seen))) <= 3, "one at a time"


def test_of_a_partition_that_is_ahead_no_more_is_read_than_fits(
    hubs: Hubs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its events wait for a cause that lies in another one, which is read on."""
    monkeypatch.setattr(subscription, "QUEUE_MAX", 20)
    monkeypatch.setattr(subscription, "BATCH_RECORDS", 5)
    cause, effect = name_in(0, "slow", settings), name_in(1, "fast", settings)
    seen: list[int] = []
    most = 0
    go_on = threading.Event()
    late: deque[Any] = deque()
    read, throttle = Subscription._read, Subscription._throttle_each

    def _read(self: Subscription, message: Any) -> None:
        (late.append if message.partition() == 0 else lambda one: read(self, one))(message)

    def _throttle(self: Subscription, *arguments: Any) -> None:
        nonlocal most
        most = max([most, *(len(place.waiting) for place in self._places.values())])
        while late and go_on.is_set():
            read(self, late.popleft())
        throttle(self, *arguments)

    monkeypatch.setattr(Subscription, "_read", _read)
    monkeypatch.setattr(Subscription, "_throttle_each", _throttle)
    hub = hubs("ada")
    hub.when([cause, effect], name="bounded", order="causal")(lambda event_data: seen.append(event_data["n"]))
    hub.emit(cause, {"n": 0}).wait()
    for number in range(1, 60):
        receipt = hub.emit(effect, {"n": number})
    receipt.wait()
    until(lambda: most >= 10)
    assert seen == []
    go_on.set()
    hub.drain()
    assert seen == list(range(60))
    assert most < 10 + 6


def test_a_cause_that_does_not_come_stops_the_handler_or_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a log of its own: what clocks tell on it is wrong."""
    monkeypatch.setattr(wanted, "MISSING_AFTER_MS_MIN", 100)
    seen: list[Event] = []
    others: list[int] = []
    with sync.local(agent="ada") as hub:
        settings = hub.settings
        cause, effect = name_in(0, "cause", settings), name_in(1, "effect", settings)

        def declare(running: sync.Accord, **more: Any) -> None:
            running.when([cause, effect], name="judge", order="causal", missing_after_ms=100, **more)(
                lambda event_data, event: seen.append(event)
            )

        hub.when(effect, name="other")(lambda event_data: others.append(event_data["n"]))
        declare(hub)
        sender = hub.connection._sender
        assert sender is not None
        sender._clock = VectorClock({"signals/0": 700}, 700)
        position = hub.emit(effect, {"n": 1}).wait()
        with pytest.raises(MissingCause, match=r"signals/0 has not brought decision 700 by its clock, only up to \d"):
            hub.drain()
        assert seen == [] and others == [1]
        with sync.Accord(agent="bob", settings=settings) as again:
            declare(again, on_missing="deliver")
            again.drain()
            (event,) = seen
            assert event.position == position and event.redelivered
            assert [(one.partition, one.needed) for one in event.missing] == [("signals/0", 700)]
            again.emit(effect, {"n": 2}).wait()
            again.drain()
            assert len(seen) == 2, "what was given up is not waited for again"
        with replay.open(settings) as log:
            recorded = [
                event
                for record in log.source.read("signals", 1, 0)
                for event in events_codec("signals").decode(record.value)
                if isinstance(event, CausesMissing)
            ]
    assert [(one.agent, one.handler, one.causes, one.delivered) for one in recorded] == [
        ("ada", "judge", ("signals/0:700",), False),
        ("bob", "judge", ("signals/0:700",), True),
    ]
    assert recorded[0].position == str(position)


def test_a_group_has_one_order_that_all_its_handlers_see(hubs: Hubs) -> None:
    """From its start, whoever emits in it; one handler loses its process in the middle."""
    given: dict[str, list[tuple[int, str]]] = defaultdict(list)
    paid: list[int | None] = []
    alone: list[str] = []

    def declare(hub: sync.Accord, handler: str) -> None:
        @hub.when(group="trip", name=handler, since="start")
        def note(event_data: Any, event: Event) -> None:
            assert event.group == "trip" and event.number is not None
            given[handler].append((event.number, event.id))

    ada, bob = hubs("ada"), hubs("bob")
    bob.when("paid", name="alone")(lambda event_data, event: alone.append(event.id))
    declare(ada, "first")
    bob.when("paid", group="trip", name="paid", since="start")(lambda event_data, event: paid.append(event.number))
    for number in range(30):
        (ada, bob)[number % 2].emit(("paid", "booked", "left")[number % 3], {"n": number}, group="trip")
    ada.emit("paid", {}, group="another trip").wait()
    plain = ada.emit("paid", {})
    hubs.close(ada)
    declare(bob, "first")
    declare(bob, "second")
    bob.emit("left", {}, group="trip").wait()
    bob.drain()
    assert total_violations(given) == []
    assert len(set(given["first"])) == len(set(given["second"])) == 31
    assert len(paid) == 10 and set(paid) <= {number for number, _ in given["first"]}
    assert paid == sorted(paid, key=lambda number: number or 0)
    assert alone == [plain.id], "what is emitted in a group is the group's"


def test_a_handler_of_a_group_that_fails_is_recorded_there(hubs: Hubs, settings: Settings) -> None:
    calls: list[int | None] = []

    def fail(event_data: Any, event: Event) -> None:
        calls.append(event.number)
        raise ValueError("broken")

    hub = hubs("ada")
    hub.when("paid", group="broken", name="fails", retries=1)(fail)
    receipts = [hub.emit("paid", {}, group="broken") for _ in range(2)]
    hub.drain()
    assert calls == [1, 1, 2, 2]
    with replay.open(settings) as log:
        failed = [
            event.position
            for record in log.source.read("signals", partition_of(b"broken", settings.topics.partitions), 0)
            for event in events_codec("signals").decode(record.value)
            if isinstance(event, HandlerFailed) and record.key == b"broken"
        ]
    assert failed == [str(receipt.wait()) for receipt in receipts], "under the group's name"


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({}, "names no event"),
        ({"event": []}, "names no event"),
        ({"event": ["a", "a"]}, "each once"),
        ({"event": [f"e{number}" for number in range(65)]}, "1 to 64"),
        ({"event": ["a", 7]}, "text is needed"),
        ({"event": "a", "order": "total"}, '"name" or "causal"'),
        ({"event": "a", "order": "causal", "group": "g"}, "a group has one order"),
        ({"event": "a", "order": "causal", "on_missing": "skip"}, '"stop" or "deliver"'),
        ({"event": "a", "order": "causal", "missing_after_ms": 999}, "from 1000 to 86400000"),
        ({"event": "a", "order": "causal", "missing_after_ms": 86_400_001}, "from 1000 to 86400000"),
        ({"event": "a", "order": "causal", "missing_after_ms": 1_000.0}, "a whole number of ms"),
        ({"event": "a", "on_missing": "deliver"}, 'without order="causal"'),
        ({"event": "a", "missing_after_ms": 5_000}, 'without order="causal"'),
        ({"group": ""}, "group name ''"),
        ({"group": "g" * 201}, "1 to 200"),
    ],
)
def test_what_cannot_be_right(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        accord.when(**arguments)


def test_a_group_of_no_name_is_refused(hubs: Hubs) -> None:
    with pytest.raises(BadInput, match="group name"):
        hubs("ada").emit("paid", {}, group="")


# -- of one name


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
