"""The triggers decider, branch by branch; what patterns may be; and what signals tell triggers."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from accord.schemas.codec import events_codec
from accord.schemas.messages import Event, triggers
from accord.schemas.messages.locks import LockReleased, ReleaseLock
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.signals import (
    EmitMatch,
    EmitSignal,
    MatchEmitted,
    MatchKnown,
    Observation,
    SignalEmitted,
    SignalObserved,
    SignalRefused,
    SignalUnwatched,
    SignalWatched,
    UnwatchSignal,
    WatchRefused,
    WatchSignal,
)
from accord.schemas.messages.triggers import (
    ConfirmWatch,
    DeclareTrigger,
    DropTrigger,
    KeyClosed,
    KeyOpened,
    ObserveSignal,
    ReadTrigger,
    SignalIgnored,
    SignalTaken,
    TimePassed,
    TriggerActive,
    TriggerDeclared,
    TriggerDropped,
    TriggerFailed,
    TriggerKnown,
    TriggerMatched,
    TriggerRead,
    TriggerUnknown,
    WatchConfirmed,
)
from accord.schemas.topics import DECISION_BYTES_MAX, KEY_BYTES_MAX
from accord.streams.decider import At, Order, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.signals.data import exact
from accord.streams.signals.decider import TRAIL_MAX, WATCHES_MAX, SignalDecider, key_of
from accord.streams.triggers import pattern as p
from accord.streams.triggers.decider import _CHANGES, DOMAIN, TriggerDecider, matched
from accord.streams.triggers.machine import MATCH, STATES_MAX, machine_of, problem_of_definition
from accord.streams.triggers.occurrences import HELD_MAX, MATCHES_MAX, REMEMBER_MS, Key
from accord.streams.triggers.pattern import absence, all_of, any_of, count, event, sequence

from accord.errors import BadInput
from tests.streams.spec import Given, Specification

decider = TriggerDecider()
given = Specification(decider)
of_signals = Specification(SignalDecider())
T0 = 1_000


def text(rule: p.Rule) -> str:
    found = p.encode(rule.definition)
    assert problem_of_definition(found) is None
    return found


AB = text(sequence("a", "b").by("id").within_ms(100).late_ms(0))
NO_B = text(sequence("a", absence("b")).by("id").within_ms(100).late_ms(10))


# -- a trigger


def declared(definition: str = AB, version: int = 1, given_up: tuple[str, ...] = (), agent: str = "ada") -> Event:
    watches = p.names_of(p.decode(definition).pattern)
    return TriggerDeclared(agent, "t", version, definition, watches, given_up, T0)


ACTIVE = (declared(), WatchConfirmed("a", 1), WatchConfirmed("b", 1), TriggerActive("ada", 1))


def test_a_trigger_is_active_when_all_its_signals_are_passed_on() -> None:
    one = given().when(DeclareTrigger("ada", "t", AB), T0).then(declared())
    one.when(ReadTrigger("bob"), T0).then(TriggerRead("ada", 1, AB, "declared", ("a", "b"), ""))
    one = one.when(ConfirmWatch("b", 1, ""), T0).then(WatchConfirmed("b", 1))
    one.when(ConfirmWatch("b", 1, ""), T0).then_nothing()
    one = one.when(ConfirmWatch("a", 1, ""), T0).then(WatchConfirmed("a", 1), TriggerActive("ada", 1))
    one.when(ReadTrigger("bob"), T0).then(TriggerRead("ada", 1, AB, "active", (), ""))
    one.when(ConfirmWatch("a", 1, "no"), T0).then_nothing()


def test_the_same_again_changes_nothing_and_another_one_is_a_new_version() -> None:
    given(declared()).when(DeclareTrigger("bob", "t", AB), T0).then(TriggerKnown("ada", 1, "declared"))
    given(*ACTIVE).when(DeclareTrigger("bob", "t", AB), T0).then(TriggerKnown("ada", 1, "active"))
    other = text(sequence("b", "c").within_ms(5))
    two = given(*ACTIVE).when(DeclareTrigger("bob", "t", other), T0).then(declared(other, 2, ("a",), "bob"))
    two.when(ConfirmWatch("b", 1, ""), T0).then_nothing()  # of the version before
    two.when(ConfirmWatch("b", 2, ""), T0).then(WatchConfirmed("b", 2))


def test_a_trigger_ends_and_begins_again() -> None:
    gone = given(*ACTIVE).when(DropTrigger("bob"), T0).then(TriggerDropped("bob", "t", 2, ("a", "b"), T0))
    gone.when(DropTrigger("bob"), T0).then(TriggerKnown("ada", 2, "dropped"))
    gone.when(ReadTrigger("bob"), T0).then(TriggerRead("ada", 2, AB, "dropped", (), ""))
    gone.when(ConfirmWatch("a", 1, ""), T0).then_nothing()
    gone.when(DeclareTrigger("ada", "t", AB), T0).then(declared(AB, 3))


def test_a_trigger_fails_when_a_signal_cannot_be_passed_on() -> None:
    failed = given(declared()).when(ConfirmWatch("a", 1, "full"), T0).then(TriggerFailed("ada", 1, "a", "full"))
    failed.when(ConfirmWatch("b", 1, ""), T0).then_nothing()
    failed.when(ReadTrigger("ada"), T0).then(TriggerRead("ada", 1, AB, "failed", ("a", "b"), "full"))
    failed.when(DeclareTrigger("ada", "t", AB), T0).then(declared(AB, 2))  # asks again


def test_of_what_there_is_not() -> None:
    given().when(ReadTrigger("bob"), T0).then(TriggerUnknown("bob", "ReadTrigger"))
    given().when(DropTrigger("bob"), T0).then(TriggerUnknown("bob", "DropTrigger"))
    given().when(ConfirmWatch("a", 1, ""), T0).then_nothing()
    given().when(Tick(), T0).then_nothing()
    given(*ACTIVE).when(Tick(), T0).then_nothing()
    assert decider.deadline_ms(given(*ACTIVE).state) is None


# -- a key


def observe(
    name: str, at_ms: int, definition: str = AB, version: int = 1, trail: tuple[str, ...] = ()
) -> ObserveSignal:
    happens = machine_of(definition).happens
    events = p.matched_events(happens, name, {})
    return ObserveSignal("t", version, definition, "7", events, at_ms, (*trail, name))


def source(offset: int, partition: int = 0) -> str:
    return f"signals/{partition}@{offset}"


def taken(name: str, at_ms: int, offset: int, upto_ms: int, definition: str = AB) -> SignalTaken:
    return SignalTaken(source(offset), at_ms, observe(name, at_ms, definition).events, (name,), upto_ms)


def hit(first_ms: int, at_ms: int, *offsets: int, trail: tuple[str, ...] = ("b",), version: int = 1) -> TriggerMatched:
    return TriggerMatched("t", version, "7", tuple(map(source, offsets)), first_ms, at_ms, trail)


def seen(start: Given, name: str, at_ms: int, offset: int, *, now_ms: int | None = None, **terms: Any) -> Any:
    """A signal that the key is told of at its own time, unless said otherwise."""
    command = observe(name, at_ms, **terms)
    return start.when(command, at_ms if now_ms is None else now_ms, request=f"{source(offset)}/0")


OPENED = KeyOpened("t", 1, AB, "7")


def test_signals_of_a_key_are_put_together() -> None:
    one = seen(given(), "a", T0, 3).then(OPENED, taken("a", T0, 3, T0))
    two = seen(one, "b", T0 + 99, 4).then(taken("b", T0 + 99, 4, T0 + 99), hit(T0, T0 + 99, 3, 4))
    assert two.state.begun == (), "all is used up"
    late = seen(one, "b", T0 + 100, 4).then(taken("b", T0 + 100, 4, T0 + 100))
    seen(late, "a", T0 + 101, 5).then(taken("a", T0 + 101, 5, T0 + 101))


def test_what_is_held_until_the_clock_is_past_it() -> None:
    held = seen(given(), "a", T0, 3, definition=NO_B).then(
        KeyOpened("t", 1, NO_B, "7"), taken("a", T0, 3, T0 - 10, NO_B)
    )
    assert decider.deadline_ms(held.state) == T0 + 10 and held.state.begun == ()
    held.when(Tick(), T0 + 9).then_nothing()
    begun = held.when(Tick(), T0 + 10).then(TimePassed(T0))
    assert decider.deadline_ms(begun.state) == T0 + 100 + 10
    found = begun.when(Tick(), T0 + 110).then(TimePassed(T0 + 100), hit(T0, T0 + 100, 3, trail=("a",)))
    seen(found, "b", T0 + 99, 9, now_ms=T0 + 111, definition=NO_B).then(SignalIgnored(source(9), T0 + 99, "late"))
    not_late = seen(begun, "b", T0 + 99, 9, now_ms=T0 + 105, definition=NO_B).then(
        taken("b", T0 + 99, 9, T0 + 95, NO_B)
    )
    assert not_late.when(Tick(), T0 + 109).then(TimePassed(T0 + 99)).state.begun == ()


def test_a_signal_counts_once() -> None:
    held = seen(given(), "a", T0, 3, definition=NO_B).then(
        KeyOpened("t", 1, NO_B, "7"), taken("a", T0, 3, T0 - 10, NO_B)
    )
    seen(held, "a", T0, 3, definition=NO_B).then(SignalIgnored(source(3), T0, "repeated"))
    one = seen(given(), "a", T0, 3).then(OPENED, taken("a", T0, 3, T0))
    seen(one, "a", T0, 3).then(SignalIgnored(source(3), T0, "repeated"))
    seen(one, "b", T0 - 1, 2, now_ms=T0).then(SignalIgnored(source(2), T0 - 1, "late"))


def test_a_new_version_gives_up_what_had_begun() -> None:
    one = seen(given(), "a", T0, 3).then(OPENED, taken("a", T0, 3, T0))
    two = seen(one, "b", T0 + 1, 4, version=2).then(KeyOpened("t", 2, AB, "7"), taken("b", T0 + 1, 4, T0 + 1))
    assert two.state.begun == () and two.state.version == 2
    seen(two, "a", T0 + 2, 5, version=1).then(SignalIgnored(source(5), T0 + 2, "outdated"))
    seen(two, "a", T0, 3, version=3).then(KeyOpened("t", 3, AB, "7"), SignalIgnored(source(3), T0, "late"))


def test_a_key_with_nothing_open_is_forgotten() -> None:
    one = seen(given(), "a", T0, 3).then(OPENED, taken("a", T0, 3, T0))
    due_ms = T0 + 100 + REMEMBER_MS
    assert decider.deadline_ms(one.state) == due_ms
    one.when(Tick(), due_ms - 1).then_nothing()
    assert one.when(Tick(), due_ms).then(KeyClosed(due_ms)).state is None


def test_at_the_bound_the_earliest_is_taken_at_once() -> None:
    slow = text(sequence("a", "b").by("id").within_ms(10_000).late_ms(600_000))
    state = given()
    for n in range(HELD_MAX):
        for found in decider.decide(state.state, observe("a", T0 + n, slow), At(T0 + n, 1, f"{source(n)}/0")):
            state.state = decider.evolve(state.state, found)
    assert len(state.state.held) == HELD_MAX and state.state.begun == ()
    more = seen(state, "b", T0 + HELD_MAX, HELD_MAX, definition=slow).then(
        taken("b", T0 + HELD_MAX, HELD_MAX, T0, slow)
    )
    assert len(more.state.held) == HELD_MAX and len(more.state.begun) == 1
    assert dump(restore(dump(more.state), TriggerDecider.state_type)) == dump(more.state)


def test_a_decision_has_so_many_matches_and_the_rest_follow() -> None:
    each = text(p.Rule(event("a")).late_ms(1_000))
    name = "n" * p.KEY_BYTES_MAX
    state: Key | None = None
    trail = tuple([name] * TRAIL_MAX)
    for n in range(MATCHES_MAX + 1):
        asked = ObserveSignal("t" * 100, 1, each, "k" * p.BY_BYTES_MAX, (0,), T0, (*trail, "a"))
        for found in decider.decide(state, asked, At(T0, 1, f"{source(n)}/0")):
            state = decider.evolve(state, found)  # type: ignore[assignment]
    assert state is not None
    for left in (1, 0):
        events = decider.decide(state, Tick(), At(T0 + 1_000, 1, "tick"))
        assert len(events_codec("triggers").encode(events)) <= DECISION_BYTES_MAX
        for found in events:
            state = decider.evolve(state, found)  # type: ignore[assignment]
        assert state is not None and len(state.held) == left
    assert decider.decide(state, Tick(), At(T0 + 1_000, 1, "tick")) == []


def test_of_several_complete_at_once_it_is_the_one_that_began_last() -> None:
    either = text(any_of(sequence("a", "c"), sequence("b", "c")).within_ms(100).late_ms(0))

    def first_of(*names: str) -> int:
        state, found = None, []
        for n, name in enumerate(names):
            for made in decider.decide(state, observe(name, T0 + n, either), At(T0 + n, 1, f"{source(n)}/0")):
                state = decider.evolve(state, made)
                found.append(made)
        (match,) = [one for one in found if isinstance(one, TriggerMatched)]
        return match.first_ms

    assert first_of("a", "b", "c") == first_of("b", "a", "c") == T0 + 1


def test_what_must_be_absent_for_one_part_cannot_be_taken_by_another() -> None:
    both = text(all_of(sequence("a", absence("x"), "b"), "x").within_ms(100).late_ms(0))

    def is_found(*names: str) -> bool:
        state, found = None, []
        for n, name in enumerate(names):
            for made in decider.decide(state, observe(name, T0 + n, both), At(T0 + n, 1, f"{source(n)}/0")):
                state = decider.evolve(state, made)
                found.append(made)
        return any(isinstance(one, TriggerMatched) for one in found)

    assert is_found("x", "a", "b") and is_found("a", "b", "x") and is_found("a", "x", "a", "b")
    assert not is_found("a", "x", "b")


@pytest.mark.parametrize(
    ("state", "command", "request_id", "problem"),
    [
        ((), observe("a", T0), "bob.17", "names no signal"),
        ((), observe("a", T0), "triggers/0@3/0", "names no signal"),
        ((), observe("a", T0), "signals.commands/0@3/0", "names no signal"),
        ((), msgspec.structs.replace(observe("a", T0), events=(0, 2)), "signals/0@3/0", "from 0 to 1"),
        ((), msgspec.structs.replace(observe("a", T0), events=(0, 0, 0)), "signals/0@3/0", "from 0 to 1"),
        ((), msgspec.structs.replace(observe("a", T0), events=()), "signals/0@3/0", "from 0 to 1"),
        ((), msgspec.structs.replace(observe("a", T0), by="k" * 151), "signals/0@3/0", "by has more than 150 bytes"),
        ((), msgspec.structs.replace(observe("a", T0), trail=("a",) * 34), "signals/0@3/0", "trail: at most 33"),
        ((), msgspec.structs.replace(observe("a", T0), version=0), "signals/0@3/0", "a version is 1 or more"),
        ((), msgspec.structs.replace(observe("a", T0), definition="{"), "signals/0@3/0", "cannot be read"),
        ((declared(),), observe("a", T0), "signals/0@3/0", "the key is a trigger"),
        ((OPENED,), ReadTrigger("ada"), "r", "one of a trigger's keys"),
        ((OPENED,), DeclareTrigger("ada", "t", AB), "r", "one of a trigger's keys"),
        ((), DeclareTrigger("ada", "a|b", AB), "r", "has no |"),
        ((), DeclareTrigger("ada", "", AB), "r", "1 to 100 bytes"),
        ((), DeclareTrigger("a" * 256, "t", AB), "r", "agent has more than 255 bytes"),
        ((), DeclareTrigger("ada", "t", AB + " "), "r", "not canonical"),
    ],
)
def test_what_cannot_be_decided(state: tuple[Event, ...], command: Any, request_id: str, problem: str) -> None:
    (rejected,) = decider.decide(given(*state).state, command, At(T0, 1, request_id))
    assert isinstance(rejected, CommandRejected) and problem in rejected.description


def test_every_event_has_its_change() -> None:
    assert set(_CHANGES) == set(triggers.EVENTS)
    with pytest.raises(TypeError, match="no command ReleaseLock"):
        given().when(ReleaseLock("ada", 1), T0)
    with pytest.raises(TypeError, match="no event LockReleased"):
        given(LockReleased("ada", 1, None))


# -- what follows elsewhere


def test_a_declaration_asks_for_signals_and_gives_others_up() -> None:
    follows = DOMAIN.reactions[TriggerDeclared]("t", declared(AB, 2, ("c",)))
    assert follows == [
        Order("signals", "c", UnwatchSignal("t", 2)),
        Order("signals", "a", WatchSignal("a", "t", 2, AB)),
        Order("signals", "b", WatchSignal("b", "t", 2, AB)),
    ]
    dropped = TriggerDropped("ada", "t", 3, ("a", "b"), T0)
    assert DOMAIN.reactions[TriggerDropped]("t", dropped) == [
        Order("signals", name, UnwatchSignal("t", 3)) for name in ("a", "b")
    ]


def test_a_match_is_told_by_a_signal() -> None:
    (follows,) = DOMAIN.reactions[TriggerMatched]("t|7", hit(T0, T0 + 5, 3, 4))
    assert (follows.domain, follows.key) == ("signals", "matched:t") and isinstance(follows.command, EmitMatch)
    assert follows.command.agent == "trigger t" and follows.command.trail == ("b",)
    assert json.loads(follows.command.data) == {
        "trigger": "t", "version": 1, "key": "7", "causes": ["signals/0@3", "signals/0@4"], "first_ms": T0,
        "at_ms": T0 + 5,
    }  # fmt: skip


def test_names_fit_the_keys_of_records() -> None:
    longest = "t" * p.NAME_BYTES_MAX
    assert len(key_of(longest, "k" * p.BY_BYTES_MAX)) <= KEY_BYTES_MAX and len(matched(longest)) <= KEY_BYTES_MAX


# -- what signals tell triggers

WATCHED = (SignalWatched("a", "t", 1, AB), SignalWatched("a", "u", 4, NO_B))


def test_a_signal_is_told_to_those_who_watch_it() -> None:
    one = of_signals().when(WatchSignal("a", "t", 1, AB), T0).then(WATCHED[0])
    two = one.when(WatchSignal("a", "u", 4, NO_B), T0).then(WATCHED[1])
    observed = (Observation("t", 1, AB, "7", (0,)), Observation("u", 4, NO_B, "7", (0,)))
    told = SignalObserved("a", observed, T0, ("x", "a"))
    two.when(EmitSignal("ada", '{"id":7}', ("x",)), T0).then(SignalEmitted("ada", '{"id":7}', ("x",)), told)
    two.when(EmitSignal("ada", '{"id":null}', ()), T0).then(SignalEmitted("ada", '{"id":null}', ()))
    two.when(EmitSignal("ada", '{"id":1e9}', ()), T0).then(SignalEmitted("ada", '{"id":1e9}', ()))
    follows = DOMAINS["signals"].reactions[SignalObserved]("a", told)
    assert follows == [
        Order("triggers", f"{name}|7", ObserveSignal(name, version, text, "7", (0,), T0, ("x", "a")))
        for name, version, text in (("t", 1, AB), ("u", 4, NO_B))
    ]
    assert dump(restore(dump(two.state), SignalDecider.state_type)) == dump(two.state)


def test_who_watches_is_the_latest_version() -> None:
    two = of_signals(*WATCHED)
    changed = two.when(WatchSignal("a", "u", 5, AB), T0).then(SignalWatched("a", "u", 5, AB))
    assert [watch.version for watch in changed.state.watches] == [1, 5]
    changed.when(WatchSignal("a", "u", 4, NO_B), T0).then_nothing()
    changed.when(WatchSignal("a", "u", 5, AB), T0).then(SignalWatched("a", "u", 5, AB))  # asked again: told again
    changed.when(UnwatchSignal("u", 5), T0).then_nothing()
    changed.when(UnwatchSignal("v", 9), T0).then_nothing()
    left = changed.when(UnwatchSignal("u", 6), T0).then(SignalUnwatched("u", 6))
    assert left.when(UnwatchSignal("t", 2), T0).then(SignalUnwatched("t", 2)).state is None


def test_so_many_watch_a_name() -> None:
    full = of_signals(*[SignalWatched("a", f"t{n}", 1, AB) for n in range(WATCHES_MAX)])
    refused = WatchRefused("a", "t", 1, "16 triggers watch a already")
    full.when(WatchSignal("a", "t", 1, AB), T0).then(refused)
    full.when(WatchSignal("a", "t0", 2, AB), T0).then(SignalWatched("a", "t0", 2, AB))
    confirm = DOMAINS["signals"].reactions
    assert confirm[WatchRefused]("a", refused) == [
        Order("triggers", "t", ConfirmWatch("a", 1, "16 triggers watch a already"))
    ]
    assert confirm[SignalWatched]("a", WATCHED[0]) == [Order("triggers", "t", ConfirmWatch("a", 1, ""))]


def test_what_cannot_be_watched() -> None:
    for command, problem in (
        (WatchSignal("c", "t", 1, AB), "about no such event"),
        (WatchSignal("a", "", 1, AB), "1 to 100 bytes"),
        (WatchSignal("a", "t", 1, "[]"), "cannot be read"),
    ):
        (rejected,) = SignalDecider().decide(None, command, At(T0, 1, "r"))
        assert isinstance(rejected, CommandRejected) and problem in rejected.description


def test_the_largest_signal_fits_a_decision() -> None:
    """With the longest trail, and all triggers that may watch it, of the longest definitions."""
    inner = p.Happens("a").where("x", "!=", "y" * 1_600)
    longest = text(sequence(inner, "b").by("id").within_ms(5))
    names = [f"{n:02}" + "t" * 98 for n in range(WATCHES_MAX)]
    state = of_signals(*[SignalWatched("a", name, 1, longest) for name in names]).state
    data = json.dumps({"id": "k" * p.BY_BYTES_MAX, "x": "z" * 800_000})
    events = SignalDecider().decide(state, EmitSignal("ada", data, ("n" * 255,) * TRAIL_MAX), At(T0, 1, "r"))
    assert len(events) == 2 and len(events_codec("signals").encode(events)) <= DECISION_BYTES_MAX


def test_a_match_is_emitted_once() -> None:
    emit = EmitMatch("trigger t", "{}", ())

    def emitted(start: Given, request: str, *events: Event) -> Given:
        return start.when(emit, T0, request=request).then(*events)

    told = SignalEmitted("trigger t", "{}", ())
    one = emitted(of_signals(), "triggers/2@7/1", told, MatchEmitted(2, 7, 1))
    for repeated in ("2@7/1", "2@7/0", "2@6/9"):
        place = repeated.replace("@", "/").split("/")
        emitted(one, f"triggers/{repeated}", MatchKnown(*map(int, place)))
    two = emitted(one, "triggers/2@7/2", told, MatchEmitted(2, 7, 2))
    three = emitted(two, "triggers/1@3/0", told, MatchEmitted(1, 3, 0))
    assert [(one.partition, one.offset, one.number) for one in three.state.heard] == [(1, 3, 0), (2, 7, 2)]
    emitted(three, "triggers/2@8/0", told, MatchEmitted(2, 8, 0))
    (rejected,) = SignalDecider().decide(None, emit, At(T0, 1, "bob.1"))
    assert isinstance(rejected, CommandRejected) and "names no match" in rejected.description


def test_a_circle_of_triggers_stops() -> None:
    circle = EmitMatch("trigger t", "{}", ("a",) * (TRAIL_MAX + 1))
    refused = SignalRefused("trigger t", "circular_trigger", circle.trail)
    of_signals().when(circle, T0, request="triggers/2@7/0").then(refused, MatchEmitted(2, 7, 0))


def test_a_trigger_watches_the_matches_of_another() -> None:
    upon = text(count(event(matched("t")), 2).within_ms(100))
    watched = of_signals(SignalWatched("matched:t", "u", 1, upon))
    (told, observed, _) = watched.when(EmitMatch("trigger t", "{}", ()), T0, request="triggers/2@7/0")._events
    assert isinstance(told, SignalEmitted) and isinstance(observed, SignalObserved)
    (order,) = DOMAINS["signals"].reactions[SignalObserved]("matched:t", observed)
    assert order.key == "u|"


# -- patterns


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda: sequence("a", "b").within_ms(0), r"within_ms\(0\): a whole number of ms from 1"),
        (lambda: sequence("a", "b").within_ms(-5), r"within_ms\(-5\)"),
        (lambda: sequence("a", "b").within_ms(5.0), r"within_ms\(5.0\)"),  # type: ignore[arg-type]
        (lambda: sequence("a", "b").late_ms(600_001), r"late_ms\(600001\)"),
        (lambda: sequence("a").by(""), "name of a field"),
        (lambda: sequence("a").by("a..b"), "name of a field"),
        (sequence, r"sequence\(\) of nothing"),
        (all_of, "need a pattern"),
        (any_of, "need a pattern"),
        (absence, r"absence\(\) of nothing"),
        (lambda: count("a", 0), "0 times: 1 to 100"),
        (lambda: count("a", 101), "101 times"),
        (lambda: count("a", 1.5), "a whole number"),  # type: ignore[arg-type]
        (lambda: sequence(absence("a"), "b"), "begins with an absence"),
        (lambda: sequence("a", absence("b"), absence("c")), "two absences"),
        (lambda: count(sequence("a", absence("b")), 2), "no part of it"),
        (lambda: all_of("a", absence("b")), "stands in a sequence alone"),  # type: ignore[arg-type]
        (lambda: sequence("a", sequence("b").within_ms(5)), "name them last"),  # type: ignore[arg-type]
        (lambda: sequence("a", 5), "5 is no event"),  # type: ignore[arg-type]
        (lambda: sequence(""), "no name of an event"),
        (lambda: event("n" * 256), "no name of an event"),
        (lambda: event("a").where("x", "~", 1), "there is == !="),
        (lambda: event("a").where("", "==", 1), "name of a field"),
        (lambda: event("a").where("x", "<", "5"), "only numbers are less or more"),
        (lambda: event("a").where("x", "==", []), "true, false or None is needed"),  # type: ignore[arg-type]
        (lambda: event("a").where("x", "==", float("nan")), "true, false or None is needed"),
        (lambda: event("a").where("x", "==", Decimal("NaN")), "true, false or None is needed"),
    ],
)
def test_what_is_no_pattern(make: Callable[[], Any], problem: str) -> None:
    with pytest.raises(BadInput, match=problem):
        make()


def nested(depth: int) -> p.Node:
    node: p.Node = event("a")
    for _ in range(depth):
        node = p.AnyOf((node,))
    return node


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (p.Rule(sequence("a", "b")), "needs a window"),
        (p.Rule(sequence("a", absence("b"))), "needs a window"),
        (count(count("a", 11), 10).within_ms(5), "takes 110 signals, at most 100"),
        (all_of(*"abcdefgh").within_ms(5), "more than 100 states"),
        (p.Rule(nested(25)), "nests at most 20 deep"),
        (p.Rule(event("n" * 255).where("x", "==", "y" * 2_000)), "at most 2048 bytes"),
    ],
)
def test_what_is_too_much_for_a_definition(rule: p.Rule, problem: str) -> None:
    assert problem in str(problem_of_definition(p.encode(rule.definition)))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"within_ms": 0}, "a window of 1"),
        ({"within_ms": -1}, "a window of 1"),
        ({"late_ms": -1}, "late_ms=-1"),
        ({"by": "a..b"}, "names no field"),
        ({"pattern": p.Sequence((p.Absence((p.Happens("a"),)),))}, "begins with an absence"),
        ({"pattern": p.Count(p.Happens("a"), 10**9)}, "1 to 100 are possible"),
        ({"pattern": p.Happens("a", (p.Condition("x", "<", '"y"'),))}, "only numbers"),
        ({"pattern": p.Happens("a", (p.Condition("x", "==", "{"),))}, "cannot be read"),
        ({"pattern": p.Happens("a", (p.Condition("x", "==", "[]"),))}, "compared with text"),
        ({"pattern": p.Happens("a", (p.Condition("x", "~", "1"),))}, "no operator"),
        ({"pattern": p.Happens("", ())}, "1 to 255 bytes"),
    ],
)
def test_a_definition_from_elsewhere_is_checked(change: dict[str, Any], problem: str) -> None:
    sent = msgspec.structs.replace(sequence("a", "b").within_ms(5).definition, **change)
    assert problem in str(problem_of_definition(p.encode(sent)))


def test_a_machine_is_as_its_text_says() -> None:
    made = machine_of(text(sequence("a", absence("x"), all_of("b", "c")).within_ms(5)))
    assert [[(made.happens[step.place].name, step.target) for step in steps] for steps in made.steps] == [
        [("a", 1)], [("b", 2), ("c", 3)], [("c", MATCH)], [("b", MATCH)],
    ]  # fmt: skip
    assert [sorted(made.happens[place].name for place in places) for places in made.ended_by] == [[], ["x"], [], []]
    assert made.waiting is None and machine_of(NO_B).waiting == 1
    assert len(machine_of(text(count("a", 100).within_ms(5))).steps) == STATES_MAX


@pytest.mark.parametrize(
    ("operator", "asked", "data", "holds"),
    [
        ("==", "a", {"x": "a"}, True),
        ("==", 1, {"x": 1.0}, True),
        ("==", 1, {"x": True}, False),
        ("==", True, {"x": True}, True),
        ("==", "1", {"x": 1}, False),
        ("==", None, {"x": None}, True),
        ("==", None, {}, False),
        ("!=", 1, {"x": "1"}, True),
        ("!=", 1, {}, False),
        (">", 100, {"x": 100.01}, True),
        (">=", 100, {"x": 100}, True),
        ("<", 0.3, {"x": 0.1}, True),
        ("<=", Decimal("0.30"), {"x": 0.3}, True),
        (">", 1, {"x": "2"}, False),
        (">", 0, {"x": True}, False),
    ],
)
def test_conditions(operator: str, asked: Any, data: dict[str, Any], holds: bool) -> None:
    one = event("a").where("x", operator, asked)
    inner = event("a").where("o.x", operator, asked)
    read = exact(json.dumps(data | {"o": data}))
    assert p.matched_events((one, inner, event("b")), "a", read) == ((0, 1) if holds else ())


def test_numbers_are_compared_exactly() -> None:
    over = event("a").where("x", ">", 0.1)
    assert p.matched_events((over,), "a", exact('{"x": 0.1000000000000000000000000001}')) == (0,)
    assert p.matched_events((over,), "a", exact('{"x": 0.1}')) == ()


@pytest.mark.parametrize("data", ['{"id": 7, "x": 1e99999999999999999999}', '{"id": 7, "x": ' + "9" * 5_000 + "}"])
def test_data_that_cannot_be_read_is_nothing_for_triggers(data: str) -> None:
    of_signals(*WATCHED).when(EmitSignal("ada", data, ()), T0).then(SignalEmitted("ada", data, ()))


@pytest.mark.parametrize(
    ("data", "by"),
    [
        ('{"o": {"id": "x"}}', "x"),
        ('{"o": {"id": 7}}', "7"),
        ('{"o": {"id": false}}', "false"),
        ('{"o": {"id": 7.0}}', None),
        ('{"o": {"id": [7]}}', None),
        ('{"o": 7}', None),
        ('{"o": {"id": "' + "x" * 151 + '"}}', "#f77b1ce3ba45f95fb88f6eb4fd9fba36"),
    ],
)
def test_the_key_of_a_signal(data: str, by: str | None) -> None:
    found = p.by_of(sequence("a").by("o.id").definition, exact(data))
    assert found == by or (by is not None and by[0] == "#" and found is not None and len(found) == len(by))
    assert p.by_of(sequence("a").within_ms(5).definition, exact(data)) == ""


def test_signals_of_one_name_are_not_waited_for() -> None:
    assert count("a", 3).within_ms(5).definition.late_ms == 0
    assert sequence("a", "b").within_ms(5).definition.late_ms == p.LATE_MS
    assert sequence("a", "b").late_ms(7).within_ms(5).definition.late_ms == 7
