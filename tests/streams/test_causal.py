"""Causal delivery against happened-before as sets, in simulated runs: delay, repeats, reordering, crashes, agents that
come and go, clocks that lose entries."""

from __future__ import annotations

import random

import pytest
from accord.schemas import clock as clocks
from accord.schemas.clock import VectorClock
from accord.streams.signals.causal import CausalBuffer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accord.testing.simulation.judges.orders import causal_violations
from tests.counts import FULL, LONG

MISSING_AFTER_S = 30.0


class Sent:
    """A command on its way: the clock it carries, what its sender knew, and whether it is about an event."""

    def __init__(self, clock: VectorClock, known: frozenset[int], wanted: bool) -> None:
        self.clock = clock
        self.known = known
        self.wanted = wanted
        self.was_decided = False


class Recorded:
    """A decision: its id, its clock, and the ids of all decisions that happened before it."""

    def __init__(self, number: int, clock: VectorClock, past: frozenset[int], wanted: bool) -> None:
        self.number = number
        self.clock = clock
        self.past = past
        self.wanted = wanted


class Agent:
    def __init__(self, name: str) -> None:
        self.name = name
        self.clock = VectorClock()
        self.known: frozenset[int] = frozenset()


class World:
    """Agents, partitions with their logs, and one subscriber, driven by chance."""

    def __init__(self, chance: random.Random, partitions: int, agents: int) -> None:
        self.chance = chance
        self.logs: list[list[Recorded]] = [[] for _ in range(partitions)]
        self.decided: list[Recorded] = []
        self.inboxes: list[list[Sent]] = [[] for _ in range(partitions)]
        self.agents = [Agent(f"agent#{number}") for number in range(agents)]
        self.incarnations = agents
        self.delivered: list[int] = []
        self.committed = [0] * partitions
        self.done = [0] * partitions
        self.start()

    def start(self) -> None:
        """The subscriber starts where it has committed to."""
        self.buffer: CausalBuffer[tuple[int, int]] = CausalBuffer("signals", range(len(self.logs)), MISSING_AFTER_S)
        self.read_to = list(self.committed)
        self.done = list(self.committed)
        for partition, offset in enumerate(self.committed):
            if offset:  # a reader starts with a decision before its place
                before = self.logs[partition][offset - 1]
                self.buffer.read(partition, offset - 1, before.clock)

    # -- what happens

    def emit(self) -> None:
        agent, partition = self.chance.choice(self.agents), self.chance.randrange(len(self.logs))
        agent.clock = agent.clock.advanced(agent.name)
        sent = Sent(agent.clock, agent.known, self.chance.random() < 0.7)
        self.inboxes[partition] += [sent] * self.chance.choice([1, 1, 1, 2])

    def decide(self) -> None:
        partition = self.chance.randrange(len(self.logs))
        inbox, log = self.inboxes[partition], self.logs[partition]
        if not inbox:
            return
        sent = inbox.pop(self.chance.randrange(len(inbox)))
        held = log[-1].clock if log else VectorClock()
        clock = held.advanced(f"signals/{partition}", sent.clock)
        past = sent.known | (log[-1].past | {log[-1].number} if log else frozenset())
        made = Recorded(len(self.decided), clock, past, sent.wanted and not sent.was_decided)
        sent.was_decided = True
        self.decided.append(made)
        log.append(made)

    def learn(self) -> None:
        if self.decided:
            agent, known = self.chance.choice(self.agents), self.chance.choice(self.decided[-8:])
            agent.clock = agent.clock.merge(known.clock, keep=agent.name)
            agent.known |= known.past | {known.number}

    def come_and_go(self) -> None:
        self.incarnations += 1
        self.agents[self.chance.randrange(len(self.agents))] = Agent(f"agent#{self.incarnations}")

    def read(self, partition: int | None = None) -> None:
        number = self.chance.randrange(len(self.logs)) if partition is None else partition
        offset = self.read_to[number]
        if offset < len(self.logs[number]):
            record = self.logs[number][offset]
            self.read_to[number] += 1
            item = (number, offset) if record.wanted else None
            self.buffer.read(number, offset, record.clock, item)

    def deliver(self) -> None:
        if self.buffer.wants_ends:
            self.buffer.know_ends({number: len(log) for number, log in enumerate(self.logs)})
        while (ready := self.buffer.take()) is not None:
            partition, offset = ready.item
            assert ready.missing == ()
            self.delivered.append(self.logs[partition][offset].number)
            self.done[partition] = offset + 1

    def commit(self) -> None:
        self.committed = list(self.done)

    def crash(self) -> None:
        self.start()

    def run(self, steps: int) -> None:
        act = [self.emit, self.decide, self.learn, self.read, self.deliver, self.commit, self.come_and_go, self.crash]
        for _ in range(steps):
            self.chance.choices(act, (8, 9, 8, 9, 4, 2, 1, 0.5))[0]()
        while any(self.inboxes):
            self.decide()
        while any(to < len(log) for to, log in zip(self.read_to, self.logs, strict=True)):
            self.read()
            self.deliver()
        self.deliver()

    @property
    def causes(self) -> dict[int, set[int]]:
        wanted = {one.number for one in self.decided if one.wanted}
        return {one.number: wanted & one.past for one in self.decided if one.wanted}


worlds = st.builds(World, st.integers(0, 2**32).map(random.Random), st.integers(2, 4), st.integers(1, 6))
simulated = settings(
    max_examples=60 * (FULL if LONG else 1), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.mark.parametrize("entries_max", [clocks.ENTRIES_MAX, 5, 3])
@simulated
@given(world=worlds, steps=st.integers(50, 250))
def test_all_is_delivered_and_nothing_before_its_causes(entries_max: int, world: World, steps: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clocks, "ENTRIES_MAX", entries_max)
        world.run(steps)
        clocks_tell_what_happened_before_what(world)
    assert set(world.delivered) == set(world.causes)
    assert causal_violations(world.delivered, world.causes) == []


def clocks_tell_what_happened_before_what(world: World) -> None:
    """Exactly, unless they have lost entries; and then they tell no order that was none."""
    for one in world.decided[-20:]:
        for other in world.decided:
            told = other.clock.compare(one.clock) == "before"
            if told or not one.clock.is_full:
                assert told == (other.number in one.past)
            if other.number in one.past:
                assert other.clock.lamport < one.clock.lamport
