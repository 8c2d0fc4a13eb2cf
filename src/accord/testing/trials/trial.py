"""One trial: the declared agents, a seed and a list of faults, run to the end on virtual time."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from accord import errors
from accord.agents import context
from accord.agents.signals import handlers
from accord.errors import AccordError, BadInput
from accord.replay.order import Where
from accord.schemas.headers import LogRecord
from accord.schemas.messages import Event
from accord.schemas.messages.signals import HandlerFailed
from accord.settings import Settings
from accord.streams.chain import Decision
from accord.testing.simulation.log import Log
from accord.testing.simulation.quiet import quiet
from accord.testing.simulation.scheduler import Scheduler
from accord.testing.trials.agent import AgentLoop, AgentRun, Fault, Program, raised_at
from accord.testing.trials.desk import Desk
from accord.testing.trials.groups import Groups
from accord.testing.trials.happenings import Happened, Told
from accord.testing.trials.invariants import Check, Invariant, Violation
from accord.testing.trials.resource import Resource

PARTITIONS: Final = 3
EVENTS_MAX: Final = 500_000
"""A trial with more has programs that go round and round."""
START_MS_DIGITS: Final = (0.5, 2.5)
"""Agents start within 3 to 300 ms of each other; as powers of ten."""
AFTER_MS: Final = 1_000.0
"""So long what was still under way may arrive when all are done."""
TRACE_MAX: Final = 100_000
"""So many lines are kept."""


class Plan(NamedTuple):
    """What the trials of a test share."""

    programs: tuple[Program, ...]
    resources: tuple[Resource, ...]
    invariants: tuple[Invariant, ...]
    settings: Settings
    limit_ms: float


class Trial:
    """See the module's text. It is what users' own invariants look at.

    Args:
        plan: what is run.
        seed: where all chance comes from.
        faults: what befalls agents, and `outage@MS+MS`: when nobody decides.

    `agents` are the agents, with `name`, `status` (`running`, `done`, `crashed`, `failed`); `history` is what
    happened, see `Happened`.
    """

    def __init__(self, plan: Plan, seed: int, faults: Sequence[Fault]) -> None:
        self.plan = plan
        self.seed = seed
        self.faults = tuple(faults)
        self.scheduler = Scheduler(seed)
        self.history: list[Happened] = []
        self.trace: list[Happened | Told] = []
        self.violation: Violation | None = None
        self.faults_over_ms = 0.0
        self.sections_count = 0
        self._bug: Exception | None = None
        prefix = plan.settings.topics.prefix
        self.log = Log(self.scheduler, cluster="trial", partitions=PARTITIONS)
        self.desk = Desk(self.scheduler, self.log, prefix, self._decided)
        self.log.on_append(self._appended)
        self._groups = Groups(self.scheduler, PARTITIONS)
        self._resources = {resource.name: resource for resource in plan.resources}
        for resource in plan.resources:
            resource.begin(self)
        chance = self.scheduler.stream("starts")
        within_ms = 10 ** chance.uniform(*START_MS_DIGITS)
        self.agents = [self._agent(program, chance.random() * within_ms) for program in plan.programs]
        self._by_name = {agent.name: agent for agent in self.agents}
        for fault in faults:
            if fault.kind == "outage":
                self.scheduler.call_at(fault.after, lambda fault=fault: self._outage(fault))  # type: ignore[misc]
        self._checks: list[tuple[Invariant, Check]] = [(one, one.begin(self)) for one in plan.invariants]

    def _agent(self, program: Program, start_ms: float) -> AgentRun:
        mine = [fault for fault in self.faults if fault.agent == program.name]
        return AgentRun(self.scheduler, self.log, self._groups, program, mine, self.plan.settings, self._told, start_ms)

    # -- for invariants

    @property
    def now_ms(self) -> float:
        """Virtual time since the trial began, in ms."""
        return self.scheduler.now_ms

    def resource(self, name: str) -> Resource:
        """A resource, by name. Raises BadInput: there is none."""
        try:
            return self._resources[name]
        except KeyError:
            known = ", ".join(self._resources) or "none"
            raise BadInput(
                f"there is no resource {name!r}; there are: {known}.", remedy=f"accord_sim.resource({name!r}, ...)"
            ) from None

    # -- the run

    def run(self) -> Violation | None:
        """Runs to the end, or to the first violation, which it returns."""
        with quiet(), context.apart(), handlers.apart(), _seeded(self.seed), _generators_closed():
            try:
                self._run()
            finally:
                for agent in self.agents:
                    agent.end()
        return self.violation

    def _run(self) -> None:
        scheduler, agents = self.scheduler, self.agents
        awaited = [agent for agent in agents if not agent.program.forever]
        while self.violation is None and not all(agent.is_over for agent in awaited):
            if self._bug is not None:
                raise self._bug
            if scheduler.events_count > EVENTS_MAX:
                self._violated("liveness", f"After {EVENTS_MAX:,} events it is {scheduler.now_ms:,.0f} ms, and no end.")
            elif not scheduler.step() or scheduler.now_ms > self.faults_over_ms + self.plan.limit_ms:
                self._stuck()
                break
        if self.violation is None:
            scheduler.run_until(scheduler.now_ms + AFTER_MS)
        if self._bug is not None:
            raise self._bug
        for invariant, check in self._checks:
            if self.violation is None and (wrong := check.ended()) is not None:
                self._violated(invariant.name, wrong)

    def _stuck(self) -> None:
        """Who should be done is not, and the time is over."""
        late = [agent for agent in self.agents if agent.is_expected and not agent.is_over]
        if late and self.violation is None:
            where = "; ".join(f"{agent.name} is at {agent.where()}" for agent in late)
            self._violated("liveness", f"Not all are done after {self.now_ms:,.0f} ms of virtual time: {where}.")

    # -- what happens

    def happened(self, event: Happened) -> None:
        """Records it, and has it checked."""
        self.history.append(event)
        self._keep(event)
        for invariant, check in self._checks:
            if self.violation is None and self._bug is None:
                try:
                    wrong = check.happened(event)
                except Exception as bug:  # of an invariant: not for the agent that is just told on
                    bug.add_note(f"raised by the invariant {invariant.name}")
                    self._bug = bug
                    return
                if wrong is not None:
                    self._violated(invariant.name, wrong)

    def _told(self, agent: AgentRun, what: str, fault: Fault | None) -> None:
        """What became of an agent."""
        if fault is not None:
            self.faults_over_ms = max(self.faults_over_ms, self.now_ms + fault.ms)
        self.happened(Happened(self.now_ms, "agent", agent.name, agent.starts, what=what))
        error = agent.error
        if agent.status != "failed" or error is None or self.violation is not None:
            return
        if isinstance(error, AccordError) and self.faults and not agent.program.restarts:
            agent.status = "crashed"  # a fault has come in its way, and it ends as programs do
            return
        where = raised_at(error)
        self._violated("no agent fails", f"{agent.name} raised {type(error).__name__} at {where}: {error}")

    def _outage(self, fault: Fault) -> None:
        self.faults_over_ms = max(self.faults_over_ms, self.now_ms + fault.ms)
        self.desk.away(fault.ms)
        self.happened(Happened(self.now_ms, "agent", "accord", 0, what=f"decides nothing for {fault.ms:,} ms"))

    def _decided(self, where: Where, decision: Decision, events: tuple[Event, ...]) -> None:
        key = decision.key.decode(errors="replace")
        for event in events:
            if isinstance(event, HandlerFailed):
                self._gave_up(event)
            if where[0] != "waits" and "Renew" not in type(event).__name__:
                self._keep(Told(self.now_ms, where[0], key, event))

    def _gave_up(self, event: HandlerFailed) -> None:
        """A handler has failed for good. As with an agent's program, what accord raises in a trial with faults does not
        count."""
        agent = self._by_name.get(event.agent)
        allowed = {one.__name__ for one in (agent.program.may_raise if agent is not None else ())}
        if event.error_type in allowed or (self.faults and hasattr(errors, event.error_type)):
            return
        what = f"the handler {event.handler} of {event.agent} raised {event.error_type}: {event.error}"
        self._violated("no agent fails", what)

    def _appended(self, topic: str, partition: int, record: LogRecord) -> None:
        for agent in self.agents:
            agent.arrived(topic, partition, record)

    def _keep(self, one: Happened | Told) -> None:
        if len(self.trace) < TRACE_MAX:
            self.trace.append(one)
        agent = self._by_name.get(one.agent)
        if agent is not None and not (isinstance(one, Happened) and one.kind == "agent"):
            agent.told()

    def _violated(self, invariant: str, what: str) -> None:
        if self.violation is None:
            self.violation = Violation(invariant, what, self.now_ms)

    def fingerprint(self) -> list[tuple[Any, ...]]:
        """What two runs of one seed have in common."""
        return [(round(one.at_ms, 3), one.agent, one.line()) for one in self.trace]


@contextmanager
def _generators_closed() -> Iterator[None]:
    """A generator that a program leaves is closed by its loop, as asyncio does; one of a dead process is not run on."""

    def left(generator: Any) -> None:
        loop = asyncio._get_running_loop()
        if isinstance(loop, AgentLoop) and loop.process.alive:
            loop.create_task(generator.aclose())

    def unraisable(told: sys.UnraisableHookArgs) -> None:
        if "ignored GeneratorExit" not in str(told.exc_value):  # code of a dead process that would have waited
            shown(told)

    hooks, shown = sys.get_asyncgen_hooks(), sys.unraisablehook
    sys.set_asyncgen_hooks(firstiter=None, finalizer=left)
    sys.unraisablehook = unraisable
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        sys.unraisablehook = shown


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Programs that use `random` get the same from it each time."""
    before = random.getstate()
    random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
