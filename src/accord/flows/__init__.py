"""Flows: user events filtered, mapped, counted in windows and joined, and what comes of them emitted as events.

    from accord.flows import count, flow, running, sum_of, tumbling

    totals = (
        flow("sales by room")
        .of("order.paid")
        .by("room")
        .window(tumbling(ms=60_000))
        .aggregate(count=count(), total=sum_of("amount"))
        .emit("room.minute")
    )

    async with accord.Accord() as hub, running(hub, totals):
        ...

`accord flows run MODULE` runs the flows of a module. See docs/flows.md.
"""

from __future__ import annotations

from accord.flows.running import Running, running
from accord.streams.flows.aggregates import count, fold, max_of, mean_of, min_of, sum_of
from accord.streams.flows.flow import Flow, flow, hopping, sliding, tumbling

__all__ = [
    "Flow",
    "Running",
    "count",
    "flow",
    "fold",
    "hopping",
    "max_of",
    "mean_of",
    "min_of",
    "running",
    "sliding",
    "sum_of",
    "tumbling",
]
