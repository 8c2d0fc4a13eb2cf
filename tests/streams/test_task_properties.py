"""Tasks and their team together, under any order of events: no step runs twice, no slot is lost, every task ends.

Both deciders run joined by their domains' process managers, with agents that join, run steps, fail, fall silent, leave
and crash. What one aggregate sends another arrives in order, but as late as it likes, and some of it once more. The
checks are made from the events and from the graph as it was defined.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from random import Random
from typing import Any
from unittest.mock import patch

from accord.schemas.messages import Command, Event, roster, tasks
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.roster import JoinTeam, LeaveTeam, RenewMembership
from accord.schemas.messages.tasks import (
    CancelTask,
    CompleteStep,
    DropStep,
    FailStep,
    ReadTask,
    RetryStep,
    ReturnStep,
    StartStep,
    Step,
    SubmitTask,
)
from accord.streams.decider import At, dump, restore
from accord.streams.domains import DOMAINS
from accord.streams.roster import decider as team_rules
from accord.streams.roster.team import HALF_OPEN, Team
from accord.streams.tasks import decider as task_rules
from accord.streams.tasks.progress import BLOCKED, COMPLETED, ENDED, GIVEN_UP, PENDING, READY, RETRYING, RUNNING
from accord.streams.tasks.task import Task
from hypothesis import given, settings
from hypothesis import strategies as st

EXAMPLES = 1_000 if os.environ.get("ACCORD_LONG") else 200
TEAM = ("roster", "team")
SKILLS = ("write", "draw", "sing")
LEASE_MS = 10_000
OF_HEARTBEATS = {
    "AgentAppeared", "AgentBeat", "AgentSuspected", "AgentRecovered", "AgentFailed", "AgentLeft", "AgentForgotten",
    "BeatRefused", "MemberFailed",
}  # fmt: skip
"""In `test_presence.py`."""
Place = tuple[str, str]
"""Domain and key of an aggregate."""


@dataclass
class Agent:
    """A process. `given` is what it was assigned and has not begun, `runs` what it runs, as (task, step, token)."""

    name: str
    skills: tuple[str, ...]
    slots: int
    silent: bool = False
    alive: bool = True
    given: deque[tuple[str, str, int]] = field(default_factory=deque)
    runs: list[tuple[str, str, int]] = field(default_factory=list)


@dataclass
class Aggregate:
    """An aggregate's state, the events that brought it, and the same state by way of its row."""

    state: Any = None
    restored: Any = None
    events: list[Event] = field(default_factory=list)


@dataclass
class World:
    draw: Random
    gentle: bool = False
    """Somebody is there for everything, nobody fails or dies and no time passes; all else is as in other worlds."""
    at_once: int | None = None
    """How much one decision does at most of what may be more; None: as much as it does elsewhere."""
    now_ms: int = 1_000_000
    seq: int = 0
    aggregates: dict[Place, Aggregate] = field(default_factory=dict)
    links: dict[tuple[str, Place], deque[Command]] = field(default_factory=dict)
    sent: list[tuple[Place, Command]] = field(default_factory=list)
    agents: list[Agent] = field(default_factory=list)
    running: dict[tuple[str, str], int] = field(default_factory=dict)
    completed: set[tuple[str, str]] = field(default_factory=set)
    given_up: set[str] = field(default_factory=set)
    """Tasks in which a step was."""
    seen: dict[str, int] = field(default_factory=dict)
    """How often each type of event came up."""

    # -- what is under way

    def send(self, source: str, place: Place, command: Command) -> None:
        self.links.setdefault((source, place), deque()).append(command)

    def deliver(self) -> None:
        """The next of something that is under way."""
        source, place = self.draw.choice(sorted(self.links))
        link = self.links[source, place]
        command = link.popleft()
        if not link:
            del self.links[source, place]
        self.sent.append((place, command))
        self.decide(place, command)

    def repeat(self) -> None:
        """One of the last commands comes once more."""
        if self.sent:
            self.decide(*self.draw.choice(self.sent[-20:]))

    # -- decisions

    def decide(self, place: Place, command: Command) -> None:
        domain = DOMAINS[place[0]]
        decider, aggregate = domain.versions[1], self.aggregates.setdefault(place, Aggregate())
        self.seq += 1
        at = At(self.now_ms, self.seq, f"r{self.seq}")
        with ExitStack() as patches:
            if self.at_once is not None:
                patches.enter_context(patch.object(task_rules, "DUE_MAX", self.at_once))
                patches.enter_context(patch.object(team_rules, "ASSIGNED_AT_ONCE_MAX", self.at_once))
            events = decider.decide(aggregate.state, command, at)
            assert list(events) == list(decider.decide(aggregate.restored, command, at)), "a restored one decides so"
        for event in events:
            assert type(event) is not CommandRejected, event
            if place != TEAM:
                self.note(place[1], aggregate.state, event)
            aggregate.events.append(event)
            aggregate.state = decider.evolve(aggregate.state, event)
            aggregate.restored = decider.evolve(aggregate.restored, event)
        if self.draw.random() < 0.2 and aggregate.state is not None:
            aggregate.restored = restore(dump(aggregate.state), decider.state_type)
        if place == TEAM:
            check_team(aggregate.state or Team(), None if self.at_once else self.now_ms)
        elif aggregate.state is not None:
            check_task(aggregate.state)
        for event in events:
            self.seen[type(event).__name__] = self.seen.get(type(event).__name__, 0) + 1
            self.hear(place[1], event)
            for order in domain.reactions.get(type(event), lambda *_: [])(place[1], event):
                self.send(f"{place[0]}:{place[1]}", (order.domain, order.key), order.command)

    def note(self, key: str, state: Task | None, event: Event) -> None:
        """What an event of a task claims, beside what was before it."""
        match event:
            case tasks.StepStarted(step=step, token=token):
                assert state is not None
                assert not state.has_ended
                assert (key, step) not in self.completed, "a completed step runs again"
                assert (key, step) not in self.running, "two runs of a step at a time"
                self.running[key, step] = token
                self.check_needs(state, step)
            case tasks.AgentsWanted(wanted=wanted):
                assert state is not None
                for one in wanted:
                    assert (key, one.step) not in self.completed, "a completed step is asked for again"
                    self.check_needs(state, one.step)
            case tasks.StepCompleted(step=step, token=token):
                assert self.running.pop((key, step)) == token, "completed by a run that was over"
                self.completed.add((key, step))
            case tasks.StepFailed(step=step, token=token) | tasks.StepReturned(step=step, token=token):
                assert self.running.pop((key, step)) == token
            case tasks.StepTimedOut(step=step) | tasks.StepLost(step=step):
                self.running.pop((key, step), None)
            case tasks.StepDeadLettered() | tasks.StepRefused(retry_ms=None):
                self.given_up.add(key)
            case tasks.TaskCompleted() | tasks.TaskFailed():
                assert not [one for one in self.running if one[0] == key], "ended while a step runs"
            case tasks.TaskCancelled():
                self.running = {one: token for one, token in self.running.items() if one[0] != key}
            case tasks.TaskForgotten():
                self.completed = {one for one in self.completed if one[0] != key}
            case _:
                pass

    def check_needs(self, state: Task, name: str) -> None:
        """A step that begins has what it needs."""
        number = state.graph.number(name)
        assert number is not None
        step = state.graph[number]
        if state.steps[number].status != PENDING:
            return
        before = {one: state.steps[one].status for one in state.graph.before[number]}
        assert all(status in ENDED for status in before.values()), "begun before what it needs has ended"
        if step.need is None:
            assert all(status == COMPLETED or state.graph[one].optional for one, status in before.items())
        else:
            assert sum(status == COMPLETED for status in before.values()) >= step.need, "begun with too few"

    def hear(self, key: str, event: Event) -> None:
        """Agents are told what concerns them."""
        match event:
            case roster.AgentsAssigned(assignments=assignments):
                for one in assignments:
                    agent = self.agent(one.member)
                    if agent is not None:
                        agent.given.append((one.task, one.step, one.attempt))
            case tasks.StepStarted(member=member, step=step, token=token):
                agent = self.agent(member)
                if agent is not None:
                    agent.runs.append((key, step, token))
            case roster.RenewalRefused(member=member):
                agent = self.agent(member)
                if agent is not None:
                    self.join(agent)
            case _:
                pass

    # -- agents

    def agent(self, name: str) -> Agent | None:
        return next((agent for agent in self.agents if agent.alive and agent.name == name), None)

    def new_agent(self, skills: Sequence[str], slots: int) -> None:
        agent = Agent(f"m{len(self.agents)}", tuple(skills), slots)
        self.agents.append(agent)
        self.join(agent)

    def join(self, agent: Agent) -> None:
        self.send(agent.name, TEAM, JoinTeam("agent", agent.name, agent.skills, agent.slots, LEASE_MS))

    def act(self, agent: Agent, *, well: bool) -> bool:
        """The agent does something; False: it has nothing to do."""
        if agent.given:
            task, step, attempt = agent.given.popleft()
            self.send(agent.name, ("tasks", task), StartStep("agent", agent.name, "team", step, attempt, agent.skills))
            return True
        if not agent.runs:
            return False
        task, step, token = agent.runs.pop(self.draw.randrange(len(agent.runs)))
        kind = "complete" if well else self.draw.choice(["complete"] * 5 + ["fail", "fail", "final", "return", "hang"])
        command: dict[str, Command] = {
            "complete": CompleteStep("agent", step, token, f'"{step}"'),
            "fail": FailStep("agent", step, token, "OSError", "no ink", final=False),
            "final": FailStep("agent", step, token, "OSError", "no ink", final=True),
            "return": ReturnStep("agent", step, token),
        }
        if kind in command:
            self.send(agent.name, ("tasks", task), command[kind])
        return True

    # -- time

    def pass_time(self, ms: int) -> None:
        self.now_ms += ms
        for agent in self.agents:
            if agent.alive and not agent.silent:
                self.send(agent.name, TEAM, RenewMembership("agent", agent.name, LEASE_MS))

    def deadlines(self) -> dict[Place, int]:
        """When each aggregate is due; of tasks that have ended no more than that is left."""
        due = {}
        for place, aggregate in self.aggregates.items():
            state = aggregate.state
            if state is not None and not (isinstance(state, Task) and state.has_ended):
                due_ms = DOMAINS[place[0]].versions[1].deadline_ms(state)
                if due_ms is not None:
                    due[place] = due_ms
        return due

    def tick(self) -> bool:
        """Ticks to all that is due; False: nothing is."""
        due = [place for place, due_ms in self.deadlines().items() if due_ms <= self.now_ms]
        for place in due:
            self.decide(place, Tick())
        return bool(due)

    # -- the run

    def step(self) -> None:
        draw = self.draw
        alive = [agent for agent in self.agents if agent.alive]
        kinds = {"deliver": 12, "act": 8, "repeat": 1, "time": 0, "person": 0, "agents": 0}
        if not self.gentle:
            kinds |= {"time": 3, "person": 1, "agents": 1}
        kind = draw.choices([*kinds], [*kinds.values()])[0]
        if kind == "deliver" and self.links:
            self.deliver()
        elif kind == "act" and alive:
            self.act(draw.choice(alive), well=self.gentle)
        elif kind == "repeat":
            self.repeat()
        elif kind == "time":
            self.pass_time(draw.choice([0, 1, 100, 1_000, 5_000, 5_000, 20_000]))
            if draw.random() < 0.8:
                self.tick()
        elif kind == "person":
            self.person()
        elif kind == "agents":
            self.change_agents(alive)

    def person(self) -> None:
        draw = self.draw
        key, step = f"t{draw.randrange(3)}", f"s{draw.randrange(8)}"
        command: Command = draw.choice(
            [
                RetryStep("person", step), RetryStep("person", step), RetryStep("person", step),
                DropStep("person", step, ""), ReadTask("person", (), 0), CancelTask("person", "why"),
            ]
        )  # fmt: skip
        if not isinstance(command, CancelTask) or draw.random() < 0.2:
            self.send("person", ("tasks", key), command)

    def change_agents(self, alive: list[Agent]) -> None:
        draw = self.draw
        if len(alive) < 2 or (draw.random() < 0.5 and len(self.agents) < 8):
            self.new_agent(draw.sample(SKILLS, draw.randrange(1, 4)), draw.randrange(1, 3))
            return
        agent = draw.choice(alive)
        match draw.choice(["crash", "silent", "silent", "leave"]):
            case "crash":
                agent.alive = False
            case "silent":
                agent.silent = not agent.silent
            case "leave":
                agent.alive = False
                self.send(agent.name, TEAM, LeaveTeam("agent", agent.name))

    def settle(self) -> None:
        """From now on all goes well, and there is somebody for everything: until nothing is left to do."""
        for agent in self.agents:
            agent.silent = False
        self.new_agent(SKILLS, 2)
        for _ in range(20_000):
            if self.links:
                self.deliver()
            elif sum(self.act(agent, well=True) for agent in self.agents if agent.alive) or self.tick():
                pass
            elif set(due := self.deadlines()) - {TEAM} or any(not agent.alive for agent in self.members()):
                self.pass_time(min(1_000, max(1, min(due.values()) - self.now_ms)))
            else:
                return
        raise AssertionError(f"it does not come to rest: {self.deadlines()}")

    def members(self) -> list[Agent]:
        known = self.aggregates[TEAM].state
        names = {member.name for member in known.members} if known is not None else set()
        return [agent for agent in self.agents if agent.name in names]


def check_task(task: Task) -> None:
    """What holds of a task between its decisions."""
    steps = [task.steps[number] for number in range(len(task.graph))]
    assert task.left == sum(one.status not in ENDED for one in steps)
    if task.has_ended:
        assert task.steps.due_ms is None
        return
    assert task.left, "nothing can go on and it has not ended"
    assert task.steps.due_ms == min((one.due_ms for one in steps if one.due_ms is not None), default=None)
    for number, one in enumerate(steps):
        step = task.graph[number]
        waits_for = [
            before
            for before in task.graph.before[number]
            if steps[before].status not in ENDED
            or not (steps[before].status == COMPLETED or task.graph[before].optional or step.need is not None)
        ]
        assert task.missing_of(number) == len(waits_for)
        match one.status:
            case "pending":
                assert waits_for, "it waits for nothing"
                assert not any(steps[before].status in GIVEN_UP | {BLOCKED} for before in waits_for), (
                    "it waits for ever"
                )
            case "ready" | "running" | "retrying":
                assert one.due_ms is not None, "nothing ever happens to it of itself"
                assert (one.slot is not None) == (one.status == RUNNING)
            case "blocked":
                before = [(steps[other].status, task.graph[other].optional) for other in task.graph.before[number]]
                assert step.need is not None or any(status in GIVEN_UP | {BLOCKED} and not o for status, o in before)
            case _:
                assert one.status in ENDED, one.status
                assert one.due_ms is None
    assert {one.status for one in steps} <= {PENDING, READY, RUNNING, RETRYING, *ENDED}


def check_team(team: Team, now_ms: int | None) -> None:
    """What holds of a team between its decisions, of which the last was at `now_ms`; None: one may not do all."""
    members = {member.name: member for member in team.members}
    busy: dict[str, int] = dict.fromkeys(members, 0)
    for _, taken in team.taken:
        busy[taken.member] += 1
    assert busy == {name: member.busy for name, member in members.items()}
    assert all(member.busy <= member.slots for member in members.values())
    assert sum(busy.values()) == len(team.taken)
    assert team.members.due_ms == min((member.deadline_ms for member in members.values()), default=None)
    assert now_ms is None or all(member.deadline_ms > now_ms for member in members.values()), "a member that is gone"
    idle = {skill for member in members.values() if member.busy < member.slots for skill in member.capabilities}
    assert team.members.to_spare() == idle
    waiting = list(team.waiting)
    assert team.more == any(skill in idle for skill, _ in waiting), "somebody waits for who is free"
    assert len({key for _, key in waiting}) == len(waiting) == len(team.waiting)
    assert not {key for key, _ in team.taken} & {key for _, key in waiting}
    for breaker in team.breakers.values():
        if breaker.state == HALF_OPEN:
            assert breaker.trial is not None
            assert breaker.trial in team.waiting or team.taken.get(breaker.trial), "a trial that nobody ends"


def graph(draw: Random, *, gentle: bool) -> tuple[Step, ...]:
    steps: list[Step] = []
    for number in range(draw.randrange(1, 9)):
        after = draw.sample([step.name for step in steps], draw.randrange(min(3, len(steps)) + 1))
        steps.append(
            Step(
                f"s{number}", tuple(after), draw.choice(SKILLS), draw.choice([0, 1, 3]),
                draw.choice([1_000, 5_000, 20_000]), draw.choice([5_000, 60_000, 600_000]),
                None if gentle else draw.choice([None, None, 3_000, 15_000, 60_000]),
                draw.random() < 0.3, draw.choice([None, None, draw.randrange(len(after) + 1)]),
            )
        )  # fmt: skip
    draw.shuffle(steps)
    return tuple(steps)


def world(seed: int, *, gentle: bool = False, at_once: int | None = None) -> World:
    draw = Random(seed)
    made = World(draw, gentle, at_once)
    if gentle:  # else what is optional is skipped when nobody is there
        made.new_agent(SKILLS, 1)
        made.deliver()
    for number in range(draw.randrange(1, 4)):
        command = SubmitTask("person", "graph", "team", "{}", graph(draw, gentle=gentle), 10**9)
        made.send("person", ("tasks", f"t{number}"), command)
    for _ in range(draw.randrange(4)):
        made.new_agent(draw.sample(SKILLS, draw.randrange(1, 4)), draw.randrange(1, 3))
    for _ in range(draw.randrange(20, 300)):
        made.step()
    return made


@given(st.integers(0, 2**32), st.sampled_from([None, 2]))
@settings(max_examples=EXAMPLES, deadline=None)
def test_every_task_ends_and_no_slot_stays_taken(seed: int, at_once: int | None) -> None:
    made = world(seed, at_once=at_once)
    made.settle()
    team = made.aggregates[TEAM].state
    assert not list(team.taken) + list(team.waiting), "a slot that nobody gives back"
    for place, aggregate in made.aggregates.items():
        if place == TEAM or aggregate.state is None:
            continue
        task: Task = aggregate.state
        assert task.has_ended
        needed = [number for number, step in enumerate(task.graph) if not step.optional]
        missing = [number for number in needed if task.steps[number].status != COMPLETED]
        if task.status == "failed":
            assert missing
            assert place[1] in made.given_up, "failed, and no step was given up"
        elif task.status == "completed":
            assert not missing
    for place, aggregate in made.aggregates.items():
        decider, folded = DOMAINS[place[0]].versions[1], None
        for event in aggregate.events:
            folded = decider.evolve(folded, event)
        assert folded == aggregate.state == aggregate.restored
        if folded is not None:
            assert restore(dump(folded), decider.state_type) == folded
            assert dump(restore(dump(folded), decider.state_type)) == dump(folded)


@given(st.integers(0, 2**32))
@settings(max_examples=EXAMPLES, deadline=None)
def test_where_no_step_fails_every_task_is_completed_and_every_step_runs_once(seed: int) -> None:
    made = world(seed, gentle=True)
    made.settle()
    for place, aggregate in made.aggregates.items():
        if place != TEAM:
            assert aggregate.state.status == "completed"
            started = [event.step for event in aggregate.events if isinstance(event, tasks.StepStarted)]
            assert sorted(started) == sorted(step.name for step in aggregate.state.graph)
    assert made.now_ms == World(made.draw).now_ms, "something waited for time to pass"
    assert made.seen["TaskCompleted"] == len(made.aggregates) - 1


def test_the_random_runs_meet_everything() -> None:
    """Else the properties say little."""
    seen: set[str] = set()
    for seed in range(150):
        made = world(seed)
        made.settle()
        seen |= set(made.seen)
    never = {event.__name__ for event in (*tasks.EVENTS, *roster.EVENTS)} - seen
    assert never == {"JoinRefused", "TeamRead", "TaskForgotten", "TaskRefused"} | OF_HEARTBEATS
