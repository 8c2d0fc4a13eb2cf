"""What has become of a dead letter, told by its task."""

from accord.replay.deadletters import LetterView, views_of
from accord.replay.state import accepted
from accord.replay.work import states_at
from accord.schemas.messages.deadletters import DeadLetter
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.signals import ReportHandlerFailure
from accord.schemas.messages.tasks import CancelTask, DropStep, RetryStep, StepDeadLettered
from accord.streams.domains import DOMAINS
from accord.streams.runtime.deadletters import dead_letter

from tests.histories.office import LEASE_MS, Office, step
from tests.histories.play import Play


def letters_of(play: Play) -> list[DeadLetter]:
    """The dead letters of a log, as a worker makes them."""
    found: list[DeadLetter] = []
    for (domain, number), state in play.states.items():
        commands = play.log_commands[domain, number]
        for decision in accepted(play, domain, number):
            events = state.read(decision).events
            kinds = (CommandRejected, *DOMAINS[domain].dead_letters)
            for place, event in enumerate(one for one in events if isinstance(one, kinds)):
                command = commands[decision.cause] if decision.cause >= 0 else None
                found.append(dead_letter(state.identity, DOMAINS[domain], decision, event, place, command))
    return sorted(found, key=lambda letter: letter.at_ms)


def views(office: Office) -> list[LetterView]:
    letters = letters_of(office)
    return views_of(letters, states_at(office, [letter.task_id or "" for letter in letters]))


def given_up(*more: str, optional: bool = False) -> Office:
    """The task t1, whose step `write` has failed for good; steps named besides are `ready`."""
    office = Office()
    office.join("ada", "write", slots=2)
    office.submit("t1", step("write", optional=optional), *[step(name) for name in more])
    office.fail("t1", "write", "ada", office.start("t1", "write", "ada"), final=True)
    return office


def test_a_step_that_was_given_up_names_itself_and_its_task() -> None:
    office = given_up()
    (letter,) = letters_of(office)
    assert (letter.task_id, letter.step, letter.queue, letter.reason) == ("t1", "write", "write", "Failed")
    assert (letter.description, letter.attempts) == ("ValueError: no use", 1)
    assert letter.origin == "tasks/0@3" and letter.id == "tasks/0@3"
    (view,) = views(office)
    assert (view.state, view.retriable, view.count, view.task_id, view.step) == ("open", True, 1, "t1", "write")


def test_a_step_that_was_given_up_by_a_tick_names_its_task_too() -> None:
    office = Office()
    office.submit("t1", step("write", wait_ms=1_000), step("draw", wait_ms=1_000))
    office.tell("tasks", "t1", Tick(), after_ms=1_000)
    first, second = letters_of(office)
    assert [(one.task_id, one.step, one.reason) for one in (first, second)] == [
        ("t1", "write", "Expired"), ("t1", "draw", "Expired"),
    ]  # fmt: skip
    assert first.id != second.id and first.origin == second.origin


def test_agents_that_were_lost_leave_no_error_type() -> None:
    event = StepDeadLettered("write", "write", "Crashed", "", "3 agents were lost while they ran it", 3)
    assert DOMAINS["tasks"].dead_letters[StepDeadLettered](event).description == "3 agents were lost while they ran it"


def test_retried_and_given_up_again_it_is_the_second_letter_that_is_open() -> None:
    office = given_up()
    office.tell("tasks", "t1", RetryStep("ops", "write"))
    assert [view.state for view in views(office)] == ["retried"]
    office.fail("t1", "write", "ada", office.start("t1", "write", "ada", attempt=2), final=True)
    assert [view.state for view in views(office)] == ["retried", "open"]


def test_retried_and_completed() -> None:
    office = given_up()
    office.tell("tasks", "t1", RetryStep("ops", "write"))
    office.complete("t1", "write", "ada", office.start("t1", "write", "ada", attempt=2))
    assert [view.state for view in views(office)] == ["retried"]


def test_dropped() -> None:
    office = given_up()
    office.tell("tasks", "t1", DropStep("ops", "write", "not needed"))
    assert [view.state for view in views(office)] == ["dropped"]


def test_a_task_that_was_cancelled_meanwhile() -> None:
    office = given_up("draw")
    assert [view.state for view in views(office)] == ["open"]
    office.tell("tasks", "t1", CancelTask("ops", "too late"))
    assert [view.state for view in views(office)] == ["cancelled"]


def test_an_optional_step_cannot_be_retried_and_its_task_completes_without_it() -> None:
    office = given_up("draw", optional=True)
    (view,) = views(office)
    assert (view.state, view.retriable) == ("open", False)
    office.join("bob", "draw")
    office.complete("t1", "draw", "bob", office.start("t1", "draw", "bob"))
    assert [view.state for view in views(office)] == ["completed"]


def test_a_task_that_is_forgotten_and_another_of_its_name() -> None:
    office = given_up()
    office.tell("tasks", "t1", Tick(), after_ms=7 * LEASE_MS)
    assert [(view.state, view.retriable) for view in views(office)] == [("forgotten", False)]
    office.submit("t1", step("write"))
    assert [view.state for view in views(office)] == ["forgotten"]


def test_what_is_no_step_stays_open() -> None:
    play = Play(locks=1, signals=1)
    play.send("desk", AcquireLock("ada", "ada/1", -1, None), task="trip")
    failure = ReportHandlerFailure("ada", "note", "signals/0:1", "signals/0@1", "{}", "KeyError", "'x'", 3)
    play.send("order", failure, domain="signals")
    rejected, handler = views_of(letters_of(play), {})
    assert (rejected.state, rejected.step, rejected.task_id, rejected.retriable) == ("open", None, "trip", True)
    assert rejected.origin == "locks.commands/0@0"
    assert (handler.state, handler.queue, handler.retriable) == ("open", "handler:note", False)
