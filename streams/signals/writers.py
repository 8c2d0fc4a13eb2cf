"""The flows that emit their results as signals of a name, and how each result is emitted once.

A flow is a program's, and runs again from its last checkpoint after a crash, or beside a copy of itself that is not yet
dead: so a result may be sent more than once, in any order, however late. It is a function of the log, and so is its
number. The name remembers the last number of each flow and takes the next one alone: what was emitted is known for
ever, at the price of one number, and what would leave a gap is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from accord.schemas.messages import Event
from accord.schemas.messages.log import CommandRejected, Reason
from accord.schemas.messages.signals import BeginFlow, FlowBegun, FlowKnown, ResultEmitted, ResultKnown

WRITERS_MAX: Final = 32
"""Flows that ever emit under one name."""
FLOW_BYTES_MAX: Final = 255
DEFINITION_BYTES_MAX: Final = 4_096


class Writer(msgspec.Struct, frozen=True, array_like=True):
    """A flow: what it is, and the number of its last result."""

    flow: str
    definition: str
    last: int


def of(writers: Sequence[Writer], flow: str) -> Writer:
    """The flow of a name, one that has nothing emitted if there is none."""
    return next((writer for writer in writers if writer.flow == flow), Writer(flow, "", 0))


def after(writers: Sequence[Writer], event: FlowBegun | ResultEmitted) -> tuple[Writer, ...]:
    """The flows after an event."""
    match event:
        case FlowBegun(flow=flow, definition=definition):
            return (*writers, Writer(flow, definition, 0))
        case ResultEmitted(flow=flow, number=number):
            return tuple([Writer(flow, w.definition, number) if w.flow == flow else w for w in writers])


def begun(writers: Sequence[Writer], c: BeginFlow) -> list[Event]:
    """What comes of a flow that begins."""
    known = of(writers, c.flow)
    if known.definition:
        return [FlowKnown(c.flow, known.definition, known.last)]
    if not 0 < len(c.flow.encode()) <= FLOW_BYTES_MAX:
        return [CommandRejected(Reason.INVALID, f"a flow's name has 1 to {FLOW_BYTES_MAX} bytes")]
    if not 0 < len(c.definition.encode()) <= DEFINITION_BYTES_MAX:
        return [CommandRejected(Reason.INVALID, f"a flow's definition has 1 to {DEFINITION_BYTES_MAX} bytes")]
    if len(writers) >= WRITERS_MAX:
        return [CommandRejected(Reason.INVALID, f"{WRITERS_MAX} flows emit under this name already; take another one")]
    return [FlowBegun(c.agent, c.flow, c.definition)]


def known(writers: Sequence[Writer], flow: str, number: int) -> list[Event]:
    """Why a result is not the next one of its flow; nothing if it is."""
    writer = of(writers, flow)
    if not writer.definition:
        return [CommandRejected(Reason.INVALID, "no such flow has begun to emit under this name")]
    if number <= writer.last:
        return [ResultKnown(flow, number, writer.last)]
    if number > writer.last + 1:
        return [CommandRejected(Reason.INVALID, f"result {number} of the flow, but {writer.last + 1} is the next")]
    return []
