"""Everything about one task, and nothing about others."""

import pytest
from accord.replay.timeline import TimelineEvent
from accord.replay.trace import trace
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.log import Tick

from accord.errors import NotFound
from tests.histories.office import Office, step


def told(office: Office, task_id: str) -> list[TimelineEvent]:
    return list(trace(office, task_id))


def names(events: list[TimelineEvent]) -> list[str]:
    return [event.event for event in events]


@pytest.mark.parametrize("partitions", [1, 3])
def test_a_task_from_beginning_to_end_over_all_domains(partitions: int) -> None:
    office = Office(partitions, partitions)
    office.join("ada", "write")
    office.submit("t1", step("write"))
    token = office.start("t1", "write", "ada")
    office.send("desk", AcquireLock("ada", "ada/1", 5_000, None), task="t1")
    office.send("chair", AcquireLock("ada", "ada/2", 5_000, None), task="t2")
    office.complete("t1", "write", "ada", token)
    events = told(office, "t1")
    assert names(events) == [
        "TaskSubmitted", "AgentsWanted", "AgentsAwaited", "AgentsAssigned", "StepStarted", "LockGranted",
        "StepCompleted", "AgentsFreed", "TaskCompleted", "AgentsFreed",
    ]  # fmt: skip
    assert [event.time for event in events] == sorted(event.time or "" for event in events)
    agents = {event.event: event.agent for event in events}
    assert (agents["AgentsAssigned"], agents["StepStarted"], agents["LockGranted"]) == ("ada", "ada", "ada")


def test_of_a_teams_decisions_only_the_part_about_the_task_is_told() -> None:
    """One who joins gets the steps of two tasks in one decision, which carries neither's id in its headers."""
    office = Office()
    office.submit("t1", step("write"))
    office.submit("t2", step("write"))
    office.submit("t10", step("write"))
    office.join("ada", "write", slots=3)
    (assigned,) = [event for event in told(office, "t1") if event.event == "AgentsAssigned"]
    assert [one["task"] for one in assigned.data["assignments"]] == ["t1"]
    assert (assigned.agent, assigned.task_id) == ("ada", "t1")
    assert "MemberJoined" not in names(told(office, "t1"))


def test_what_was_decided_when_time_had_passed_is_told_too() -> None:
    """Ticks, and what they bring about, have no task in their headers."""
    office = Office()
    office.join("ada", "write", slots=2)
    office.submit("t1", step("write"))
    office.fail("t1", "write", "ada", office.start("t1", "write", "ada"))
    office.tell("tasks", "t1", Tick(), after_ms=5_000)
    assert names(told(office, "t1"))[-3:] == ["AgentsWanted", "AgentsAwaited", "AgentsAssigned"]


def test_an_agent_that_is_lost_with_the_steps_of_two_tasks() -> None:
    office = Office()
    office.join("ada", "write", slots=2, lease_ms=10_000)
    office.submit("t1", step("write"))
    office.submit("t2", step("write"))
    office.start("t1", "write", "ada")
    office.tell("roster", "default", Tick(), after_ms=10_000)
    (lost,) = [event for event in told(office, "t1") if event.event == "MemberLost"]
    assert [one["task"] for one in lost.data["assigned"]] == ["t1"]
    assert "StepLost" in names(told(office, "t1"))


def test_nothing_about_a_task() -> None:
    with pytest.raises(NotFound, match="nothing about a task t9"):
        told(Office(), "t9")
