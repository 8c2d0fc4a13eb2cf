"""The signal decider, branch by branch."""

from __future__ import annotations

import pytest
from accord.schemas.messages import Command
from accord.schemas.messages.locks import ReleaseLock
from accord.schemas.messages.log import CommandRejected, CommandRepeated, Tick
from accord.schemas.messages.signals import (
    CausesMissing,
    EmitInGroup,
    EmitSignal,
    HandlerFailed,
    ReportHandlerFailure,
    ReportMissingCauses,
    SignalEmitted,
    SignalNumbered,
    SignalRefused,
    SignalUnwatched,
    SignalWatched,
)
from accord.streams.signals.decider import DOMAIN, NESTING_MAX, TRAIL_MAX, Name, SignalDecider

from tests.streams.spec import Specification

given = Specification(SignalDecider())
NOT_JSON = CommandRejected("invalid", f"data is not a JSON object, or nested deeper than {NESTING_MAX}")


def test_a_signal_is_emitted_and_nothing_is_remembered() -> None:
    then = (
        given()
        .when(EmitSignal("ada", '{"result": 1}', ("start",)), 1_000)
        .then(SignalEmitted("ada", '{"result": 1}', ("start",)))
    )
    assert then.state is None


def test_a_trail_at_the_bound_passes_and_one_beyond_is_refused() -> None:
    longest = tuple(f"event-{i}" for i in range(TRAIL_MAX))
    given().when(EmitSignal("ada", "{}", longest), 1_000).then(SignalEmitted("ada", "{}", longest))
    circle = (*longest, "event-0")
    given().when(EmitSignal("ada", "{}", circle), 1_000).then(SignalRefused("ada", "circular_trigger", circle))


def test_a_circle_is_refused_before_its_data_is_looked_at() -> None:
    circle = ("again",) * (TRAIL_MAX + 1)
    given().when(EmitSignal("ada", "no json", circle), 1_000).then(SignalRefused("ada", "circular_trigger", circle))


@pytest.mark.parametrize(
    "data",
    [
        "",
        "[]",
        "1",
        "null",
        '"text"',
        "{",
        '{"a": 1} {}',
        "{'a': 1}",
        '{"a": NaN}',
        '{"a": "\\ud800"}',
        '{"a": "line\nbreak"}',
    ],
)
def test_data_that_is_no_json_object_is_rejected(data: str) -> None:
    given().when(EmitSignal("ada", data, ()), 1_000).then(NOT_JSON)


@pytest.mark.parametrize("data", ["{}", ' {"a": {"b": [1, 2.5e3, true, null]}} ', '{"[[{{": "]}\\"[["}', '{"ж": "й"}'])
def test_data_that_is_a_json_object_passes(data: str) -> None:
    given().when(EmitSignal("ada", data, ()), 1_000).then(SignalEmitted("ada", data, ()))


def nested(depth: int) -> str:
    return '{"a":' + "[" * (depth - 1) + "]" * (depth - 1) + "}"


def test_nesting_has_a_bound_of_its_own() -> None:
    given().when(EmitSignal("ada", nested(NESTING_MAX), ()), 1_000).then(SignalEmitted("ada", nested(NESTING_MAX), ()))
    for depth in (NESTING_MAX + 1, 500, 400_000):
        given().when(EmitSignal("ada", nested(depth), ()), 1_000).then(NOT_JSON)


def test_brackets_in_strings_do_not_nest() -> None:
    data = '{"a": "' + "[{" * 10_000 + '\\"' + "[{" * 10_000 + '", "b": []}'
    given().when(EmitSignal("ada", data, ()), 1_000).then(SignalEmitted("ada", data, ()))


def test_the_depth_of_the_callers_stack_changes_nothing() -> None:
    """The parser gives up where the stack ends; the same data must be decided alike in every process."""

    def deep(frames: int) -> list[object]:
        if frames:
            return deep(frames - 1)
        return list(given().when(EmitSignal("ada", nested(NESTING_MAX), ()), 1_000)._events)

    assert deep(0) == deep(600)


MANY = "[" * (NESTING_MAX + 1)
QUOTES = '\\"' * 400_000


@pytest.mark.parametrize("data", [MANY + '"' + QUOTES, MANY + '"' * 400_000, MANY + '"' + QUOTES + "\\", "[" * 400_000])
def test_hostile_data_takes_one_pass(data: str) -> None:
    """Strings that do not end, full of quotes that could each begin one: minutes, if the search began again at each."""
    given().when(EmitSignal("ada", data, ()), 1_000).then(NOT_JSON)


def test_events_of_a_group_are_numbered_whatever_their_names_are() -> None:
    numbered = [SignalNumbered("ada", "paid", 1, "{}", ()), SignalNumbered("bob", "booked", 2, "{}", ("paid",))]
    then = given(*numbered).when(EmitInGroup("ada", "paid", '{"n": 3}', ()), 1_000)
    assert then.then(SignalNumbered("ada", "paid", 3, '{"n": 3}', ())).state == Name(numbered=3)
    given(*numbered).when(EmitSignal("ada", "{}", ()), 1_000).then(SignalEmitted("ada", "{}", ()))


def test_what_a_group_refuses_has_no_number() -> None:
    first = SignalNumbered("ada", "paid", 1, "{}", ())
    circle = ("again",) * (TRAIL_MAX + 1)
    given(first).when(EmitInGroup("ada", "paid", "{}", circle), 1_000).then(
        SignalRefused("ada", "circular_trigger", circle)
    )
    given(first).when(EmitInGroup("ada", "paid", "[]", ()), 1_000).then(NOT_JSON)
    for name in ("", "é" * 128):
        given(first).when(EmitInGroup("ada", name, "{}", ()), 1_000).then(
            CommandRejected("invalid", "the event's name has not 1 to 255 bytes")
        )
    refused = SignalRefused("ada", "circular_trigger", circle)
    given(first, refused).when(EmitInGroup("ada", "paid", "{}", ()), 1_000).then(
        SignalNumbered("ada", "paid", 2, "{}", ())
    )


def test_a_group_is_remembered_when_no_trigger_watches_its_name_any_more() -> None:
    watched = SignalWatched("trip", "late", 1, "{}")
    decider = SignalDecider()
    state = decider.evolve(decider.evolve(None, watched), SignalNumbered("ada", "paid", 1, "{}", ()))
    assert decider.evolve(state, SignalUnwatched("late", 2)) == Name("trip", numbered=1)


def test_missing_causes_are_recorded_as_reported() -> None:
    said = ("ada", "judge", "e-1", "signals/0@5", ("signals/1:17", "signals/2"), 30_000, False)
    assert given().when(ReportMissingCauses(*said), 1_000).then(CausesMissing(*said)).state is None


def test_a_handler_failure_is_recorded_as_reported() -> None:
    report = ReportHandlerFailure("ada", "note", "e-1", "signals/0@5", '{"a": 1}', "ValueError", "no", 3)
    failed = HandlerFailed("ada", "note", "e-1", "signals/0@5", '{"a": 1}', "ValueError", "no", 3)
    assert given().when(report, 1_000).then(failed).state is None


def test_a_handler_failure_is_a_dead_letter() -> None:
    failed = HandlerFailed("ada", "note", "e-1", "signals/0@5", '{"a": 1}', "ValueError", "no", 3)
    letter = DOMAIN.dead_letters[HandlerFailed](failed)
    assert letter.queue == "handler:note"
    assert letter.reason == "MaxRetriesExceeded"
    assert letter.description == "ValueError: no"
    assert (letter.origin, letter.value, letter.agent, letter.attempts) == ("signals/0@5", b'{"a": 1}', "ada", 3)


def test_a_tick_brings_nothing() -> None:
    given().when(Tick(), 1_000).then_nothing()


def test_nothing_is_ever_due() -> None:
    assert SignalDecider().deadline_ms(None) is None


@pytest.mark.parametrize("command", [ReleaseLock("ada", 1)])
def test_a_command_of_another_domain_is_a_bug(command: Command) -> None:
    with pytest.raises(TypeError, match="no command ReleaseLock"):
        given().when(command, 1_000)


def test_an_event_of_another_domain_is_a_bug() -> None:
    with pytest.raises(TypeError, match="no event CommandRepeated"):
        given(CommandRepeated(1))
