"""Cost of a signal that completes a pattern, with many keys open beside few, and beside a signal that nobody watches.

Through the pure partitions: the signal is decided where its name is, and what follows from it where its key is, with
what that takes on the wire. Then both get their states back, so every round is the same.
"""

from __future__ import annotations

import gc
import time
from statistics import median
from typing import Final

from accord.schemas import headers as h
from accord.schemas.codec import commands_codec
from accord.schemas.headers import LogRecord, command_headers
from accord.schemas.messages import Command
from accord.schemas.messages.signals import EmitSignal, SignalObserved, WatchSignal
from accord.schemas.messages.triggers import TriggerMatched
from accord.schemas.position import Position
from accord.streams.decider import Source, id_of
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided, Identity, Partition
from accord.streams.triggers.pattern import encode, sequence

from benchmarks.report import Goal, Line, Sample, progress, summary

SIZE: Final = 100_000
FEW: Final = 100
ROUNDS: Final = 20
"""Of `ROUND_SIGNALS` each, in turn with few and with many open keys; the medians count."""
ROUND_SIGNALS: Final = 200
START_MS: Final = 1_700_000_000_000
GROWTH_MAX: Final = 1.5
RULE: Final = encode(sequence("ordered", "paid").by("order").within_ms(3_600_000).late_ms(0).definition)


def benchmark(_: str, runs: int, size: int | None) -> list[Line]:
    """`size` is how many keys are open."""
    many = size or SIZE
    grown, watched = [], []
    for run in range(runs):
        desks = [Desk(many), Desk(FEW)]
        gc.collect()
        rounds = [
            (desks[0].round_us("paid"), desks[1].round_us("paid"), desks[1].round_us("other")) for _ in range(ROUNDS)
        ]
        at_many, at_few, unwatched = [median(column) for column in zip(*rounds, strict=True)]
        grown.append(Sample(at_many, at_few))
        watched.append(Sample(at_few, unwatched))
        progress(f"triggers {run + 1}/{runs}", us=at_many, few_us=at_few, unwatched_us=unwatched)
    goal = Goal("ratio", "<=", GROWTH_MAX)
    return [
        summary("triggers_keys", "CPU us a match", grown, f"{FEW} keys open", goal),
        summary("triggers_match", "CPU us a match", watched, "a signal that nobody watches"),
    ]


class Desk:
    """Both partitions, with so many orders that are not paid."""

    def __init__(self, orders: int) -> None:
        self.signals, self.triggers = [
            Partition(Identity("bench", domain, 0), DOMAINS[domain]) for domain in ("signals", "triggers")
        ]
        for partition in (self.signals, self.triggers):
            partition.apply(partition.open(1, "log_append"))
        self.orders, self.sent = orders, 0
        for name in ("ordered", "paid"):
            self.decide(self.signals, name, WatchSignal(name, "unpaid", 1, RULE), f"w-{name}")
        for order in range(orders):
            self.emit("ordered", order)

    def decide(self, partition: Partition, key: str, command: Command, command_id: str) -> Decided:
        codec, offset = commands_codec(partition.identity.domain), partition.head.cause + 1
        headers = command_headers(command_id, "bench", codec.type_name(command), partition.clock.encode(), None)
        value = codec.encode(command)
        record = LogRecord(offset, START_MS, h.LOG_APPEND_TIME, key.encode(), value, headers)
        decided = partition.decide(record, landing=offset)
        partition.apply(decided)
        return decided

    def emit(self, name: str, order: int) -> list[Decided]:
        """A signal, and what follows from it."""
        self.sent += 1
        emitted = self.decide(self.signals, name, EmitSignal("bench", f'{{"order":{order}}}', ()), f"c{self.sent}")
        found = [emitted]
        for event in emitted.events:
            if isinstance(event, SignalObserved):
                for number, order_ in enumerate(DOMAINS["signals"].reactions[SignalObserved](name, event)):
                    at = Source(Position("signals", 0, emitted.decision.offset), number)
                    found.append(self.decide(self.triggers, order_.key, order_.command, id_of(at)))
        return found

    def round_us(self, name: str) -> float:
        """CPU time a signal of a name, over a round of orders that are open."""
        took = 0.0
        for number in range(ROUND_SIGNALS):
            order = number * self.orders // ROUND_SIGNALS
            key = f"unpaid|{order}"
            state = self.triggers.aggregates[key]
            began = time.process_time()
            decided = self.emit(name, order)
            took += time.process_time() - began
            matched = any(isinstance(event, TriggerMatched) for one in decided for event in one.events)
            if matched != (name == "paid"):
                raise RuntimeError(f"{name} of order {order} brought {[one.events for one in decided]}")
            self.triggers.aggregates[key] = state
        return took / ROUND_SIGNALS * 1e6
