"""Judges of orders: what somebody was given, against what caused what, and against what others were given.

They know nothing of clocks: causes are sets of ids, as somebody who saw everything knows them. Of what was given again
the first time counts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

Id = str | int


def causal_violations(given: Sequence[Id], causes: Mapping[Id, Collection[Id]]) -> list[tuple[Id, Id]]:
    """Pairs (event, cause) of which the cause was given later than the event, or not at all.

    Args:
        causes: of each event all that happened before it and is to be given, too.
    """
    first: dict[Id, int] = {}
    for place, event in enumerate(given):
        first.setdefault(event, place)
    return [
        (event, cause)
        for event, place in first.items()
        for cause in causes.get(event, ())
        if first.get(cause, len(given)) > place
    ]


def total_violations(subscribers: Mapping[str, Sequence[tuple[int, Id]]]) -> list[str]:
    """What is wrong with the order of a group, in words.

    Wrong are numbers that are not 1, 2, 3 and so on, and one under which two were given different events.

    Args:
        subscribers: what each was given, as (number, event).
    """
    wrong = []
    known: dict[int, Id] = {}
    for subscriber, given in subscribers.items():
        expected, seen = 1, set()
        for number, event in given:
            if (number, event) in seen:
                continue
            seen.add((number, event))
            if number != expected:
                wrong.append(f"{subscriber} was given {number} where {expected} was due")
            expected = number + 1
            if known.setdefault(number, event) != event:
                wrong.append(f"{subscriber} was given {event} as {number}, another {known[number]}")
    return wrong
