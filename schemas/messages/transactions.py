"""Transactions over several scopes: two-phase commit; see `accord.streams.transactions`."""

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.state import Conflict, SeenKey, SeenRange, Write
from accord.schemas.messages.tasks import Payload, Step


class ScopeChanges(msgspec.Struct, frozen=True, gc=False):
    """What a transaction has read and is going to write in a scope."""

    scope: str
    isolation: str
    snapshot: int | None
    reads: tuple[SeenKey, ...]
    ranges: tuple[SeenRange, ...]
    writes: tuple[Write, ...]


class Guard(msgspec.Struct, frozen=True, gc=False):
    """What must be held when the transaction is committed: a lock (`domain` is locks), or a part of a pool (limits).

    `request` tells those apart who share its token.
    """

    domain: str
    key: str
    token: int
    request: str | None


class Submission(msgspec.Struct, frozen=True):
    """A task that is begun when the transaction is committed; its terms are those of `SubmitTask`."""

    task: str
    agent: str
    type: str
    team: str
    input: Payload
    steps: tuple[Step, ...]
    keep_ms: int
    trace: str


class Participant(msgspec.Struct, frozen=True, gc=False):
    """Who takes part: an aggregate of another domain."""

    domain: str
    key: str


class Party(msgspec.Struct, frozen=True, gc=False):
    """A participant as it stands; empty texts: it has not voted, has acknowledged nothing."""

    domain: str
    key: str
    vote: str
    outcome: str


class BeginTransaction(Command, frozen=True):
    agent: str
    members: tuple[str, ...]
    changes: tuple[ScopeChanges, ...]
    commit: bool
    timeout_ms: int
    keep_ms: int
    guards: tuple[Guard, ...] = ()
    tasks: tuple[Submission, ...] = ()


class EnlistChanges(Command, frozen=True):
    agent: str
    changes: tuple[ScopeChanges, ...]
    guards: tuple[Guard, ...] = ()
    tasks: tuple[Submission, ...] = ()


class CommitTransaction(Command, frozen=True):
    agent: str
    changes: tuple[ScopeChanges, ...]
    guards: tuple[Guard, ...] = ()
    tasks: tuple[Submission, ...] = ()


class RollBackTransaction(Command, frozen=True):
    agent: str
    reason: str


class ReadTransaction(Command, frozen=True):
    agent: str


class RecordVote(Command, frozen=True):
    domain: str
    key: str
    yes: bool
    reason: str
    description: str
    conflicts: tuple[Conflict, ...]
    holder: str


class AcknowledgeOutcome(Command, frozen=True):
    domain: str
    key: str
    outcome: str


class AskOutcome(Command, frozen=True):
    domain: str
    key: str


class RepairTransaction(Command, frozen=True):
    agent: str
    found: str
    participant: Participant | None


class TransactionBegun(Event, frozen=True):
    agent: str
    members: tuple[str, ...]
    timeout_ms: int
    keep_ms: int
    begun_ms: int


class ChangesEnlisted(Event, frozen=True):
    agent: str
    changes: tuple[ScopeChanges, ...]
    guards: tuple[Guard, ...] = ()
    tasks: tuple[Submission, ...] = ()


class PrepareAsked(Event, frozen=True):
    agent: str
    changes: tuple[ScopeChanges, ...]
    due_ms: int
    asked_ms: int
    guards: tuple[Guard, ...] = ()
    tasks: tuple[Submission, ...] = ()


class VoteRecorded(Event, frozen=True):
    domain: str
    key: str
    yes: bool
    reason: str
    description: str
    recorded_ms: int


class VoteIgnored(Event, frozen=True):
    domain: str
    key: str
    yes: bool
    status: str


class TransactionDecided(Event, frozen=True):
    agent: str
    outcome: str
    reason: str
    description: str
    refused_by: str
    conflicts: tuple[Conflict, ...]
    holder: str
    tell: tuple[Participant, ...]
    decided_ms: int
    tasks: tuple[Submission, ...] = ()


class GuardsReleased(Event, frozen=True):
    tell: tuple[Participant, ...]
    released_ms: int


class OutcomeAcknowledged(Event, frozen=True):
    domain: str
    key: str
    outcome: str
    acknowledged_ms: int


class AcknowledgementIgnored(Event, frozen=True):
    domain: str
    key: str
    outcome: str
    status: str


class OutcomeTold(Event, frozen=True):
    domain: str
    key: str
    outcome: str


class OutcomeToldAgain(Event, frozen=True):
    outcome: str
    tell: tuple[Participant, ...]
    times: int
    told_ms: int


class OutcomeUndecided(Event, frozen=True):
    domain: str
    key: str
    status: str


class TransactionEnded(Event, frozen=True):
    agent: str
    outcome: str
    ended_ms: int


class TransactionRefused(Event, frozen=True):
    agent: str
    command: str
    reason: str


class TransactionRead(Event, frozen=True):
    agent: str
    owner: str
    status: str
    reason: str
    description: str
    parties: tuple[Party, ...]
    begun_ms: int
    due_ms: int
    decided_ms: int | None
    ended_ms: int | None


class TransactionRepaired(Event, frozen=True):
    agent: str
    found: str
    done: str
    outcome: str
    tell: tuple[Participant, ...]
    repaired_ms: int


class TransactionForgotten(Event, frozen=True):
    ended_ms: int


COMMANDS = (
    BeginTransaction,
    EnlistChanges,
    CommitTransaction,
    RollBackTransaction,
    ReadTransaction,
    RecordVote,
    AcknowledgeOutcome,
    AskOutcome,
    RepairTransaction,
)
EVENTS = (
    TransactionBegun,
    ChangesEnlisted,
    PrepareAsked,
    VoteRecorded,
    VoteIgnored,
    TransactionDecided,
    OutcomeAcknowledged,
    AcknowledgementIgnored,
    OutcomeTold,
    OutcomeToldAgain,
    OutcomeUndecided,
    TransactionEnded,
    TransactionRefused,
    TransactionRead,
    TransactionForgotten,
    GuardsReleased,
    TransactionRepaired,
)
