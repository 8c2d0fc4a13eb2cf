"""Tasks and teams as people look at them: folded from events, counted to one moment."""

from datetime import UTC, datetime
from typing import Any

import pytest
from accord.agents.tasks.handle import record_of
from accord.replay.roster import TeamView
from accord.replay.source import Source
from accord.replay.state import parse_point
from accord.replay.tasks import StepView, TaskView, read
from accord.replay.timeline import iso
from accord.replay.work import states_at, task_at, tasks_at, teams_at
from accord.schemas.messages.log import Tick
from accord.schemas.messages.tasks import CancelTask, DropStep, RetryStep, ReturnStep, SubmitTask

from accord.errors import NotFound
from tests.histories.office import LEASE_MS, TIMEOUT_MS, Office, step

MANY = [(1, 1), (3, 2)]
"""Partitions of tasks and of the roster."""


def task_of(source: Source, task_id: str, **at: Any) -> TaskView:
    (view,) = [view for view in tasks_at(source, **at) if view.id == task_id]
    return view


def steps_of(source: Source, task_id: str, **at: Any) -> dict[str, StepView]:
    found = task_at(source, task_id, **at)
    assert found is not None and found.view == task_of(source, task_id, **at)
    return {one.name: one for one in found.steps}


def team_of(source: Source, **at: Any) -> TeamView:
    (view,) = teams_at(source, **at)
    return view


@pytest.mark.parametrize(("tasks", "roster"), MANY)
def test_a_task_on_its_way(tasks: int, roster: int) -> None:
    office = Office(tasks, roster)
    office.join("ada", "research", "write", slots=2)
    office.submit("t1", step("research"), step("plan"), step("write", "research", "plan"))
    token = office.start("t1", "research", "ada")
    began_ms = office.now_ms
    office.complete("t1", "research", "ada", token, after_ms=2_500)
    office.submit("t2", step("research"))
    now_ms = office.now_ms + 1_000

    view = task_of(office, "t1", now_ms=now_ms)
    assert (view.type, view.status, view.team, view.agent) == ("report", "in_progress", "default", "boss")
    assert (view.done, view.total, view.running, view.completed_at) == (1, 3, (), None)
    assert [waiting.name for waiting in view.waiting] == ["plan"]
    assert view.waiting_since == view.waiting[0].since == view.created_at
    steps = steps_of(office, "t1", now_ms=now_ms)
    research, plan, write = steps.values()
    assert (research.status, research.agent, research.tries, research.took_ms) == ("completed", "ada", 1, 2_500)
    assert (research.since, research.for_ms) == (iso(began_ms + 2_500), now_ms - began_ms - 2_500)
    assert (plan.status, plan.cause) == ("ready", "nobody in the team default is able to do plan")
    assert (write.status, write.after, write.since, write.cause) == ("pending", ("research", "plan"), None, "")
    assert [view.id for view in tasks_at(office)] == ["t1", "t2"], "oldest first"


def test_who_goes_on_with_the_next_step_keeps_the_slot() -> None:
    office = Office()
    office.join("ada", "research", "write")
    office.submit("t1", step("research"), step("write", "research"))
    office.complete("t1", "research", "ada", office.start("t1", "research", "ada", "research", "write"), after_ms=700)
    running = task_of(office, "t1", now_ms=office.now_ms + 300).running
    assert [(one.name, one.agent, one.for_ms, one.stuck) for one in running] == [("write", "ada", 300, False)]
    (member,) = team_of(office, now_ms=office.now_ms + 300).members
    assert (member.busy, member.free, len(member.runs)) == (1, 0, 1)
    assert (member.runs[0].task, member.runs[0].step, member.runs[0].for_ms) == ("t1", "write", 300)


def test_a_step_that_nobody_is_able_to_do_is_stuck_after_twice_its_timeout() -> None:
    office = Office()
    office.submit("t1", step("translate"))
    since_ms = office.now_ms - 1
    for late_ms, stuck in ((2 * TIMEOUT_MS, False), (2 * TIMEOUT_MS + 1, True)):
        view = task_of(office, "t1", now_ms=since_ms + late_ms)
        (waiting,) = view.waiting
        assert (view.stuck, waiting.stuck, waiting.for_ms) == (stuck, stuck, late_ms)
        assert waiting.cause == "nobody in the team default is able to do translate"
        assert waiting.remedy == "Start an agent that is."


def test_a_step_that_waits_for_a_slot_says_how_many_are_before_it() -> None:
    office = Office()
    office.join("ada", "write")
    for name in ("t1", "t2", "t3"):
        office.submit(name, step("write"))
    assert steps_of(office, "t1")["write"].cause == "was given to ada, who has not begun it"
    office.start("t1", "write", "ada")
    assert steps_of(office, "t1")["write"].cause == ""
    causes = [steps_of(office, name)["write"].cause for name in ("t2", "t3")]
    assert causes == [
        "no slot is free of the 1 able to do write",
        "no slot is free of the 1 able to do write, 1 before it",
    ]


def test_a_step_whose_team_does_not_know_of_it() -> None:
    office = Office()
    office.submit("t1", step("write"))
    del office.log_events["roster", 0][1:]
    assert steps_of(office, "t1")["write"].cause == "the team default has not been asked yet"
    assert "accord doctor" in steps_of(office, "t1")["write"].remedy


def test_the_pause_after_a_failure_is_not_stuck_but_what_comes_after_it_may_be() -> None:
    office = Office()
    office.join("ada", "write")
    office.submit("t1", step("write", timeout_ms=100))
    office.fail("t1", "write", "ada", office.start("t1", "write", "ada"))
    again_ms = office.now_ms - 1 + 5_000
    write = steps_of(office, "t1", now_ms=again_ms)["write"]
    clock = iso(again_ms)[11:19]
    assert (write.status, write.failures, write.stuck) == ("retrying", 1, False)
    assert write.cause == f"failed 1 of at most 4 times, runs again at {clock}Z (ValueError: no use)"
    assert write.remedy == "See: accord tasks trace t1."
    assert not steps_of(office, "t1", now_ms=again_ms + 200)["write"].stuck
    write = steps_of(office, "t1", now_ms=again_ms + 201)["write"]
    assert write.stuck and write.cause == f"was to run again at {clock}Z, but nobody decides"


def test_a_run_that_nobody_ends() -> None:
    office = Office()
    office.join("ada", "write")
    office.submit("t1", step("write"))
    office.start("t1", "write", "ada")
    write = steps_of(office, "t1", now_ms=office.now_ms + 2 * TIMEOUT_MS + 1)["write"]
    assert write.stuck and write.cause == "its limit of time has passed, but nobody decides"


def broken() -> tuple[Office, int]:
    """Five runs have failed, so the breaker of `write` has opened at the time that is returned; t6 was refused."""
    office = Office()
    office.join("ada", "write")
    for number in range(1, 6):
        office.submit(f"t{number}", step("write", retries=0))
        office.fail(f"t{number}", "write", "ada", office.start(f"t{number}", "write", "ada"))
    opened_ms = office.now_ms
    office.submit("t6", step("write"))
    return office, opened_ms


def test_an_open_breaker() -> None:
    office, opened_ms = broken()
    now_ms = opened_ms + 20_000
    (queue,) = team_of(office, now_ms=now_ms).capabilities
    assert (queue.capability, queue.able, queue.free, queue.running, queue.waiting) == ("write", 1, 1, 0, 0)
    breaker = queue.breaker
    assert (breaker.state, breaker.failures, breaker.left_ms) == ("open", 5, 40_000)
    assert breaker.until == iso(opened_ms + 60_000)
    write = steps_of(office, "t6", now_ms=now_ms)["write"]
    clock = iso(opened_ms + 60_000)[11:19]
    assert write.status == "retrying"
    assert write.cause.startswith(f"the breaker of write is open until {clock}Z (5 failures in a row); asked again at ")
    assert write.for_ms is not None and write.for_ms > 19_000, "waits since it was first asked for"
    later = steps_of(office, "t6", now_ms=opened_ms + 60_000)["write"]
    assert later.cause.startswith("the breaker of write is open, but lets the next one through (5 failures in a row)")


def test_a_breaker_on_trial() -> None:
    office, _ = broken()
    office.tell("tasks", "t6", Tick(), after_ms=61_000)
    breaker = team_of(office).capabilities[0].breaker
    assert (breaker.state, breaker.trial) == ("half_open", "t6/write")
    office.submit("t7", step("write"))
    assert "the breaker of write tries another run (t6/write)" in steps_of(office, "t7")["write"].cause


def test_what_was_given_up_and_what_it_blocks() -> None:
    office = Office()
    office.join("ada", "write", "draw", "edit", slots=3)
    office.submit("t1", step("write"), step("draw", optional=True, retries=0), step("edit", "write", "draw"))
    office.fail("t1", "draw", "ada", office.start("t1", "draw", "ada"))
    office.fail("t1", "write", "ada", office.start("t1", "write", "ada"), final=True, after_ms=40)
    view, steps = task_of(office, "t1"), steps_of(office, "t1")
    assert (view.status, view.given_up, view.error) == ("failed", ("write", "draw"), "write: Failed")
    assert (view.running, view.waiting, view.waiting_since, view.stuck) == ((), (), None, False)
    assert (steps["write"].took_ms, steps["write"].error) == (40, "no use")
    assert steps["write"].cause == "Failed (ValueError: no use)"
    assert steps["write"].remedy == "When its cause is gone: accord dlq retry --task t1."
    assert "go on without it" in steps["draw"].remedy
    assert (steps["edit"].status, steps["edit"].cause) == ("blocked", "write was not completed")

    office.tell("tasks", "t1", RetryStep("ops", "write"), task="t1")
    steps = steps_of(office, "t1")
    assert (steps["write"].status, steps["write"].failures, steps["edit"].status) == ("ready", 0, "pending")
    office.fail("t1", "write", "ada", office.start("t1", "write", "ada", attempt=2), final=True)
    office.tell("tasks", "t1", DropStep("ops", "write", "not needed"), task="t1")
    assert steps_of(office, "t1")["write"].remedy == "It cannot be retried any more."


def test_a_cancelled_task_and_a_run_that_was_given_back() -> None:
    office = Office()
    office.join("ada", "write")
    office.submit("t1", step("write"))
    token = office.start("t1", "write", "ada")
    office.tell("tasks", "t1", ReturnStep("ada", "write", token), task="t1", after_ms=90)
    write = steps_of(office, "t1")["write"]
    assert (write.status, write.took_ms, write.tries) == ("ready", 90, 1)
    office.tell("tasks", "t1", CancelTask("ops", "too late"), task="t1")
    view = task_of(office, "t1")
    assert (view.status, view.error, view.completed_at) == ("cancelled", "too late", iso(office.now_ms - 1))
    assert steps_of(office, "t1")["write"].status == "cancelled"


@pytest.mark.parametrize(("tasks", "roster"), MANY)
def test_a_position_of_one_domain_is_a_moment_in_the_other(tasks: int, roster: int) -> None:
    office = Office(tasks, roster)
    office.join("ada", "write")
    office.submit("t1", step("write"))
    office.start("t1", "write", "ada")
    (where, *_) = [where for where, log in office.log_events.items() if where[0] == "roster" and len(log) > 1]
    assigned = len(office.log_events[where]) - 1
    for offset, cause in ((assigned - 1, ""), (assigned, "was given to ada, who has not begun it")):
        found = tasks_at(office, parse_point(f"roster/{where[1]}@{offset}"))
        assert [one.cause for view in found for one in view.waiting] == [cause] * bool(cause)
    (run,) = team_of(office, point=parse_point(f"roster/{where[1]}@{assigned}")).members[0].runs
    assert (run.step, run.for_ms) == ("write", None)
    assert tasks_at(office, parse_point("tasks/0@0")) == () == teams_at(office, parse_point("tasks/0@0"))
    with pytest.raises(NotFound):
        tasks_at(office, parse_point("locks/0@9"))
    with pytest.raises(NotFound, match="before the first decision"):
        tasks_at(office, datetime(2001, 1, 1, tzinfo=UTC))
    assert task_at(office, "t1", parse_point("tasks/0@0")) is None


def test_a_position_tells_decisions_of_the_same_millisecond_apart() -> None:
    office = Office()
    for name in ("t1", "t2"):
        command = SubmitTask("boss", "report", "default", "1", (step("write"),), LEASE_MS)
        office.send(name, command, domain="tasks", after_ms=0)
    for point in ("tasks/0@1", "tasks.commands/0@0"):
        assert [view.id for view in tasks_at(office, parse_point(point))] == ["t1"]
    assert len(tasks_at(office, parse_point("tasks/0@2"))) == 2


def test_the_lease_of_a_member() -> None:
    office = Office()
    office.join("ada", "write", lease_ms=10_000)
    (member,) = team_of(office, now_ms=office.now_ms + 4_000).members
    assert (member.member, member.lease_left_ms, member.capabilities) == ("ada", 6_000, ("write",))


def test_the_record_is_what_the_log_would_tell() -> None:
    office = Office()
    office.join("ada", "write", "edit", slots=2)
    office.submit("t1", step("write"), step("edit", "write"), input='{"topic":"cats"}')
    office.complete("t1", "write", "ada", office.start("t1", "write", "ada"), '{"words":3}')
    office.complete("t1", "edit", "ada", office.start("t1", "edit", "ada"), '"cats!"')
    found = task_at(office, "t1")
    assert found is not None
    record = record_of("t1", *read("t1", found.state))
    assert (record["status"], record["input"], record["result"]) == ("completed", {"topic": "cats"}, "cats!")
    assert [(one["name"], one["result"]) for one in record["steps"]] == [("write", {"words": 3}), ("edit", "cats!")]
    assert record["completed_at"] == found.view.completed_at


def test_the_record_of_a_task_that_is_told_in_parts() -> None:
    office = Office()
    office.join("ada", "a", "b", "c", slots=3)
    office.submit("t1", step("a"), step("b"), step("c"))
    for name in "abc":
        office.complete("t1", name, "ada", office.start("t1", name, "ada"), f'"{"x" * 240_000}"')
    found = task_at(office, "t1")
    assert found is not None
    told, steps = read("t1", found.state)
    assert len(told.steps) < len(steps) == 3


def test_states_of_some_tasks() -> None:
    office = Office(3, 1)
    for name in ("t1", "t2", "t3"):
        office.submit(name, step("write"))
    assert set(states_at(office, ["t1", "t3", "t9"])) == {"t1", "t3"}
