"""What of a pattern has occurred for one key, and how signals and time take it on.

Rules:
- Signals are taken in the order of the log's time of them, ties by partition and offset: never in the order in which
  they happen to be told. A signal is held until the clock is `late_ms` past its time; then the next one is taken.
- What must happen in time ends before a signal of the same ms: a window is from its first ms to before its last.
- Any signals that make up the pattern within the window are an occurrence, whatever came between. The first one to be
  complete is the match; of several complete at once that which began last. All signals up to then are used up.
- So in each state of the machine only one occurrence needs to be known: the one that began last, for it has the longest
  to go and will be complete whenever another one is; of those that wait for an absence at the end the first. Nothing
  is missed, and what is kept of a key has a bound.
- A signal that is told when a later one was taken, or an absence was found, is too late: it changes nothing.
"""

from __future__ import annotations

from bisect import insort
from typing import Final, NamedTuple

import msgspec
from accord.streams.triggers.machine import MATCH, Machine, machine_of

HELD_MAX: Final = 500
"""Signals held of one key; beyond it the earliest is taken at once, as if none before it could come any more."""
MATCHES_MAX: Final = 50
"""In one decision; what is due besides is due after it. One has at most 100 causes and a trail, 11,000 bytes."""
REMEMBER_MS: Final = 600_000
"""How long a key with nothing open is remembered: as long as ids of commands, so no signal counts twice."""


class Order(NamedTuple):
    """The place of a signal among all others."""

    at_ms: int
    partition: int
    offset: int


class Held(msgspec.Struct, frozen=True, array_like=True):
    """A signal of the key. `events` are the places of the pattern's events that it is, `trail` ends with its name."""

    at_ms: int
    partition: int
    offset: int
    events: tuple[int, ...]
    trail: tuple[str, ...]

    @property
    def order(self) -> Order:
        return Order(self.at_ms, self.partition, self.offset)

    @property
    def position(self) -> str:
        return f"signals/{self.partition}@{self.offset}"


class Begun(msgspec.Struct, frozen=True, array_like=True):
    """An occurrence that is not complete, in a state of the machine. At `until_ms` it ends; one that waits for an
    absence is complete then."""

    state: int
    first_ms: int
    until_ms: int
    causes: tuple[str, ...]
    trail: tuple[str, ...] = ()


class Match(NamedTuple):
    """A complete occurrence."""

    causes: tuple[str, ...]
    first_ms: int
    at_ms: int
    trail: tuple[str, ...]


class Key(msgspec.Struct, frozen=True, tag="key"):
    """What is known of a key of a trigger. `taken` is the place up to which signals were taken, and time has passed;
    `seen_ms` the time of the last signal."""

    trigger: str
    version: int
    definition: str
    by: str
    begun: tuple[Begun, ...] = ()
    held: tuple[Held, ...] = ()
    taken: tuple[int, int, int] = (-1, -1, -1)
    seen_ms: int = 0

    @property
    def machine(self) -> Machine:
        return machine_of(self.definition)

    @property
    def late_ms(self) -> int:
        return self.machine.definition.late_ms

    @property
    def due_ms(self) -> int:
        """When something happens of itself, by the clock: a signal is taken, an absence found, or it is forgotten."""
        waiting = self.waiting()
        dues = [*[one.at_ms for one in self.held[:1]], *([] if waiting is None else [waiting.until_ms])]
        return min(dues) + self.late_ms if dues else self.forgotten_ms

    @property
    def forgotten_ms(self) -> int:
        """When it is forgotten, if nothing waits."""
        last_ms = max([self.seen_ms, *[one.until_ms for one in self.begun]])
        return last_ms + self.late_ms + REMEMBER_MS

    def waiting(self) -> Begun | None:
        """The occurrence that waits for an absence at the end."""
        return next((one for one in self.begun if one.state == self.machine.waiting), None)


def held_with(key: Key, signal: Held) -> Key:
    """The key with one more signal held."""
    held = list(key.held)
    insort(held, signal, key=lambda one: one.order)
    return msgspec.structs.replace(key, held=tuple(held), seen_ms=max(key.seen_ms, signal.at_ms))


def passed(key: Key, upto_ms: int) -> tuple[Key, list[Match]]:
    """Takes the signals up to a time, and finds absences that are certain by it.

    Returns:
        The key after it, and the matches: at most `MATCHES_MAX`, what is due besides is left for the next time.
    """
    machine, begun, taken, place = key.machine, key.begun, key.taken, 0
    matches: list[Match] = []
    while len(matches) < MATCHES_MAX:
        signal = key.held[place] if place < len(key.held) and key.held[place].at_ms <= upto_ms else None
        waiting = next((one for one in begun if one.state == machine.waiting), None)
        if waiting is not None and waiting.until_ms <= (upto_ms if signal is None else signal.at_ms):
            matches.append(Match(waiting.causes, waiting.first_ms, waiting.until_ms, waiting.trail))
            begun, taken = (), max(taken, (waiting.until_ms, -1, -1))
        elif signal is None:
            break
        else:
            begun, match = _taken(machine, begun, signal)
            taken, place = signal.order, place + 1
            if match is not None:
                matches.append(match)
    return msgspec.structs.replace(key, begun=begun, held=key.held[place:], taken=tuple(taken)), matches


def _taken(machine: Machine, begun: tuple[Begun, ...], signal: Held) -> tuple[tuple[Begun, ...], Match | None]:
    """What a signal makes of the occurrences that have begun."""
    is_now, within_ms = frozenset(signal.events), machine.definition.within_ms or 1
    live = [one for one in begun if one.until_ms > signal.at_ms]
    after = {one.state: one for one in live if machine.ended_by[one.state].isdisjoint(is_now)}
    match: Match | None = None
    for one in (*live, Begun(0, signal.at_ms, signal.at_ms + within_ms, ())):
        for step in machine.steps[one.state]:
            if step.place not in is_now or not step.unless.isdisjoint(is_now):
                continue
            causes = (*one.causes, signal.position)
            if step.target == MATCH:
                if match is None or one.first_ms > match.first_ms:
                    match = Match(causes, one.first_ms, signal.at_ms, signal.trail)
            elif step.target == machine.waiting:
                moved = Begun(step.target, one.first_ms, signal.at_ms + within_ms, causes, signal.trail)
                known = after.get(step.target)
                if known is None or (known.until_ms, -known.first_ms) > (moved.until_ms, -moved.first_ms):
                    after[step.target] = moved
            else:
                moved = Begun(step.target, one.first_ms, one.until_ms, causes)
                known = after.get(step.target)
                if known is None or known.first_ms < moved.first_ms:
                    after[step.target] = moved
    if match is not None:
        return (), match
    return tuple([after[state] for state in sorted(after)]), None
