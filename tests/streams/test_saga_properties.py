"""What holds for every saga, whatever fails, dies or comes late: random runs by processes that crash at any point."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, NamedTuple

from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Tick
from accord.schemas.messages.sagas import (
    BeginSaga,
    CancelSaga,
    CompensationBegun,
    CompleteStep,
    FailStep,
    ReleaseSaga,
    RenewSaga,
    RetrySaga,
    SagaCompensated,
    SagaCompleted,
    SagaOffered,
    SagaRetried,
    SagaStep,
    SagaStuck,
    SagaTaken,
    StepCompensated,
    StepCompleted,
    StepStarted,
    TakeSaga,
)
from accord.streams.decider import At, dump, restore
from accord.streams.sagas.decider import SagaDecider
from accord.streams.sagas.saga import Saga
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import examples

DECIDER = SagaDecider()
NAMES = ("a", "b", "c", "d")
LEASE_MS = 1_000


class Effect(NamedTuple):
    """Something that a function did in the world."""

    step: str
    undo: bool
    run: int


class World:
    """The log, and processes that run a saga: each does what it is told, or dies, hangs, or answers late and twice."""

    def __init__(self, seed: int, count: int, trouble: float) -> None:
        self.random = Random(seed)
        self.trouble = trouble
        self.state: Saga | None = None
        self.events: list[Event] = []
        self.effects: list[Effect] = []
        self.late: list[Command] = []
        self.now_ms = self.seq = 0
        steps = tuple(
            SagaStep(name, number < count - 1 or self.random.random() < 0.5, self.random.randint(0, 2), 2, 100, 700)
            for number, name in enumerate(NAMES[:count])
        )
        self.steps = steps
        self.runners = self.ran = 0
        self.do(BeginSaga("ada", "", "s", steps, "1", LEASE_MS, 10**9, ()))

    def do(self, command: Command) -> Sequence[Event]:
        self.seq += 1
        made = DECIDER.decide(self.state, command, At(self.now_ms, self.seq, "r"))
        for event in made:
            assert not isinstance(event, CommandRejected)
            self.state = DECIDER.evolve(self.state, event)
            self.events.append(event)
        assert self.state == restore(dump(self.state), Saga)
        return made

    def happens(self, more: float = 1.0) -> bool:
        return self.random.random() < self.trouble * more

    def tell(self, command: Command) -> None:
        """The answer of a run: at once, late, or twice; or its process dies before."""
        if self.happens():
            self.late.append(command)
            return
        self.do(command)
        if self.happens():
            self.do(command)

    def run(self) -> None:
        """What the process that has the saga does with the run that it was told of, if there is one."""
        saga = self.state
        assert saga is not None
        if saga.run is None or saga.at is None or saga.run == self.ran:
            return
        self.ran = saga.run
        step, undo, run = saga.steps[saga.at], saga.undoes, saga.run
        agent = "ada"
        if self.happens(0.5):  # it fails, having done nothing
            final, error = self.happens(0.3), ("ValueError", "no")
            self.tell(FailStep(agent, step.name, undo, run, *error, final, in_doubt=False))
            return
        if self.happens(0.3):  # dies before it does anything, or nobody hears of it
            return
        self.effects.append(Effect(step.name, undo, run))
        if self.happens(0.3):
            self.tell(FailStep(agent, step.name, undo, run, "TimeoutError", "", False, in_doubt=True))
            return
        self.tell(CompleteStep(agent, step.name, undo, run, "null"))

    def step(self) -> None:
        saga = self.state
        assert saga is not None
        if self.late and self.happens():
            self.do(self.late.pop(self.random.randrange(len(self.late))))
        elif not saga.runner and not saga.has_ended:
            self.runners += 1
            self.do(TakeSaga("ada", f"r{self.runners}", LEASE_MS))
        elif self.happens(0.2):
            self.do(ReleaseSaga("ada", saga.attempt - (self.random.random() < 0.5), None))
        elif self.happens(0.05):
            self.do(CancelSaga("eve", ""))
        elif saga.run not in (None, self.ran) and not self.happens(0.3):
            self.do(RenewSaga("ada", saga.attempt))
            self.run()
        else:
            self.now_ms += self.random.choice([50, 100, 800, 1_500])
            self.do(Tick())

    def finish(self, retries: bool) -> None:
        """Lets it come to its end; at last all goes well, as somebody says who retries it."""
        for number in range(4_000):
            assert self.state is not None
            if number == 1_000:
                self.trouble = 0.0
            if self.state.status == "stuck" and retries:
                self.trouble = 0.0
                self.do(RetrySaga("ada"))
            elif self.state.has_ended:
                return
            self.step()
        raise AssertionError(f"it does not end: {self.state}")

    def of(self, *kinds: type[Event]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


worlds = st.builds(World, st.integers(0, 2**32), st.integers(1, 4), st.sampled_from([0.1, 0.3, 0.6]))


@examples(150)
@given(worlds, st.booleans())
def test_every_saga_ends_and_what_was_recorded_is_in_order(world: World, retries: bool) -> None:
    world.finish(retries)
    names = [step.name for step in world.steps]
    completed = [event.step for event in world.of(StepCompleted)]
    undone = [event.step for event in world.of(StepCompensated)]
    begun = world.of(CompensationBegun)
    assert completed == names[: len(completed)], "each once, in order"
    assert len(undone) == len(set(undone)), "no compensation is recorded twice"
    ends = world.of(SagaCompleted, SagaCompensated)
    stuck = world.of(SagaStuck)
    assert len(stuck) - len(world.of(SagaRetried)) == (not ends), "it ends once, or waits for a person"
    assert len(ends) == 1 or not retries
    if ends and isinstance(ends[0], SagaCompleted):
        assert completed == names and not undone and not begun
        return
    (gives_up,) = begun
    expected = list(gives_up.steps)
    assert undone == expected[: len(undone)], "in reverse order"
    assert not ends or undone == expected, "and all of them"
    at = names.index(gives_up.step)
    assert expected in ([*reversed(names[:at])], [*reversed(names[: at + 1])])
    assert completed == names[:at]


@examples(100)
@given(worlds)
def test_no_effect_is_left_of_a_saga_that_was_compensated(world: World) -> None:
    """Every effect of a step that can be undone is followed by one of its undo; a last step without one apart."""
    world.finish(retries=True)
    assert world.state is not None
    by_name = {step.name: step for step in world.steps}
    last = {(effect.step, effect.undo): number for number, effect in enumerate(world.effects)}
    for name, step in by_name.items():
        did, undid = last.get((name, False)), last.get((name, True))
        if world.state.status == "completed":
            assert did is not None and undid is None
        elif did is not None and step.undo:
            assert undid is not None and did < undid, f"{name} was done and is not undone"


@examples(50)
@given(worlds)
def test_one_runner_at_a_time_and_one_run(world: World) -> None:
    world.finish(retries=True)
    held, runs = "", [0]
    for event in world.events:
        match event:
            case SagaTaken(runner=runner, attempt=attempt):
                assert not held and attempt == len([one for one in world.of(SagaTaken) if one.attempt <= attempt])
                held = runner
            case SagaOffered():
                held = ""
            case StepStarted(runner=runner, run=run):
                assert runner == held and run == runs[-1] + 1
                runs.append(run)
