"""The fixture `accord_sim`: a user's coordination, declared and tried under faults.

def test_one_books(accord_sim):
    room = accord_sim.resource("room", None, fenced=True)

    async def booker(hub):
        async with hub.lock("room") as grant:
            if await room.read(grant) is None:
                await room.write(hub.agent, grant)

    accord_sim.agent(booker, count=3, restarts=True)
    accord_sim.always(exclusion("room"))
    accord_sim.run(seeds=200)
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from accord.errors import BadInput
from accord.settings import Settings
from accord.testing.trials import invariants
from accord.testing.trials.agent import Fault, Program, current
from accord.testing.trials.faults import FAULTS_MAX, Faults, parsed, shrunk
from accord.testing.trials.happenings import Happened
from accord.testing.trials.invariants import Function, Invariant
from accord.testing.trials.resource import Resource
from accord.testing.trials.story import story
from accord.testing.trials.trial import PARTITIONS, Plan, Trial

SEEDS: Final = 100
SEEDS_MAX: Final = 1_000_000
SHRINK_RUNS_MAX: Final = 100
LIMIT_MS: Final = 600_000
COLLECT_EVERY: Final = 200
"""Trials between two collections of garbage; within a trial there is none."""


class Summary(NamedTuple):
    """What was tried: how many trials, how long they lasted in virtual time, how many faults they had."""

    trials: int
    virtual_ms: float
    faults: int


class TrialFailed(AssertionError):
    """A trial violates an invariant. `seed` and `faults` bring it back; `trial` is it."""

    def __init__(self, text: str, trial: Trial) -> None:
        super().__init__(text)
        self.trial = trial
        self.seed = trial.seed
        self.faults = [str(fault) for fault in trial.faults]


class AccordSim:
    """See the module's text.

    Args:
        test: the test's id, for the text of a failure.
        only: a seed with which `run` is to run, whatever it is given; None: what it is given.
        seeds: how many seeds `run` is to try, likewise.
    """

    def __init__(self, test: str = "", *, only: int | None = None, seeds: int | None = None) -> None:
        self._test = test
        self._only = only
        self._seeds = seeds
        self._programs: list[Program] = []
        self._resources: list[Resource] = []
        self._invariants: list[Invariant] = []
        self._faults = Faults()
        self._before: list[Callable[[], object]] = []
        self._settings: Settings | None = None
        self.trial: Trial | None = None
        """The last one."""

    # -- declaring

    def agent(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        count: int = 1,
        name: str | None = None,
        restarts: bool = False,
        may_raise: type[BaseException] | tuple[type[BaseException], ...] = (),
        forever: bool = False,
    ) -> None:
        """Declares agents: each runs `function(hub, *arguments)` in a process of its own, with an open hub.

        Args:
            function: a coroutine function, or a plain one: that gets an `accord.sync.Accord`, and may block. One that
                has no parameter for the hub opens hubs itself.
            count: how many; they are called `NAME-1`, `NAME-2` and so on.
            name: None: the function's.
            restarts: somebody starts it again, after a crash and after it ended with an AccordError.
            may_raise: with what it may end as well.
            forever: it is not expected to come to an end.

        What an agent raises is a violation, unless it may. An AccordError in a trial with faults is none: there the
        program ends, as after a crash.
        """
        name = name or getattr(function, "__name__", type(function).__name__)
        if any(program.name.rpartition("-")[0] == name for program in self._programs):
            raise BadInput(f"agents called {name} were declared already.", remedy="Give these another name.")
        allowed = may_raise if isinstance(may_raise, tuple) else (may_raise,)
        for number in range(1, count + 1):
            self._programs.append(Program(f"{name}-{number}", function, arguments, restarts, allowed, forever))

    def resource(self, name: str, value: Any = None, *, fenced: bool = False) -> Resource:
        """Declares a resource that agents share; see `Resource`."""
        made = Resource(name, value, fenced=fenced)
        self._resources.append(made)
        return made

    def faults(self, *, crashes: int = 2, pauses: int = 2, cuts: int = 1, outages: int = 1) -> None:
        """How many faults of each kind a trial may have; each has between none and so many.

        Args:
            crashes: an agent's process dies, at any of its `await`s.
            pauses: an agent's process stands still for 50 ms to 90 s, every other time for longer than 30 s.
            cuts: an agent is cut off from the log for as long.
            outages: nobody decides for 1 to 15 s, as while a worker fails over.
        """
        given = Faults(crashes, pauses, cuts, outages)
        for name, most in given._asdict().items():
            if type(most) is not int or not 0 <= most <= FAULTS_MAX:
                raise BadInput(f"faults({name}={most!r}): a whole number from 0 to {FAULTS_MAX} is needed.")
        self._faults = given

    def always(self, invariant: Invariant | Function) -> None:
        """Declares what must hold all the time: an invariant of `accord.testing`, or a function of the trial that is
        called whenever something happened; see `accord.testing.trials.invariants.always`."""
        self._invariants.append(invariant if isinstance(invariant, Invariant) else invariants.always(invariant))

    def finally_(self, invariant: Invariant | Function) -> None:
        """Declares what must hold at the end."""
        self._invariants.append(invariant if isinstance(invariant, Invariant) else invariants.finally_(invariant))

    def before_each(self, function: Callable[[], object]) -> None:
        """Has a function called before each trial: what the test keeps itself must begin anew."""
        self._before.append(function)

    def settings(self, settings: Settings) -> None:
        """The settings of the agents' hubs; broker and topics are simulated."""
        self._settings = settings

    # -- for agents

    def note(self, name: str, **details: Any) -> None:
        """Records, in an agent's program, that something is done: for `order`, own invariants and the trace."""
        agent, trial = current.get(), self.trial
        if agent is None or trial is None:
            raise BadInput(f"note({name!r}) was called outside of a simulated agent.")
        trial.happened(Happened(trial.now_ms, "noted", agent.name, agent.starts, name, details=details))

    @contextmanager
    def section(self, name: str) -> Iterator[None]:
        """What an agent does inside belongs together, for `serializability` and `duration`; `with`, in its program."""
        agent, trial = current.get(), self.trial
        if agent is None or trial is None:
            raise BadInput(f"section({name!r}) was entered outside of a simulated agent.")
        trial.sections_count += 1
        numbered, life = f"{name} {trial.sections_count}", agent.starts
        agent.sections.append(numbered)
        trial.happened(Happened(trial.now_ms, "begun", agent.name, life, name, section=numbered))
        try:
            yield
        finally:
            if agent.starts == life and agent.is_alive:  # the end of a process ends no section
                agent.sections.remove(numbered)
                trial.happened(Happened(trial.now_ms, "ended", agent.name, life, name, section=numbered))

    # -- running

    def run(
        self,
        *,
        seeds: int = SEEDS,
        seed: int | None = None,
        faults: Iterable[str] | None = None,
        within_ms: int = LIMIT_MS,
    ) -> Summary:
        """Tries what was declared. The first trial has no faults; what agents do in it says where faults may come.

        Args:
            seeds: how many trials, with seeds from 0.
            seed: only this one.
            faults: of this one: in place of those that the seed brings, as a failure tells them.
            within_ms: virtual time in which all must be done, after the last fault.

        Raises:
            TrialFailed: an invariant is violated; its text says how to see it again.
            BadInput: nothing was declared, or an argument cannot be right.
        """
        __tracebackhide__ = True  # pytest shows the test's line, and the story
        if not self._programs:
            raise BadInput("There is no agent.", remedy="accord_sim.agent(function)")
        if type(seeds) is not int or not 1 <= seeds <= SEEDS_MAX:
            raise BadInput(f"seeds={seeds!r}: a whole number from 1 to {SEEDS_MAX:,} is needed.")
        if faults is not None and seed is None:
            raise BadInput("faults need the seed that they belong to.", remedy="run(seed=..., faults=[...])")
        plan = self._plan(within_ms)
        with _collecting_between():
            if self._only is None and seed is not None and faults is not None:
                return self._try_one(plan, seed, parsed(faults))
            return self._try_all(plan, self._wanted(seeds, seed))

    def _wanted(self, seeds: int, seed: int | None) -> Sequence[int]:
        only = self._only if self._only is not None else seed
        return range(self._seeds or seeds) if only is None else [only]

    def _try_one(self, plan: Plan, seed: int, faults: list[Fault]) -> Summary:
        __tracebackhide__ = True
        trial = self._trial_of(plan, seed, faults)
        if trial.violation is not None:
            raise TrialFailed(story(trial, faults, ""), trial)
        return Summary(1, trial.now_ms, len(faults))

    def _try_all(self, plan: Plan, seeds: Sequence[int]) -> Summary:
        __tracebackhide__ = True
        first = self._trial_of(plan, 0, [])
        if first.violation is not None:
            self._fail(plan, first)
        turns = {agent.name: agent.turns for agent in first.agents}
        count, virtual_ms, befallen = 0, 0.0, 0
        for seed in seeds:
            trial = first if seed == 0 else self._trial_of(plan, seed, self._faults.draw(seed, turns, first.now_ms))
            if trial.violation is not None:
                self._fail(plan, trial)
            count, virtual_ms, befallen = count + 1, virtual_ms + trial.now_ms, befallen + len(trial.faults)
            if count % COLLECT_EVERY == 0:
                gc.collect()
        return Summary(count, virtual_ms, befallen)

    def _plan(self, limit_ms: float) -> Plan:
        base = self._settings or Settings.load()
        settings = base.model_copy(update={"topics": base.topics.model_copy(update={"partitions": PARTITIONS})})
        return Plan(tuple(self._programs), tuple(self._resources), tuple(self._invariants), settings, limit_ms)

    def _trial_of(self, plan: Plan, seed: int, faults: Sequence[Fault]) -> Trial:
        for function in self._before:
            function()
        self.trial = trial = Trial(plan, seed, faults)
        trial.run()
        return trial

    def _fail(self, plan: Plan, failed: Trial) -> None:
        """Shrinks, and tells."""
        __tracebackhide__ = True
        assert failed.violation is not None
        broken = failed.violation.invariant
        last: dict[str, Trial] = {}

        def fails(faults: list[Fault]) -> bool:
            trial = self._trial_of(plan, failed.seed, faults)
            if trial.violation is None or trial.violation.invariant != broken:
                return False
            last["trial"] = trial
            return True

        note = ""
        if not fails(list(failed.faults)) or last["trial"].fingerprint() != failed.fingerprint():
            note = (
                "This seed did not bring the same again: some agent depends on something outside of the simulation, "
                "such as time.time(), os.urandom(), the order of a set, or what a trial before left behind "
                "(accord_sim.before_each)."
            )
            last["trial"] = failed
        else:
            shrunk(failed.faults, fails, SHRINK_RUNS_MAX)
        again = f"pytest '{self._test}' --accord-seed {failed.seed}" if self._test else ""
        raise TrialFailed(story(last["trial"], failed.faults, again, note), last["trial"])


@contextmanager
def _collecting_between() -> Iterator[None]:
    """No garbage is collected but when it is asked for, and what was there before is not looked at."""
    was_enabled, was_frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    if not was_frozen:
        gc.freeze()
    try:
        yield
    finally:
        if not was_frozen:
            gc.unfreeze()
        if was_enabled:
            gc.enable()
