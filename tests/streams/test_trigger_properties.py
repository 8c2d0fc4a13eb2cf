"""What triggers find, against an oracle that looks at the whole list of signals at once and tries every choice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, product
from typing import NamedTuple

from accord.schemas.messages import Event
from accord.schemas.messages.log import Tick
from accord.schemas.messages.triggers import ObserveSignal, SignalIgnored, TriggerMatched
from accord.streams.decider import At, dump, restore
from accord.streams.triggers import pattern as p
from accord.streams.triggers.decider import TriggerDecider
from accord.streams.triggers.machine import STATES_MAX, machine_of, problem_of_definition
from accord.streams.triggers.occurrences import Key
from hypothesis import assume, given
from hypothesis import strategies as st

DECIDER = TriggerDecider()
NAMES = "abcx"
PARTITION = {"a": 0, "b": 1, "c": 2, "x": 1}
END_MS = 10_000
FUNCTIONS = ("sequence", "all_of", "any_of", "count", "absence", "event")


class Signal(NamedTuple):
    """`at_ms`, `partition`, `offset` are its place among all."""

    at_ms: int
    partition: int
    offset: int
    name: str

    @property
    def position(self) -> str:
        return f"signals/{self.partition}@{self.offset}"


# -- patterns and signals

names = st.sampled_from(NAMES)
events = names.map(p.event)
absences = st.lists(names, min_size=1, max_size=2, unique=True).map(lambda some: p.absence(*some))


def composed(inner: st.SearchStrategy[p.Node]) -> st.SearchStrategy[p.Node]:
    few = st.lists(inner, min_size=2, max_size=3)
    guarded = st.tuples(inner, absences, inner).map(lambda parts: p.sequence(*parts))
    return (
        few.map(lambda parts: p.sequence(*parts))
        | few.map(lambda parts: p.all_of(*parts))
        | few.map(lambda parts: p.any_of(*parts))
        | st.tuples(inner, st.integers(2, 3)).map(lambda counted: p.count(*counted))
        | guarded
    )


inner = st.recursive(events, composed, max_leaves=4)
patterns = inner | st.tuples(inner, absences).map(lambda parts: p.sequence(*parts))


@st.composite
def some_signals(draw: st.DrawFn) -> list[Signal]:
    """In order of their place; several may have one time."""
    told = sorted(draw(st.lists(st.tuples(st.integers(0, 14), names), max_size=8)), key=lambda one: one[0])
    return sorted(Signal(at_ms, PARTITION[name], offset, name) for offset, (at_ms, name) in enumerate(told))


# -- the oracle


def makes_up(node: p.Part, chosen: tuple[int, ...], signals: Sequence[Signal]) -> bool:
    """Whether the chosen signals, all of them, are the pattern; one at its end that must be absent apart."""
    match node:
        case p.Happens(name):
            return len(chosen) == 1 and signals[chosen[0]].name == name
        case p.AnyOf(parts):
            return any(makes_up(part, chosen, signals) for part in parts)
        case p.Count(part, times):
            return is_in_sequence((part,) * times, chosen, signals)
        case p.Sequence(parts):
            return is_in_sequence(parts, chosen, signals)
        case p.AllOf(parts):
            for owners in product(range(len(parts)), repeat=len(chosen)):
                of = list(zip(chosen, owners, strict=True))
                shares = [tuple(c for c, owner in of if owner == n) for n in range(len(parts))]
                if all(makes_up(part, share, signals) for part, share in zip(parts, shares, strict=True)):
                    return True
    return False


def is_in_sequence(parts: tuple[p.Part, ...], chosen: tuple[int, ...], signals: Sequence[Signal]) -> bool:
    """Whether the chosen ones can be cut into the parts, with none that must be absent between two pieces."""
    if not parts:
        return not chosen
    first, *rest = parts
    for size in range(1, len(chosen) + 1):
        if not makes_up(first, chosen[:size], signals):
            continue
        after, left = chosen[size:], tuple(rest)
        if left and isinstance(left[0], p.Absence):
            if not after:
                if len(left) == 1:
                    return True
                continue
            between = signals[chosen[size - 1] + 1 : after[0]]
            if any(signal.name == absent.name for signal in between for absent in left[0].events):
                continue
            left = left[1:]
        if is_in_sequence(left, after, signals):
            return True
    return False


class Found(NamedTuple):
    """When a match is complete, and the choices that make it up."""

    at_ms: int
    choices: frozenset[tuple[str, ...]]
    first_ms: int


def absence_at_end(node: p.Node) -> frozenset[str] | None:
    if not isinstance(node, p.Sequence):
        return None
    last = node.parts[-1]
    if isinstance(last, p.Absence):
        return frozenset(event.name for event in last.events)
    return absence_at_end(last)


def oracle(definition: p.Definition, signals: Sequence[Signal]) -> Iterator[Found]:
    """Every match: the first that is complete, then the first of what comes after it."""
    node, within_ms = definition.pattern, definition.within_ms or 1
    absent = absence_at_end(node)
    start = 0
    while True:
        complete: dict[tuple[int, int], list[tuple[int, ...]]] = {}
        for size in range(1, len(signals) - start + 1):
            for chosen in combinations(range(start, len(signals)), size):
                last = signals[chosen[-1]]
                if last.at_ms - signals[chosen[0]].at_ms >= within_ms or not makes_up(node, chosen, signals):
                    continue
                if absent is None:
                    complete.setdefault((last.at_ms, chosen[-1]), []).append(chosen)
                    continue
                end_ms = last.at_ms + within_ms
                window = [one for one in signals[chosen[-1] + 1 :] if one.at_ms < end_ms]
                if not any(one.name in absent for one in window):
                    complete.setdefault((end_ms, -1), []).append(chosen)
        if not complete:
            return
        moment = min(complete)
        choices = complete[moment]
        positions = frozenset(tuple(signals[c].position for c in chosen) for chosen in choices)
        yield Found(moment[0], positions, max(signals[chosen[0]].at_ms for chosen in choices))
        start = moment[1] + 1 if absent is None else sum(signal.at_ms < moment[0] for signal in signals)


# -- the decider


class Played:
    """A key, and what was decided about it."""

    def __init__(self, definition: p.Definition) -> None:
        self.text = p.encode(definition)
        self.state: Key | None = None
        self.events: list[Event] = []

    def send(self, command: ObserveSignal | Tick, now_ms: int, request: str = "tick") -> None:
        for event in DECIDER.decide(self.state, command, At(now_ms, 1, request)):
            self.events.append(event)
            self.state = DECIDER.evolve(self.state, event)  # type: ignore[assignment]

    def observe(self, signal: Signal, now_ms: int) -> None:
        happens = machine_of(self.text).happens
        events = p.matched_events(happens, signal.name, {})
        if events:
            observed = ObserveSignal("t", 1, self.text, "", events, signal.at_ms, (signal.name,))
            self.send(observed, now_ms, f"{signal.position}/0")

    def settle(self) -> None:
        """Lets time pass until nothing is due but to forget the key."""
        while self.state is not None and (self.state.held or self.state.waiting()):
            self.send(Tick(), END_MS)

    @property
    def matches(self) -> list[TriggerMatched]:
        return [event for event in self.events if isinstance(event, TriggerMatched)]


def possible(pattern: p.Node, within_ms: int, late_ms: int) -> p.Definition:
    definition = p.Definition(pattern, None, within_ms, late_ms)
    problem = problem_of_definition(p.encode(definition))
    assume(problem is None)
    return definition


def check(definition: p.Definition, signals: Sequence[Signal], matches: Sequence[TriggerMatched]) -> None:
    expected = list(oracle(definition, signals))
    assert [match.at_ms for match in matches] == [found.at_ms for found in expected]
    for match, found in zip(matches, expected, strict=True):
        assert match.causes in found.choices
        if absence_at_end(definition.pattern) is None:
            assert match.first_ms == found.first_ms, "the one that began last"


@given(patterns, st.integers(1, 9), some_signals())
def test_it_finds_what_the_oracle_finds(pattern: p.Node, within_ms: int, signals: list[Signal]) -> None:
    definition = possible(pattern, within_ms, 0)
    played = Played(definition)
    for signal in signals:
        played.observe(signal, signal.at_ms)
    played.settle()
    check(definition, signals, played.matches)


@given(patterns, st.integers(1, 9), some_signals(), st.data())
def test_delay_reordering_and_repeats_change_nothing(
    pattern: p.Node, within_ms: int, signals: list[Signal], data: st.DataObject
) -> None:
    """Signals of several partitions are told in any order, less than `late_ms` late, some twice, with ticks at any time
    and the state restored from its row."""
    late_ms = data.draw(st.integers(1, 6))
    definition = possible(pattern, within_ms, late_ms)
    delay = st.integers(0, late_ms - 1)
    told = [(signal.at_ms + data.draw(delay), data.draw(st.integers(0, 9)), signal) for signal in signals]
    told += [(ms + data.draw(st.integers(0, 20)), 0, signal) for ms, _, signal in told if data.draw(st.booleans())]
    ticks = [(ms, 5, None) for ms in data.draw(st.lists(st.integers(0, 30), max_size=5))]
    played = Played(definition)
    for now_ms, _, one in sorted([*told, *ticks], key=lambda one: one[:2]):
        played.send(Tick(), now_ms) if one is None else played.observe(one, now_ms)
        if played.state is not None:
            played.state = restore(dump(played.state), DECIDER.state_type)
    played.settle()
    check(definition, signals, played.matches)
    folded = None
    for event in played.events:
        folded = DECIDER.evolve(folded, event)
    assert dump(folded) == dump(played.state)


@given(patterns, st.integers(1, 9), some_signals(), st.data())
def test_whatever_comes_too_late_is_recorded(
    pattern: p.Node, within_ms: int, signals: list[Signal], data: st.DataObject
) -> None:
    """What was taken makes up the matches of the oracle, and what was not is told."""
    definition = possible(pattern, within_ms, 1)
    played = Played(definition)
    for now_ms, signal in sorted((one.at_ms + data.draw(st.integers(0, 9)), one) for one in signals):
        played.observe(signal, now_ms)
    played.settle()
    late = {event.source for event in played.events if isinstance(event, SignalIgnored)}
    assert all(event.reason == "late" for event in played.events if isinstance(event, SignalIgnored))
    assert not any(set(match.causes) & late for match in played.matches)
    check(definition, [signal for signal in signals if signal.position not in late], played.matches)


@given(patterns, st.integers(1, 9), st.lists(names, max_size=60))
def test_what_is_kept_of_a_key_has_a_bound(pattern: p.Node, within_ms: int, told: list[str]) -> None:
    definition = possible(pattern, within_ms, 0)
    played = Played(definition)
    for offset, name in enumerate(told):
        played.observe(Signal(offset, 0, offset, name), offset)
        if played.state is not None:
            states = [one.state for one in played.state.begun]
            assert len(states) == len(set(states)) < STATES_MAX and not played.state.held


@given(patterns, st.integers(1, 9))
def test_a_definition_is_the_same_text_again(pattern: p.Node, within_ms: int) -> None:
    definition = possible(pattern, within_ms, 0)
    text = p.encode(definition)
    assert p.decode(text) == definition and p.encode(p.decode(text)) == text
    written = p.text_of_definition(definition)
    assert eval(written, {name: getattr(p, name) for name in FUNCTIONS}).definition == definition
