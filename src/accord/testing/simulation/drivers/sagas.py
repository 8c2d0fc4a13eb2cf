"""Agents that begin sagas and run them: step by step, or leave them to others, fail or die."""

from __future__ import annotations

from accord.schemas.messages.sagas import (
    BeginSaga,
    CompleteStep,
    FailStep,
    RetrySaga,
    SagaCompensated,
    SagaCompleted,
    SagaKnown,
    SagaOffered,
    SagaStep,
    SagaStuck,
    SagaTaken,
    StepStarted,
    TakeSaga,
)
from accord.testing.simulation.client import Client, NoAnswer

LEASE_MS = 8_000
_WANTED = (SagaCompleted, SagaCompensated, SagaStuck, SagaOffered, SagaTaken, StepStarted)


async def runner(client: Client) -> None:
    """Begins a saga, and sees to it until it has ended."""
    notes = client.notes  # a process that was killed goes on with the saga that it had begun
    while client.going or notes.get("open"):
        if not notes.get("open"):
            notes["number"] = notes.get("number", 0) + 1
            notes["open"] = f"trip-{client.name}-{notes['number']}"
        name = notes["open"]
        while True:
            try:
                if await _see_to(client, name):
                    break
            except NoAnswer:
                pass
        notes["open"] = ""
        await client.rest(20_000)


async def _see_to(client: Client, name: str) -> bool:
    """Whether it has ended, as far as this process knows."""
    me = client.process.name
    steps = tuple([SagaStep(step, True, 1, 20, 500, 10_000) for step in ("flight", "hotel", "car")])
    async with client.watch("sagas", name) as watch:
        begun = await client.ask("sagas", name, BeginSaga(client.name, me, "trip", steps, "{}", LEASE_MS, 600_000, ()))
        events = list(begun.events)
        taken = await client.ask("sagas", name, TakeSaga(client.name, me, LEASE_MS))
        events += taken.events
        while True:
            for event in events:
                if isinstance(event, SagaCompleted | SagaCompensated) or _is_over(event):
                    return True
                if isinstance(event, SagaStuck):
                    await client.ask("sagas", name, RetrySaga(client.name))
                if isinstance(event, SagaOffered):
                    await client.ask("sagas", name, TakeSaga(client.name, me, LEASE_MS))
                if isinstance(event, StepStarted) and event.runner == me:
                    await _run(client, name, event)
            found = await watch.until(lambda e: isinstance(e, _WANTED), 90_000)
            if found is None:
                return False
            events = [found[1]]


def _is_over(event: object) -> bool:
    """Whether it was known, and had ended."""
    return isinstance(event, SagaKnown) and event.status in ("completed", "compensated")


async def _run(client: Client, name: str, started: StepStarted) -> None:
    chance = client.random
    await client.pause(0, 2_000)
    if chance.random() < (0.05 if started.undo else 0.2):
        end: CompleteStep | FailStep = FailStep(
            client.name, started.step, started.undo, started.run, "Oops", "sold out", chance.random() < 0.3, False
        )
    else:
        end = CompleteStep(client.name, started.step, started.undo, started.run, '"done"')
    await client.ask("sagas", name, end)
