"""Logs in which every command of a domain comes, made by chance from a seed: agents that take steps up, complete, fail
and lose them, teams that people join and leave, pools that are fought for."""

from __future__ import annotations

from random import Random

from accord.schemas.messages import Event
from accord.schemas.messages.limits import (
    BreakDeadlock,
    CapacityGranted,
    CapacityQueued,
    ConfigurePool,
    ReleaseCapacity,
    RenewLease,
    ReportStaleWrite,
    RequestCapacity,
    WithdrawRequest,
)
from accord.schemas.messages.locks import AcquireLock, LockGranted, LockQueued, ReleaseLock
from accord.schemas.messages.locks import BreakDeadlock as BreakLockDeadlock
from accord.schemas.messages.log import Tick
from accord.schemas.messages.roster import (
    AgentsAssigned,
    Assignment,
    Beat,
    BeginPresence,
    EndPresence,
    JoinTeam,
    LeaveTeam,
    ReadTeam,
    RenewMembership,
    Tie,
)
from accord.schemas.messages.signals import EmitInGroup, ReportMissingCauses
from accord.schemas.messages.tasks import (
    CancelTask,
    CompleteStep,
    DropStep,
    FailStep,
    ReadTask,
    RetryStep,
    ReturnStep,
    StartStep,
    StepStarted,
    SubmitTask,
)
from accord.streams.partition import Decided

from tests.histories.office import Office, step
from tests.histories.play import Play

AGENTS = ("ada", "bob", "eve")
TEAM = "default"
STEPS = ("research", "write", "edit", "draw")
LEASE_MS = 30_000


class Bustle(Office):
    """An office that remembers what was given to whom, and what runs."""

    def __init__(self) -> None:
        super().__init__(tasks=2, roster=1)
        self.given: list[Assignment] = []
        self.started: list[tuple[str, StepStarted]] = []

    def record(self, where: tuple[str, int], decided: Decided) -> None:
        super().record(where, decided)
        for event in decided.events:
            self._note(decided.decision.key.decode(errors="replace"), event)

    def _note(self, key: str, event: Event) -> None:
        match event:
            case AgentsAssigned(assignments):
                self.given += assignments
            case StepStarted():
                self.started.append((key, event))

    def tick(self) -> None:
        """What is due by now."""
        for (domain, _), state in list(self.states.items()):
            for key in list(state.deadlines.due(self.now_ms)):
                self.tell(domain, key, Tick(), after_ms=0)
                state.deadlines.rearm(key)


def office(seed: int = 5, count: int = 500) -> Office:
    """Tasks of four steps, a team whose members come, go and are lost."""
    made, chance = Bustle(), Random(seed)
    for number in range(count):
        after_ms = chance.choice((0, 1, 20, 900, 7_000, 7_000))
        agent, name, task_id = chance.choice(AGENTS), chance.choice(STEPS), f"t{chance.randrange(1 + number // 12)}"
        joined = JoinTeam(agent, agent, chance.choice((STEPS, STEPS[:2], STEPS[1:])), chance.randrange(1, 4), LEASE_MS)
        kind = chance.randrange(24)
        if kind < 6 and made.given:
            one = made.given.pop(chance.randrange(len(made.given)))
            able = chance.choice((STEPS, (one.capability,)))
            started = StartStep(one.agent, one.member, TEAM, one.step, one.attempt, able)
            made.tell("tasks", one.task, started, task=one.task, after_ms=after_ms)
        elif kind < 13 and made.started:
            task_id, run = made.started.pop(chance.randrange(len(made.started)))
            ends = (
                CompleteStep(run.agent, run.step, run.token, '"done"'),
                FailStep(run.agent, run.step, run.token, "ValueError", "no use", chance.random() < 0.3),
                ReturnStep(run.agent, run.step, run.token),
            )
            made.tell("tasks", task_id, chance.choices(ends, (5, 3, 1))[0], task=task_id, after_ms=after_ms)
        elif kind < 15:
            graph = (
                step("research"),
                step("draw", optional=True, deadline_ms=chance.choice((None, 4_000))),
                step("write", "research"),
                step("edit", "write", "draw", retries=1),
            )
            submitted = SubmitTask("boss", "report", TEAM, '"x"', graph, chance.choice((0, 86_400_000)))
            made.tell("tasks", task_id, submitted, task=task_id, after_ms=after_ms)
        elif kind < 18:
            made.tell("roster", TEAM, joined, after_ms=after_ms)
        elif kind == 18:
            members = (RenewMembership(agent, agent, LEASE_MS), LeaveTeam(agent, agent), ReadTeam("boss"))
            made.tell("roster", TEAM, chance.choices(members, (2, 1, 1))[0], after_ms=after_ms)
        elif kind < 22:
            asked = (
                CancelTask("boss", "not needed"),
                RetryStep("boss", name),
                DropStep("boss", name, "let it be"),
                ReadTask("boss", (), 0),
            )
            made.tell("tasks", task_id, chance.choices(asked, (1, 4, 2, 2))[0], task=task_id, after_ms=after_ms)
        else:
            made.now_ms += chance.choice((0, 0, LEASE_MS))
            made.tick()
    return made


def heartbeats(seed: int = 3, count: int = 300) -> Office:
    """Processes that beat, are late, fail and leave; on their heartbeats hang memberships, locks and waits for them."""
    made, chance = Bustle(), Random(seed)
    names: dict[str, str] = {}
    for number in range(count):
        agent, after_ms = chance.choice(AGENTS), chance.choice((1, 20, 300, 800, 800, 2_500))
        name = names.get(agent, "")
        kind = chance.randrange(20)
        if not name or kind == 0:
            names[agent] = name = f"{agent}/{number}"
            member = Tie("roster", TEAM, name)
            made.tell("roster", TEAM, JoinTeam(agent, name, STEPS, 2, LEASE_MS), after_ms=after_ms)
            made.tell("roster", name, BeginPresence(agent, 800, 2_400, 4_000, (member,)))
        elif kind < 4:
            asked = AcquireLock(agent, name, LEASE_MS, None)
            request = made.send(f"room_{kind}", asked, after_ms=after_ms).decision.command_id
            made.tell("roster", name, Beat(agent, (Tie("locks", f"room_{kind}", request),), ()))
        elif kind == 4:
            made.tell("roster", name, EndPresence(agent), after_ms=after_ms)
        else:
            made.tell("roster", name, Beat(agent, (), ()), after_ms=after_ms)
        made.tick()
    return made


def pools(seed: int = 7, count: int = 400) -> Play:
    """Three pools, one with rates; leases that end, requests that are withdrawn."""
    play, chance = Play(cluster="busy-pools", limits=2), Random(seed)
    granted: dict[str, list[CapacityGranted]] = {}
    queued: dict[str, list[str]] = {}
    for number in range(count):
        agent, name = chance.choice(AGENTS), chance.choice(("gpu", "api", "desk"))
        after_ms = chance.choice((0, 1, 40, 900, 4_000))
        last = chance.choice(granted.get(name) or [_nothing(name)])
        waits = chance.choice(queued.get(name) or ["nobody"])
        rates = (30, 2_000) if name == "api" else (None, None)
        commands = (
            ConfigurePool("ops", chance.choice((2, 4)), *rates, (), (), ()),
            RequestCapacity(
                agent, f"{agent}/{number}", "", chance.choice((1, 2)), "exclusive", chance.choice((0, 0, 3)),
                chance.choice((0, 500)) if name == "api" else 0, 5_000, chance.choice((None, 0, 2_000)), False,
            ),
            RenewLease(last.agent, last.token, last.request, 5_000),
            ReleaseCapacity(last.agent, last.token, last.request, chance.choice((None, 100)), None),
            WithdrawRequest(agent, waits),
            BreakDeadlock(waits, last.token, ()),
            ReportStaleWrite(agent, f"pools/{name}", last.token, last.token + 1),
            Tick(),
        )  # fmt: skip
        decided = play.send(
            name, chance.choices(commands, (1, 12, 3, 8, 2, 1, 1, 3))[0], domain="limits", after_ms=after_ms
        )
        for event in decided.events:
            match event:
                case CapacityGranted():
                    granted.setdefault(name, []).append(event)
                case CapacityQueued(request):
                    queued.setdefault(name, []).append(request)
    return play


def victims(seed: int = 3, count: int = 200) -> Play:
    """Two locks whose waits are broken off by the word of who finds deadlocks."""
    play, chance = Play(cluster="busy-victims", locks=1), Random(seed)
    granted: dict[str, LockGranted] = {}
    queued: list[str] = []
    for number in range(count):
        agent, name = chance.choice(AGENTS), chance.choice(("room", "hall"))
        held = granted.get(name) or LockGranted("nobody", "nobody", "nobody", 2, 1_000, 0)
        waits = chance.choice(queued or ["nobody"])
        commands = (
            AcquireLock(agent, f"{agent}/{number}", 5_000, None),
            ReleaseLock(held.agent, held.token),
            BreakLockDeadlock(waits, held.token, ()),
            Tick(),
        )
        decided = play.send(name, chance.choices(commands, (5, 3, 2, 1))[0], after_ms=chance.choice((0, 10, 2_000)))
        for event in decided.events:
            match event:
                case LockGranted():
                    granted[name] = event
                case LockQueued(request):
                    queued.append(request)
    return play


def _nothing(name: str) -> CapacityGranted:
    return CapacityGranted(name, "nobody", "nobody", "", 2, 1, "exclusive", 0, 0, 1_000, 0, 0, "free")


def groups(seed: int = 11, count: int = 60) -> Play:
    """Two groups of events in one order each, and what a handler said of causes that did not come."""
    play, chance = Play(cluster="busy-groups", signals=2), Random(seed)
    for number in range(count):
        agent, group = chance.choice(AGENTS), chance.choice(("trip_7", "trip_8"))
        emitted = EmitInGroup(agent, chance.choice(("booked", "paid")), f'{{"n": {number}}}', ())
        missing = ReportMissingCauses(agent, "audit", f"e{number}", "signals/0@1", ("signals/1:9",), 30_000, False)
        play.send(
            group, chance.choices((emitted, missing), (9, 1))[0], domain="signals", after_ms=chance.choice((0, 5))
        )
    return play
