"""Agents that submit tasks, and members of a team that do their steps: complete them, fail, return them, or die."""

from __future__ import annotations

import asyncio
import contextlib

from accord.schemas.messages.roster import (
    AgentsAssigned,
    Assignment,
    JoinTeam,
    LeaveTeam,
    MemberJoined,
    RenewalRefused,
    RenewMembership,
)
from accord.schemas.messages.tasks import (
    CancelTask,
    CompleteStep,
    FailStep,
    ReturnStep,
    StartStep,
    Step,
    StepStarted,
    SubmitTask,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
)
from accord.testing.simulation.client import Client, NoAnswer

TEAM = "crew"
CAPABILITY = "work"
LEASE_MS = 6_000
SHAPES = (
    (("a", ()),),
    (("a", ()), ("b", ("a",))),
    (("a", ()), ("b", ("a",)), ("c", ("a",)), ("d", ("b", "c"))),
)


async def submitter(client: Client) -> None:
    """Submits a task, waits for its end, and again."""
    number = 0
    while client.going:
        number += 1
        with contextlib.suppress(NoAnswer):
            await _submit(client, f"task-{client.process.name}-{number}")
        await client.rest(20_000)


async def _submit(client: Client, name: str) -> None:
    chance = client.random
    steps = tuple(
        [
            Step(
                step,
                after,
                CAPABILITY,
                retries=2,
                timeout_ms=20_000,
                wait_ms=60_000,
                deadline_ms=90_000,
                optional=False,
                need=None,
            )
            for step, after in chance.choice(SHAPES)
        ]
    )
    async with client.watch("tasks", name) as watch:
        await client.ask("tasks", name, SubmitTask(client.name, "job", TEAM, "{}", steps, 600_000, ""))
        if chance.random() < 0.1:
            await client.pause(0, 10_000)
            await client.ask("tasks", name, CancelTask(client.name, "not needed any more"))
            return
        await watch.until(lambda e: isinstance(e, TaskCompleted | TaskFailed | TaskCancelled), 150_000)


async def member(client: Client) -> None:
    """A member of the team: joins, and does what it is given while there may be tasks."""
    cluster = client.cluster
    me = client.process.name
    async with client.watch("roster", TEAM) as watch:
        while cluster.scheduler.now_ms < cluster.asking_until_ms + 160_000:
            try:
                joined = await client.ask("roster", TEAM, JoinTeam(client.name, me, (CAPABILITY,), 2, LEASE_MS))
            except NoAnswer:
                continue
            if not any(isinstance(event, MemberJoined) for event in joined.events):
                await client.pause(1_000, 3_000)
                continue
            running: set[asyncio.Task[None]] = set()
            for event in joined.events:
                _begin(client, event, running)
            while cluster.scheduler.now_ms < cluster.asking_until_ms + 160_000:
                found = await watch.until(lambda e: isinstance(e, AgentsAssigned), LEASE_MS / 3)
                if found is not None:
                    _begin(client, found[1], running)
                    continue
                try:
                    renewed = await client.ask("roster", TEAM, RenewMembership(client.name, me, LEASE_MS))
                except NoAnswer:
                    continue
                for event in renewed.events:
                    _begin(client, event, running)
                if any(isinstance(event, RenewalRefused) for event in renewed.events):
                    break
            await asyncio.gather(*running)
        with contextlib.suppress(NoAnswer):
            await client.ask("roster", TEAM, LeaveTeam(client.name, me))


def _begin(client: Client, event: object, running: set[asyncio.Task[None]]) -> None:
    if isinstance(event, AgentsAssigned):
        for assignment in event.assignments:
            if assignment.member == client.process.name:
                task = client.process.spawn(_run(client, assignment))
                running.add(task)
                task.add_done_callback(running.discard)


async def _run(client: Client, given: Assignment) -> None:
    chance = client.random
    try:
        start = StartStep(client.name, given.member, TEAM, given.step, given.attempt, (CAPABILITY,))
        started = await client.ask("tasks", given.task, start, task=given.task)
        run = next((event for event in started.events if isinstance(event, StepStarted)), None)
        while run is not None:
            await client.pause(0, 3_000)
            step, token, luck = run.step, run.token, chance.random()
            end: CompleteStep | FailStep | ReturnStep
            if luck < 0.8:
                end = CompleteStep(client.name, step, token, '"done"')
            elif luck < 0.95:
                end = FailStep(client.name, step, token, "Oops", "it did not work", chance.random() < 0.1)
            else:
                end = ReturnStep(client.name, step, token)
            ended = await client.ask("tasks", given.task, end, task=given.task)
            run = next((e for e in ended.events if isinstance(e, StepStarted) and e.member == given.member), None)
    except NoAnswer:
        pass
