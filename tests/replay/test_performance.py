"""How long agents take and how often they fail, against logs whose times are known."""

import pytest
from accord.replay.performance import ERRORS_MAX, OTHERS, Failures, Performance, Runs, failures, performance
from accord.schemas.messages.log import Tick
from accord.schemas.messages.signals import ReportHandlerFailure
from accord.schemas.messages.tasks import CancelTask, FailStep, ReturnStep

from tests.histories.office import TIMEOUT_MS, Office, step
from tests.histories.play import Play


def test_runs_by_agent_the_slowest_on_average_first() -> None:
    office = Office()
    office.join("ada", "write", slots=9)
    office.join("bob", "print", slots=9)
    for number in range(20):
        name = f"t{number}"
        office.submit(name, step("write"))
        office.complete(name, "write", "ada", office.start(name, "write", "ada"), after_ms=100 + number)
    office.submit("slow", step("print"))
    office.complete("slow", "print", "bob", office.start("slow", "print", "bob"), after_ms=2_000)
    bob, ada = performance(office)
    assert bob == Performance("bob", 1, 1, 2_000.0, 2_000, 2_000)
    assert ada == Performance("ada", 20, 20, 109.5, 118, 119)


def test_by_capability_over_agents_and_partitions() -> None:
    office = Office(3, 1)
    for name in ("ada", "bob"):
        office.join(name, "write", slots=9)
    for number in range(6):
        name, agent = f"t{number}", ("ada", "bob")[number % 2]
        office.submit(name, step("write"))
        office.complete(name, "write", agent, office.start(name, "write", agent), after_ms=100 * (number + 1))
    (write,) = performance(office, by="capability")
    assert (write.name, write.count, write.avg_ms, write.max_ms) == ("write", 6, 350.0, 600)
    assert {one.name: one.count for one in performance(office)} == {"ada": 3, "bob": 3}


def test_failures_and_their_errors_the_worst_first() -> None:
    office = Office()
    office.join("ada", "write", slots=9)
    office.join("bob", "print", slots=9)
    for number in range(3):
        name = f"t{number}"
        office.submit(name, step("write"), step("print"))
        token = office.start(name, "write", "ada")
        error = "no ink" if number else "no paper"
        office.tell("tasks", name, FailStep("ada", "write", token, "ValueError", error, True), task=name, after_ms=50)
    office.fail("t2", "print", "bob", office.start("t2", "print", "bob"), final=True)
    worst, other = failures(office)
    assert worst == Failures("ada", 3, (("ValueError: no ink", 2), ("ValueError: no paper", 1)))
    assert other == Failures("bob", 1, (("ValueError: no use", 1),))
    assert [one.name for one in failures(office, by="capability")] == ["write", "print"]
    assert {one.name: (one.count, one.completed) for one in performance(office)} == {"ada": (3, 0), "bob": (1, 0)}


def test_a_run_that_takes_too_long_has_failed_and_one_given_back_has_not() -> None:
    office = Office()
    office.join("ada", "write", slots=9)
    office.submit("late", step("write", retries=0))
    office.start("late", "write", "ada")
    office.submit("back", step("write"))
    token = office.start("back", "write", "ada")
    office.tell("tasks", "back", ReturnStep("ada", "write", token), task="back")
    office.submit("ended", step("write"))
    office.start("ended", "write", "ada")
    office.tell("tasks", "ended", CancelTask("ops", "enough"), task="ended")
    office.tell("tasks", "late", Tick(), after_ms=TIMEOUT_MS)
    (ada,) = performance(office)
    assert (ada.count, ada.completed) == (1, 0) and ada.max_ms >= TIMEOUT_MS
    assert failures(office) == (Failures("ada", 1, (("TimeoutError: the run took too long", 1),)),)


def test_handlers_that_failed_count_as_their_agents_failures() -> None:
    play = Play(signals=1)
    command = ReportHandlerFailure("ada", "print", "id-1", "signals/0@1", "{}", "OSError", "gone", 4)
    play.send("printed", command, domain="signals")
    assert failures(play) == (Failures("ada", 1, (("OSError: gone", 1),)),)
    assert failures(play, by="capability")[0].name == "handler:print"
    assert performance(play) == ()


def test_errors_without_number_are_counted_together() -> None:
    runs = Runs()
    for number in range(ERRORS_MAX + 50):
        runs.failed(f"ValueError: {number}")
    runs.failed("ValueError: 0")
    assert runs.errors[OTHERS] == 50 and runs.errors["ValueError: 0"] == 2
    assert runs.errors.total() == ERRORS_MAX + 51


@pytest.mark.parametrize("count", [1, 19, 20, 21, 100])
def test_the_95th_percentile_is_the_nearest_rank(count: int) -> None:
    office = Office()
    office.join("ada", "write", slots=200)
    for number in range(count):
        office.submit(f"t{number}", step("write"))
        token = office.start(f"t{number}", "write", "ada")
        office.complete(f"t{number}", "write", "ada", token, after_ms=number + 1)
    (ada,) = performance(office)
    below = sum(number + 1 <= ada.p95_ms for number in range(count))
    assert below >= 0.95 * count > below - 1
