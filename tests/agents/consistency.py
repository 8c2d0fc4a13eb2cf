"""Whether what clients saw of one key is what its level of consistency promises; from the clients' own notes alone.

Values are never written twice, so a read tells which write it saw. `order` is the order of the writes, as the log has
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple


class Noted(NamedTuple):
    """An operation of a client, from its call to its return, in seconds of one clock."""

    client: str
    action: str
    value: str
    called_s: float
    returned_s: float


def not_linearizable(history: Sequence[Noted], order: Sequence[str]) -> tuple[Noted, Noted] | None:
    """Two operations that are not in the order of time: the one had returned before the other was called, and saw (or
    made) a later value. Every operation is placed at its value in `order`, a write before those that read it; if no two
    contradict each other in time, that is an order in which they could have come one by one."""
    place = {value: number for number, value in enumerate(order)}

    def at(noted: Noted) -> tuple[int, bool]:
        return place[noted.value], noted.action == "read"

    for one in history:
        for other in history:
            if one.returned_s < other.called_s and (
                at(one) > at(other) or (at(one) == at(other) and one.action == "write" == other.action)
            ):
                return one, other
    return None


def not_of_session(history: Sequence[Noted], order: Sequence[str]) -> tuple[Noted, Noted] | None:
    """Two operations of one client of which the later one reads what was before what the client wrote or read."""
    place = {value: number for number, value in enumerate(order)}
    for client in {noted.client for noted in history}:
        own = sorted((noted for noted in history if noted.client == client), key=lambda noted: noted.called_s)
        for one, other in pairwise(own):
            if other.action == "read" and place[other.value] < place[one.value]:
                return one, other
    return None


def never_written(history: Sequence[Noted], order: Sequence[str]) -> Noted | None:
    """A read of what nobody wrote."""
    return next((noted for noted in history if noted.value not in order), None)
