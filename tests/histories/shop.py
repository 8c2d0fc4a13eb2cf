"""A log with the results of flows, and with flows that somebody else has written there."""

from __future__ import annotations

import json

from accord.schemas.messages.signals import BeginFlow, EmitInGroup, EmitResult, EmitSignal, ReportMissingCauses
from accord.streams.flows.flow import Flow

from accord.flows import count, flow, hopping, sum_of
from tests.histories.play import Play

TOTALS = (
    flow("totals").of("paid").by("room").window(hopping(ms=1_000, every_ms=500), late="side")
    .aggregate(n=count(), total=sum_of("amount")).filter(lambda row: row["n"] > 1).emit("told")
)  # fmt: skip
JOINED = (
    flow("joined").of("order").map(lambda order: order)
    .join("paid", on=("id", "order"), within_ms=5_000).emit("settled")
)  # fmt: skip


def begin(play: Play, made: Flow, **starts: int) -> None:
    """`starts`: offsets by partition, p0, p1."""
    for event in made.emits:
        definition = json.dumps(made.definition() | {"from": {number[1:]: at for number, at in starts.items()}})
        play.send(event, BeginFlow("ada", made.name, definition), domain="signals")


def shop() -> Play:
    """Twelve results, the last told twice; an event of the same name that is none, one of a group, a missing cause."""
    play = Play(signals=2)
    begin(play, TOTALS, p0=1, p1=7)
    begin(play, JOINED, p1=3)
    play.send("other", BeginFlow("eve", "odd", "no json"), domain="signals")
    play.send("other", BeginFlow("eve", "odder", '{"from": [7], "of": 7}'), domain="signals")
    for number in range(1, 13):
        data = json.dumps({"room": "x", "n": number, "causes": []})
        play.send("told", EmitResult("ada", "totals", number, data, ("paid",)), domain="signals")
    play.send("told", EmitResult("ada", "totals", 12, '{"n": 0}', ()), domain="signals")
    play.send("told", EmitSignal("bob", '{"n": 99}', ()), domain="signals")
    play.send("desk", EmitInGroup("bob", "paid", "{}", ()), domain="signals")
    missing = ReportMissingCauses("bob", "note", "e-1", "signals/0@1", ("signals/1@9",), 5_000, True)
    play.send("told", missing, domain="signals")
    return play
