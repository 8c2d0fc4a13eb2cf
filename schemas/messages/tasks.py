"""Tasks: graphs of steps, what became of each, and what steps need of a team; see `accord.streams.tasks`."""

import msgspec
from accord.schemas.messages import Command, Event


class Artifact(msgspec.Struct, frozen=True, gc=False):
    """Where a content is that is too large for the log, or was put beside it. `digest` is its checksum and its name in
    the store: `sha256:` and 64 hexadecimal digits."""

    digest: str
    size_bytes: int
    media_type: str


Payload = str | Artifact
"""JSON, or the artifact that holds it."""


class Step(msgspec.Struct, frozen=True, gc=False):
    """A step of a task, as it was defined."""

    name: str
    after: tuple[str, ...]
    capability: str
    retries: int
    timeout_ms: int
    wait_ms: int
    deadline_ms: int | None
    optional: bool
    need: int | None


class Wanted(msgspec.Struct, frozen=True, gc=False):
    """A request for an agent to run a step."""

    step: str
    attempt: int
    capability: str
    urgent: bool


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """How the run of a step ended."""

    capability: str
    completed: bool


class Freed(msgspec.Struct, frozen=True, gc=False):
    """A slot that an agent does not need any more, and what it did with it."""

    step: str
    attempt: int
    outcomes: tuple[Outcome, ...]


class Slot(msgspec.Struct, frozen=True, gc=False):
    """A slot of an agent, named by the request that brought it."""

    step: str
    attempt: int


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """A step that gets no agent."""

    step: str
    attempt: int
    capability: str
    reason: str
    retry_after_ms: int


class Input(msgspec.Struct, frozen=True, gc=False):
    """What a step before has brought."""

    step: str
    status: str
    result: Payload | None
    error: str
    omitted: bool


class EndedRun(msgspec.Struct, frozen=True, gc=False):
    """A run of a step that ended without a result."""

    agent: str
    status: str
    error: str


class StepRead(msgspec.Struct, frozen=True, gc=False):
    """A step as it is."""

    step: str
    status: str
    agent: str
    failures: int
    ended_ms: int | None
    result: Payload | None
    error: str
    last: bool
    runs: tuple[EndedRun, ...] = ()


class SubmitTask(Command, frozen=True):
    agent: str
    type: str
    team: str
    input: Payload
    steps: tuple[Step, ...]
    keep_ms: int
    trace: str = ""


class StartStep(Command, frozen=True):
    agent: str
    member: str
    team: str
    step: str
    attempt: int
    capabilities: tuple[str, ...]


class CompleteStep(Command, frozen=True):
    agent: str
    step: str
    token: int
    result: Payload


class FailStep(Command, frozen=True):
    agent: str
    step: str
    token: int
    error_type: str
    error: str
    final: bool


class ReturnStep(Command, frozen=True):
    agent: str
    step: str
    token: int


class LoseSteps(Command, frozen=True):
    agent: str
    member: str
    slots: tuple[Slot, ...]


class RefuseSteps(Command, frozen=True):
    refusals: tuple[Refusal, ...]


class CancelTask(Command, frozen=True):
    agent: str
    reason: str


class RetryStep(Command, frozen=True):
    agent: str
    step: str


class DropStep(Command, frozen=True):
    agent: str
    step: str
    reason: str


class ReadTask(Command, frozen=True):
    agent: str
    steps: tuple[str, ...]
    first: int


class TaskSubmitted(Event, frozen=True):
    agent: str
    type: str
    team: str
    input: Payload
    steps: tuple[Step, ...]
    keep_ms: int
    created_ms: int
    trace: str = ""


class TaskKnown(Event, frozen=True):
    agent: str
    status: str


class TaskRefused(Event, frozen=True):
    agent: str
    type: str


class TaskUnknown(Event, frozen=True):
    agent: str
    command: str


class AgentsWanted(Event, frozen=True):
    team: str
    wanted: tuple[Wanted, ...]
    since_ms: int


class StepStarted(Event, frozen=True):
    agent: str
    member: str
    step: str
    attempt: int
    token: int
    outcomes: tuple[Outcome, ...]
    slot: Slot
    capabilities: tuple[str, ...]
    timeout_ms: int
    deadline_ms: int
    tries: int
    input: Payload
    inputs: tuple[Input, ...]
    type: str
    capability: str
    trace: str = ""


class StartRefused(Event, frozen=True):
    agent: str
    member: str
    step: str
    attempt: int
    reason: str


class AgentsFreed(Event, frozen=True):
    team: str
    freed: tuple[Freed, ...]


class StepCompleted(Event, frozen=True):
    agent: str
    step: str
    token: int
    result: Payload
    ended_ms: int


class StepFailed(Event, frozen=True):
    agent: str
    step: str
    token: int
    error_type: str
    error: str
    failures: int
    retry_ms: int | None


class StepReturned(Event, frozen=True):
    agent: str
    step: str
    token: int


class StepLost(Event, frozen=True):
    agent: str
    member: str
    step: str
    attempt: int
    losses: int


class StepTimedOut(Event, frozen=True):
    agent: str
    member: str
    step: str
    limit: str
    failures: int
    retry_ms: int | None
    due_ms: int


class StepRefused(Event, frozen=True):
    step: str
    attempt: int
    reason: str
    retry_ms: int | None


class StepDeadLettered(Event, frozen=True):
    step: str
    queue: str
    reason: str
    error_type: str
    error: str
    attempts: int


class StepsBlocked(Event, frozen=True):
    because: str
    steps: tuple[str, ...]


class ResultIgnored(Event, frozen=True):
    agent: str
    step: str
    token: int
    reason: str


class StepRetried(Event, frozen=True):
    agent: str
    step: str


class StepDropped(Event, frozen=True):
    agent: str
    step: str
    reason: str


class RetryRefused(Event, frozen=True):
    agent: str
    step: str
    reason: str


class TaskCompleted(Event, frozen=True):
    agent: str
    ended_ms: int


class TaskFailed(Event, frozen=True):
    agent: str
    step: str
    reason: str
    ended_ms: int


class TaskCancelled(Event, frozen=True):
    agent: str
    reason: str
    submitter: str
    runners: tuple[str, ...]
    ended_ms: int


class TaskForgotten(Event, frozen=True):
    ended_ms: int


class TaskRead(Event, frozen=True):
    agent: str
    type: str
    status: str
    input: Payload
    created_ms: int
    ended_ms: int | None
    error: str
    steps: tuple[StepRead, ...]
    first: int
    total: int


COMMANDS = (
    SubmitTask,
    StartStep,
    CompleteStep,
    FailStep,
    ReturnStep,
    LoseSteps,
    RefuseSteps,
    CancelTask,
    RetryStep,
    DropStep,
    ReadTask,
)
EVENTS = (
    TaskSubmitted,
    TaskKnown,
    TaskRefused,
    TaskUnknown,
    AgentsWanted,
    StepStarted,
    StartRefused,
    AgentsFreed,
    StepCompleted,
    StepFailed,
    StepReturned,
    StepLost,
    StepTimedOut,
    StepRefused,
    StepDeadLettered,
    StepsBlocked,
    ResultIgnored,
    StepRetried,
    StepDropped,
    RetryRefused,
    TaskCompleted,
    TaskFailed,
    TaskCancelled,
    TaskForgotten,
    TaskRead,
)
