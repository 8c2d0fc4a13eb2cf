"""A log of tasks and teams without Kafka: what the process managers order is done, as a worker does it."""

from __future__ import annotations

from typing import Any

from accord.schemas.messages import Command, Event
from accord.schemas.messages.roster import JoinTeam
from accord.schemas.messages.tasks import CompleteStep, FailStep, StartStep, Step, StepStarted, SubmitTask
from accord.streams.domains import DOMAINS
from accord.streams.partition import Decided

from tests.histories.play import Play

LEASE_MS = 86_400_000
TIMEOUT_MS = 60_000


def step(name: str, *after: str, **terms: Any) -> Step:
    """A step; its capability is its name."""
    known: dict[str, Any] = {
        "capability": name, "retries": 3, "timeout_ms": TIMEOUT_MS, "wait_ms": 30 * TIMEOUT_MS, "deadline_ms": None,
        "optional": False, "need": None,
    }  # fmt: skip
    return Step(name, after, **(known | terms))


class Office(Play):
    """A `Play` of tasks, roster and locks, and `more` domains. Team, unless another is named: `default`."""

    def __init__(self, tasks: int = 1, roster: int = 1, **more: int) -> None:
        super().__init__(tasks=tasks, roster=roster, locks=1, **more)

    def tell(
        self, domain: str, key: str, command: Command, *, task: str | None = None, after_ms: int = 10
    ) -> list[Event]:
        """Appends a command, its decision, and all that follows from it. Returns the events of the decision."""
        decided = self.send(key, command, domain=domain, task=task, after_ms=after_ms)
        self._follow(domain, key, decided, task)
        return list(decided.events)

    def _follow(self, domain: str, key: str, decided: Decided, task: str | None) -> None:
        for event in decided.events:
            orders = DOMAINS[domain].reactions.get(type(event))
            for order in orders(key, event) if orders else ():
                self.tell(order.domain, order.key, order.command, task=task, after_ms=1)

    def join(self, agent: str, *capabilities: str, slots: int = 1, lease_ms: int = LEASE_MS) -> None:
        """An agent with one process, of the same name."""
        self.tell("roster", "default", JoinTeam(agent, agent, capabilities, slots, lease_ms))

    def submit(self, task_id: str, *steps: Step, type: str = "report", input: str = '"x"') -> None:
        command = SubmitTask("boss", type, "default", input, steps, LEASE_MS)
        self.tell("tasks", task_id, command, task=task_id)

    def start(self, task_id: str, name: str, agent: str, *able: str, attempt: int = 1, after_ms: int = 10) -> int:
        """Has an agent take a step up; returns the token of its run."""
        command = StartStep(agent, agent, "default", name, attempt, able or (name,))
        return token_of(self.tell("tasks", task_id, command, task=task_id, after_ms=after_ms), name)

    def complete(
        self, task_id: str, name: str, agent: str, token: int, result: str = '"done"', after_ms: int = 10
    ) -> list[Event]:
        command = CompleteStep(agent, name, token, result)
        return self.tell("tasks", task_id, command, task=task_id, after_ms=after_ms)

    def fail(
        self, task_id: str, name: str, agent: str, token: int, *, final: bool = False, after_ms: int = 10
    ) -> list[Event]:
        command = FailStep(agent, name, token, "ValueError", "no use", final)
        return self.tell("tasks", task_id, command, task=task_id, after_ms=after_ms)


def token_of(events: list[Event], name: str) -> int:
    """The token of the run of a step that has just begun."""
    (token,) = [event.token for event in events if isinstance(event, StepStarted) and event.step == name]
    return token
