"""Tasks: one aggregate a task, a graph of steps that agents run.

Rules:
- A step is run once those before it are completed. One that is optional may also have failed: the steps after it are
  told so. A step that names how many it needs runs once those before it have all ended, if so many were completed.
- A completed step is never run again. A run is named by a fencing token; the word of any other run is ignored, and
  that is recorded.
- A failed run is repeated after 5, 10, 15 s, as often as the step says; a run whose agent is lost at once, three times;
  one that takes too long counts as failed. Then the step is given up: a dead letter, which a person can retry or drop.
- A step that passes its deadline is given up at once. So is one that nobody took for as long as it may wait.
- What needs a step that was given up is blocked; all else goes on. Once nothing can go on the task has failed, or is
  completed if only optional steps are missing.
- Who has completed a step goes on with one after it, if able to: its slot is not given back in between.
- A task that ended is remembered for as long as its submitter said, a failed one for 7 days; then its name is free.

A step: pending -> ready -> running -> completed
                    ^  |       |
                    |  +-------+--> retrying --time--> ready          (failed, refused by the team)
                    |          +--> ready                             (returned, lost)
                    |          +--> failed | timed_out | skipped --RetryStep--> ready
         pending -> blocked --the step before is retried--> pending
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from accord.schemas.messages import Command, Event
from accord.schemas.messages.log import CommandRejected, Reason, Tick
from accord.schemas.messages.roster import FreeAgents, RequestAgents
from accord.schemas.messages.tasks import (
    AgentsFreed,
    AgentsWanted,
    CancelTask,
    CompleteStep,
    DropStep,
    FailStep,
    Freed,
    Input,
    LoseSteps,
    Outcome,
    ReadTask,
    Refusal,
    RefuseSteps,
    ResultIgnored,
    RetryRefused,
    RetryStep,
    ReturnStep,
    Slot,
    StartRefused,
    StartStep,
    Step,
    StepCompleted,
    StepDeadLettered,
    StepDropped,
    StepFailed,
    StepLost,
    StepRead,
    StepRefused,
    StepRetried,
    StepReturned,
    StepsBlocked,
    StepStarted,
    StepTimedOut,
    SubmitTask,
    TaskCancelled,
    TaskCompleted,
    TaskFailed,
    TaskForgotten,
    TaskKnown,
    TaskRead,
    TaskRefused,
    TaskSubmitted,
    TaskUnknown,
    Wanted,
)
from accord.streams.decider import At, Domain, Failure, Order
from accord.streams.tasks.bounds import (
    BACKOFF_MS,
    DUE_MAX,
    ERROR_CHARS_MAX,
    LOSSES_MAX,
    READ_BYTES_MAX,
    START_BYTES_MAX,
    bytes_of_payload,
    problem_of,
)
from accord.streams.tasks.progress import (
    BLOCKED,
    COMPLETED,
    ENDED,
    FAILED,
    GIVEN_UP,
    PENDING,
    READY,
    RETRYING,
    RUNNING,
    TIMED_OUT,
    Progress,
)
from accord.streams.tasks.task import CANCELLED, Task, evolve, is_blocked


class TaskDecider:
    """Version 1."""

    state_type = Task

    def decide(self, state: Task | None, command: Command, at: At) -> Sequence[Event]:
        problem = problem_of(command)
        if problem is not None:
            return [CommandRejected(Reason.INVALID, problem)]
        if state is None:
            return _of_no_task(command, at)
        draft = Draft(state, at)
        draft.let_time_pass()
        if draft.task is None:
            return [*draft.events, *_of_no_task(command, at)]
        _ANSWERS[type(command)](draft, draft.task, command)
        return draft.events

    def evolve(self, state: Task | None, event: Event) -> Task | None:
        return evolve(state, event)

    def deadline_ms(self, state: Task) -> int | None:
        return state.due_ms


class Draft:
    """A decision as it comes into being: its events, and the task after them."""

    def __init__(self, task: Task, at: At) -> None:
        self.task: Any = task
        self.at = at
        self.events: list[Event] = []

    def add(self, *events: Event) -> None:
        for event in events:
            self.events.append(event)
            self.task = evolve(self.task, event)

    # -- time

    def let_time_pass(self) -> None:
        """What is due by now, in order of (time, step); at most `DUE_MAX` steps."""
        task, now_ms = self.task, self.at.now_ms
        if task.due_ms is None or task.due_ms > now_ms:
            return
        if task.has_ended:
            self.add(TaskForgotten(task.ended_ms))
            return
        for _, number in zip(range(DUE_MAX), task.steps.due(now_ms), strict=False):
            due_ms = self.task.steps[number].due_ms
            if due_ms is not None and due_ms <= now_ms:  # else one before it has changed that
                self._is_due(number)
        self.end()

    def _is_due(self, number: int) -> None:
        task, now_ms = self.task, self.at.now_ms
        step, progress, by_ms = task.graph[number], task.steps[number], task.deadline_of(number)
        late = by_ms is not None and by_ms <= now_ms
        if progress.status == RETRYING and not late:
            self.want([number])
            return
        limit = "deadline" if late else "timeout" if progress.status == RUNNING else "wait"
        failures = progress.failures + (limit != "wait")
        retry_ms = self.retry_ms(step, failures) if limit == "timeout" else None
        if progress.status == RUNNING:
            self.free(progress, Outcome(step.capability, completed=False))
        elif progress.status == READY:
            missed = (Outcome(step.capability, completed=False),) if late else ()
            self.add(AgentsFreed(task.team, (Freed(step.name, progress.attempt, missed),)))
        runs = progress.status == RUNNING
        agent, member = (progress.agent, progress.member) if runs else ("", "")
        self.add(StepTimedOut(agent, member, step.name, limit, failures, retry_ms, progress.due_ms))
        if retry_ms is None:
            reason = {"deadline": "DeadlineMissed", "wait": "Expired"}.get(limit, "MaxRetriesExceeded")
            text = {"deadline": "not done by its deadline", "wait": f"no agent took it in {step.wait_ms} ms"}
            self.give_up(number, reason, "TimeoutError", text.get(limit, f"a run took more than {step.timeout_ms} ms"))

    def retry_ms(self, step: Step, failures: int) -> int | None:
        if failures > step.retries:
            return None
        return self.at.now_ms + BACKOFF_MS[min(failures, len(BACKOFF_MS)) - 1]

    # -- what follows from the end of a run

    def want(self, numbers: Iterable[int]) -> None:
        """Asks the team for agents."""
        task = self.task
        wanted = tuple(
            [
                Wanted(step.name, task.steps[number].attempt + 1, step.capability, step.optional)
                for number in numbers
                for step in (task.graph[number],)
            ]
        )
        if wanted:
            self.add(AgentsWanted(task.team, wanted, self.at.now_ms))

    def free(self, progress: Progress, *outcomes: Outcome) -> None:
        """Gives the slot of a run back to the team."""
        slot = progress.slot
        assert slot is not None
        freed = Freed(slot.step, slot.attempt, (*progress.outcomes, *outcomes))
        self.add(AgentsFreed(self.task.team, (freed,)))

    def give_up(self, number: int, reason: str, error_type: str, error: str) -> None:
        """No run of the step is going to follow."""
        step = self.task.graph[number]
        tries = self.task.steps[number].tries
        self.add(StepDeadLettered(step.name, step.capability, reason, error_type, error, tries))
        self.go_on_without(number)

    def go_on_without(self, number: int) -> None:
        """A step has ended and was not completed: what can do without it may begin, what cannot is blocked."""
        task = self.task
        free = set(task.frees(number))
        blocked, todo, seen = [], [one for one in task.graph.after[number] if one not in free], set()
        relieved = list(free)
        while todo:
            one = todo.pop(0)
            if one in seen or task.steps[one].status != PENDING:
                continue
            seen.add(one)
            blocked.append(one)
            freed = set(task.frees(one))
            relieved += freed
            todo += [after for after in task.graph.after[one] if after not in freed]
        if blocked:
            names = tuple([task.graph[one].name for one in blocked])
            self.add(StepsBlocked(task.graph[number].name, names))
        self.want(self.able(relieved))

    def able(self, numbers: Iterable[int]) -> list[int]:
        """Those of some steps that wait for no other any more. What has too little to begin with is blocked."""
        able = []
        for number in sorted(set(numbers)):
            task = self.task
            if task.steps[number].status != PENDING or task.missing_of(number):
                continue
            need = task.graph[number].need
            completed = sum(task.steps[one].status == COMPLETED for one in task.graph.before[number]) if need else 0
            if need and completed < need:
                short = next(one for one in task.graph.before[number] if task.steps[one].status != COMPLETED)
                self.add(StepsBlocked(task.graph[short].name, (task.graph[number].name,)))
                self.go_on_without(number)
            else:
                able.append(number)
        return able

    def start(
        self, number: int, attempt: int, agent: str, member: str, slot: Slot, capabilities: tuple[str, ...],
        outcomes: tuple[Outcome, ...] = (),
    ) -> None:  # fmt: skip
        """Has an agent run a step."""
        task, at = self.task, self.at
        step, progress, by_ms = task.graph[number], task.steps[number], task.deadline_of(number)
        until_ms = at.now_ms + step.timeout_ms
        deadline_ms = until_ms if by_ms is None else min(until_ms, by_ms)
        self.add(
            StepStarted(
                agent, member, step.name, attempt, at.seq, outcomes, slot, capabilities, step.timeout_ms,
                deadline_ms, progress.tries, task.input, self._inputs(number), task.type, step.capability, task.trace,
            )
        )  # fmt: skip

    def _inputs(self, number: int) -> tuple[Input, ...]:
        """What the steps before have brought, as much as fits."""
        task = self.task
        left = START_BYTES_MAX - bytes_of_payload(task.input) - task.graph.bytes
        inputs = []
        for one in task.graph.before[number]:
            progress = task.steps[one]
            size = bytes_of_payload(progress.result) + len(progress.error.encode())
            omitted = size > left
            if not omitted:
                left -= size
            result = None if omitted else progress.result
            error = "" if omitted else progress.error
            inputs.append(Input(task.graph[one].name, progress.status, result, error, omitted))
        return tuple(inputs)

    def end(self) -> None:
        """Ends the task if nothing can go on."""
        task, now_ms = self.task, self.at.now_ms
        if task.left or task.has_ended:
            return
        missed = [(n, p) for n, p in task.steps if p.status in GIVEN_UP | {BLOCKED} and not task.graph[n].optional]
        for number, progress in sorted(missed, key=lambda one: one[1].status == BLOCKED):
            self.add(TaskFailed(task.agent, task.graph[number].name, progress.reason, now_ms))
            return
        self.add(TaskCompleted(task.agent, now_ms))


# -- what commands bring


def _of_no_task(command: Command, at: At) -> list[Event]:
    """To a task that there is not, or not any more."""
    match command:
        case SubmitTask():
            return _begun(command, at)
        case StartStep(agent, member, team, step, attempt):
            freed = AgentsFreed(team, (Freed(step, attempt, ()),))
            return [StartRefused(agent, member, step, attempt, "unknown_task"), freed]
        case Tick() | LoseSteps() | RefuseSteps():
            return []
    return [TaskUnknown(command.agent, type(command).__name__)]  # type: ignore[attr-defined]


def _begun(c: SubmitTask, at: At) -> list[Event]:
    submitted = TaskSubmitted(c.agent, c.type, c.team, c.input, c.steps, c.keep_ms, at.now_ms, c.trace)
    task = evolve(None, submitted)
    assert task is not None
    draft = Draft(task, at)
    draft.want([number for number, before in enumerate(task.graph.before) if not before])
    return [submitted, *draft.events]


def _submit(draft: Draft, task: Task, c: SubmitTask) -> None:
    same = (c.type, c.team, c.input, c.steps) == (task.type, task.team, task.input, task.graph.steps)
    draft.add(TaskKnown(c.agent, task.status) if same else TaskRefused(c.agent, task.type))


def _start(draft: Draft, task: Task, c: StartStep) -> None:
    number = task.graph.number(c.step)
    progress = task.steps[number] if number is not None else None
    if number is not None and progress is not None and not task.has_ended:
        if progress.status == READY and progress.attempt == c.attempt:
            slot = Slot(c.step, c.attempt)
            draft.start(number, c.attempt, c.agent, c.member, slot, c.capabilities)
            return
        if progress.status == RUNNING and (progress.attempt, progress.member) == (c.attempt, c.member):
            draft.add(StartRefused(c.agent, c.member, c.step, c.attempt, RUNNING))
            return  # the slot is in use
    reason = "unknown_step" if progress is None else task.status if task.has_ended else progress.status
    draft.add(StartRefused(c.agent, c.member, c.step, c.attempt, reason))
    if progress is None or progress.status != COMPLETED or not _is_used(task, Slot(c.step, c.attempt), c.member):
        draft.add(AgentsFreed(c.team, (Freed(c.step, c.attempt, ()),)))


def _is_used(task: Task, slot: Slot, member: str) -> bool:
    """Whether a member runs a step in a slot: another one than that which it was given for, if that is completed."""
    return any(progress.slot == slot and progress.member == member for _, progress in task.steps)


def _running(draft: Draft, task: Task, c: CompleteStep | FailStep | ReturnStep) -> int | None:
    """The step of whose run a command tells; None if that run does not count, which is recorded."""
    number = task.graph.number(c.step)
    if number is None:
        reason = "unknown_step"
    elif task.has_ended:
        reason = task.status
    elif task.steps[number].status != RUNNING:
        reason = task.steps[number].status
    elif task.steps[number].token != c.token:
        reason = "taken_over"
    else:
        return number
    draft.add(ResultIgnored(c.agent, c.step, c.token, reason))
    return None


def _complete(draft: Draft, task: Task, c: CompleteStep) -> None:
    number = _running(draft, task, c)
    if number is None:
        return
    progress, step = task.steps[number], task.graph[number]
    assert progress.slot is not None
    time_passed = bool(draft.events)  # what that brought and the start of a step need not fit one decision
    draft.add(StepCompleted(c.agent, c.step, c.token, c.result, draft.at.now_ms))
    able = draft.able(task.graph.after[number])
    done = Outcome(step.capability, completed=True)
    outcomes = progress.outcomes if done in progress.outcomes else (*progress.outcomes, done)
    following = None
    if not time_passed:
        following = next((one for one in able if task.graph[one].capability in progress.capabilities), None)
    if following is None:
        draft.add(AgentsFreed(task.team, (Freed(progress.slot.step, progress.slot.attempt, outcomes),)))
    else:
        attempt = task.steps[following].attempt + 1
        p = progress
        draft.start(following, attempt, p.agent, p.member, progress.slot, p.capabilities, outcomes)
    draft.want([one for one in able if one != following])
    draft.end()


def _fail(draft: Draft, task: Task, c: FailStep) -> None:
    number = _running(draft, task, c)
    if number is None:
        return
    progress, step = task.steps[number], task.graph[number]
    failures = progress.failures + 1
    retry_ms = None if c.final else draft.retry_ms(step, failures)
    error = c.error[:ERROR_CHARS_MAX]
    draft.free(progress, Outcome(step.capability, completed=False))
    draft.add(StepFailed(c.agent, c.step, c.token, c.error_type, error, failures, retry_ms))
    if retry_ms is None:
        draft.give_up(number, "Failed" if c.final else "MaxRetriesExceeded", c.error_type, error)
    draft.end()


def _return(draft: Draft, task: Task, c: ReturnStep) -> None:
    number = _running(draft, task, c)
    if number is not None:
        draft.free(task.steps[number])
        draft.add(StepReturned(c.agent, c.step, c.token))
        draft.want([number])


def _lose(draft: Draft, task: Task, c: LoseSteps) -> None:
    if task.has_ended:
        return
    slots, freed = frozenset(c.slots), []
    for number, progress in task.steps:
        name = task.graph[number].name
        runs = progress.slot is not None and progress.member == c.member
        slot = progress.slot if runs else Slot(name, progress.attempt) if progress.status == READY else None
        if slot is None or slot not in slots:
            continue
        losses = progress.losses + runs
        freed.append(Freed(slot.step, slot.attempt, ()))
        draft.add(StepLost(c.agent, c.member, name, progress.attempt, losses))
        if losses < LOSSES_MAX:
            draft.want([number])
        else:
            draft.give_up(number, "Crashed", "", f"{LOSSES_MAX} agents were lost while they ran it")
    if freed:  # the team may have given them again, to a request that came twice
        draft.add(AgentsFreed(task.team, tuple(freed)))
    draft.end()


def _refuse(draft: Draft, task: Task, c: RefuseSteps) -> None:
    if task.has_ended:
        return
    for refusal in c.refusals:
        _refuse_one(draft, refusal)
    draft.end()


def _refuse_one(draft: Draft, refusal: Refusal) -> None:
    task = draft.task
    number = task.graph.number(refusal.step)
    if number is None or (task.steps[number].status, task.steps[number].attempt) != (READY, refusal.attempt):
        return
    optional = task.graph[number].optional
    retry_ms = None if optional else draft.at.now_ms + max(1, refusal.retry_after_ms)
    draft.add(StepRefused(refusal.step, refusal.attempt, refusal.reason, retry_ms))
    if optional:
        draft.go_on_without(number)


def _cancel(draft: Draft, task: Task, c: CancelTask) -> None:
    if task.has_ended:
        draft.add(TaskKnown(c.agent, task.status))
        return
    freed, runners = [], set()
    for number, progress in task.steps:
        if progress.status == RUNNING and progress.slot is not None:
            runners.add(progress.agent)
            freed.append(Freed(progress.slot.step, progress.slot.attempt, progress.outcomes))
        elif progress.status == READY:
            freed.append(Freed(task.graph[number].name, progress.attempt, ()))
    draft.add(TaskCancelled(c.agent, c.reason, task.agent, tuple(sorted(runners)), draft.at.now_ms))
    if freed:
        draft.add(AgentsFreed(task.team, tuple(freed)))


def _retry(draft: Draft, task: Task, c: RetryStep) -> None:
    number = _dead_letter(draft, task, c)
    if number is not None:
        draft.add(StepRetried(c.agent, c.step))
        draft.want(draft.able([number]))
        draft.end()


def _drop(draft: Draft, task: Task, c: DropStep) -> None:
    if _dead_letter(draft, task, c) is not None:
        draft.add(StepDropped(c.agent, c.step, c.reason))


def _dead_letter(draft: Draft, task: Task, c: RetryStep | DropStep) -> int | None:
    """The step of a dead letter; None if it is none, which is recorded."""
    number = task.graph.number(c.step)
    if number is None:
        reason = "unknown_step"
    elif task.status in (COMPLETED, CANCELLED):
        reason = task.status
    elif task.steps[number].status not in (FAILED, TIMED_OUT) or not task.steps[number].reason:
        reason = task.steps[number].status
    elif type(c) is RetryStep and task.graph[number].optional:
        reason = "optional"
    elif type(c) is RetryStep and is_blocked(task, number):
        reason = BLOCKED
    else:
        return number
    draft.add(RetryRefused(c.agent, c.step, reason))
    return None


def _read(draft: Draft, task: Task, c: ReadTask) -> None:
    named = [task.graph.number(name) for name in c.steps]
    numbers = [number for number in named if number is not None] if c.steps else list(range(len(task.graph)))
    left = READ_BYTES_MAX
    told: list[StepRead] = []
    for number in numbers[c.first :]:
        progress = task.steps[number]
        texts = [task.graph[number].name, progress.agent, progress.error]
        texts += [text for run in progress.runs for text in (run.agent, run.status, run.error)]
        left -= 50 + sum(len(text.encode()) for text in texts) + bytes_of_payload(progress.result)
        if left < 0 and told:
            break
        status = CANCELLED if task.status == CANCELLED and progress.status not in ENDED else progress.status
        name = task.graph[number].name
        p, last = progress, not task.graph.after[number]
        told.append(StepRead(name, status, p.agent, p.failures, p.ended_ms, p.result, p.error, last, p.runs))
    draft.add(
        TaskRead(
            c.agent, task.type, task.status, task.input, task.created_ms, task.ended_ms, task.reason, tuple(told),
            c.first, len(numbers),
        )
    )  # fmt: skip


def _tick(_: Draft, __: Task, ___: Tick) -> None:
    pass


_ANSWERS: Final[Mapping[type[Command], Callable[[Draft, Task, Any], None]]] = {
    SubmitTask: _submit,
    StartStep: _start,
    CompleteStep: _complete,
    FailStep: _fail,
    ReturnStep: _return,
    LoseSteps: _lose,
    RefuseSteps: _refuse,
    CancelTask: _cancel,
    RetryStep: _retry,
    DropStep: _drop,
    ReadTask: _read,
    Tick: _tick,
}


# -- what follows elsewhere


def _request(key: str, e: AgentsWanted) -> list[Order]:
    return [Order("roster", e.team, RequestAgents(key, e.wanted))]


def _give_back(key: str, e: AgentsFreed) -> list[Order]:
    return [Order("roster", e.team, FreeAgents(key, e.freed))]


def _letter(e: StepDeadLettered) -> Failure:
    description = f"{e.error_type}: {e.error}" if e.error_type else e.error
    return Failure(e.queue, e.reason, description, "", b"", "", e.attempts, e.step)


DOMAIN: Final = Domain(
    "tasks",
    {1: TaskDecider()},
    dead_letters={StepDeadLettered: _letter},
    reactions={AgentsWanted: _request, AgentsFreed: _give_back},
)
"""Tasks, by name."""
