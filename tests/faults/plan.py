"""What a fault run does: how many of each fault, on how many clients, for how long."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import NamedTuple

FIRST = 3
"""So many clients play nearly all parts."""
CALLERS_MAX = 10


class Plan(NamedTuple):
    """How many of each fault, and for how many clients. What each fault is, `hits.py` and `clients.py` say."""

    kills: int = 4
    client_kills: int = 2
    freezes: int = 1
    client_freezes: int = 1
    cuts: int = 0
    client_cuts: int = 0
    drops: int = 0
    delays: int = 0
    full_disks: int = 0
    joins: int = 0
    upgrades: int = 0
    broker_kills: int = 1
    broker_freezes: int = 0
    clients: int = 3
    """3 or more."""
    increments: int = 60
    """Of each client."""
    items: int = 25
    """Of each of the first clients, that go through the store."""
    think_ms: int = 60
    """Mean pause of a client's task."""
    load_per_s: int = 0
    """Events that the first clients send beside all that, together."""
    gate: bool = True
    """Whether one who waits at the barrier is killed in the end."""
    pause_s_max: float = 2.5
    """Between one fault and the next."""
    seed: int = 1
    seconds: float = 0.0
    """0: each fault is done so many times as is said above. Else they come again, in another order, until so much time
    is over."""
    seconds_max: float = 240.0
    """Without `seconds`: no fault begins later than this after the first."""

    def parts(self, seat: int) -> list[str]:
        """What the client of a seat plays. All count; the first three do all else but the calls, which are of those
        who are not frozen: whoever wakes from that calls without a slot, and an API knows no fencing."""
        parts = ["counting"]
        if seat < FIRST:
            parts += ["rooms", "probes", "library", "seats", "gate", "store", "table", "pipeline", "load"]
        if seat >= max(1, self.clients - CALLERS_MAX):
            parts.append("calls")
        return parts

    def counts(self) -> dict[str, int]:
        """How many of each fault, by name."""
        fields = self._asdict()
        return {kind: fields[f"{kind.replace(' ', '_')}s"] for kind in KINDS}

    def faults(self, generator: random.Random) -> Iterator[str]:
        """The faults by name, in the order in which they come; without end if the plan has `seconds`."""
        deck = [kind for kind, count in self.counts().items() for _ in range(count)]
        while deck:
            generator.shuffle(deck)
            yield from deck
            if not self.seconds:
                return


KINDS = (
    "kill",
    "client kill",
    "freeze",
    "client freeze",
    "cut",
    "client cut",
    "drop",
    "delay",
    "full disk",
    "join",
    "upgrade",
    "broker kill",
    "broker freeze",
)
TIMED = Plan(
    kills=20,
    client_kills=10,
    freezes=9,
    client_freezes=7,
    cuts=9,
    client_cuts=1,
    drops=1,
    delays=1,
    full_disks=1,
    joins=1,
    upgrades=1,
    broker_kills=2,
    broker_freezes=0,
    load_per_s=240,
    pause_s_max=1.0,
)
"""The proportions of a run of so many minutes. In 100 minutes a machine of two cores comes to some 500 kills, 200
pauses, 200 partitions with two owners, and 25 restarts of the broker."""
LEG_S = 360.0
"""A longer run is several of this length, each on a Kafka of its own: histories and logs have a bound that way."""
INCREMENTS_PER_S = 1.5
ITEMS_PER_S = 0.4
"""Of one client; on a slow machine they are done about when the faults are."""


def legs(minutes: float, plan: Plan) -> Iterator[Plan]:
    """The runs that a run of so many minutes consists of, each with a seed of its own."""
    left_s, seed = minutes * 60, plan.seed
    while left_s > 0:
        seconds = left_s if left_s < 1.5 * LEG_S else LEG_S
        yield plan._replace(
            seed=seed,
            seconds=seconds,
            increments=max(1, round(seconds * INCREMENTS_PER_S)),
            items=max(1, round(seconds * ITEMS_PER_S)),
        )
        left_s, seed = left_s - seconds, seed + 1
