"""Conflicts: what agents are about to do or found, and who goes first; see `accord.streams.conflicts`."""

import msgspec
from accord.schemas.messages import Command, Event


class Pair(msgspec.Struct, frozen=True, gc=False):
    """Two that cannot go together, in whatever order."""

    one: str
    other: str


class Capacity(msgspec.Struct, frozen=True, gc=False):
    """How much there is of a resource."""

    resource: str
    amount: int


class Terms(msgspec.Struct, frozen=True, gc=False):
    """How conflicts on a ground are found and resolved."""

    capacities: tuple[Capacity, ...]
    contradictions: tuple[Pair, ...]
    incompatible: tuple[Pair, ...]
    preemption: bool
    semantic: bool
    judges: tuple[str, ...]
    confidence_least_millionths: int
    judging_ms: int
    authority: str
    organisation: str
    authority_ms: int
    keep_ms: int


class Intent(msgspec.Struct, frozen=True, gc=False):
    """What an agent is about to do."""

    action: str
    target: str
    resource: str
    amount: int
    mode: str | None
    topic: str
    text: str
    from_ms: int | None
    until_ms: int | None
    priority: int
    lease_ms: int
    waits: bool


class Party(msgspec.Struct, frozen=True, gc=False):
    """Who takes part in a conflict."""

    party: str
    agent: str


class Loser(msgspec.Struct, frozen=True, gc=False):
    """Who lost a conflict, and what became of that."""

    party: str
    agent: str
    outcome: str


class Finding(msgspec.Struct, frozen=True, gc=False):
    """What an agent found."""

    agent: str
    recommendation: str | None
    text: str
    priority: int


class Standing(msgspec.Struct, frozen=True, gc=False):
    """An intention as it stands."""

    intention: str
    agent: str
    intent: Intent
    status: str
    deadline_ms: int
    conflict: str


class Brief(msgspec.Struct, frozen=True, gc=False):
    """A conflict in short."""

    conflict: str
    kind: str
    status: str
    winner: str


class ConfigureGround(Command, frozen=True):
    agent: str
    terms: Terms


class DeclareIntention(Command, frozen=True):
    agent: str
    intention: str
    intent: Intent
    trail: tuple[str, ...]


class RenewIntention(Command, frozen=True):
    agent: str
    intention: str


class FinishIntention(Command, frozen=True):
    agent: str
    intention: str


class WithdrawIntention(Command, frozen=True):
    agent: str
    intention: str
    reason: str


class CompareFindings(Command, frozen=True):
    agent: str
    conflict: str
    findings: tuple[Finding, ...]
    trail: tuple[str, ...]


class JudgeConflict(Command, frozen=True):
    agent: str
    conflict: str
    winner: str | None
    kind: str
    against: tuple[str, ...]
    reasoning: str
    confidence_millionths: int
    request: str


class DeclineJudgement(Command, frozen=True):
    agent: str
    conflict: str
    reason: str


class AppealResolution(Command, frozen=True):
    agent: str
    conflict: str
    party: str
    reason: str


class RuleOnConflict(Command, frozen=True):
    agent: str
    conflict: str
    winner: str
    reasoning: str


class TakeVerdict(Command, frozen=True):
    agent: str
    organisation: str
    request: str
    verdict: str | None
    reason: str


class ReadGround(Command, frozen=True):
    agent: str


class ReadConflict(Command, frozen=True):
    agent: str
    conflict: str


class GroundConfigured(Event, frozen=True):
    agent: str
    terms: Terms


class ConfigurationRefused(Event, frozen=True):
    agent: str
    owner: str


class IntentionDeclared(Event, frozen=True):
    agent: str
    intention: str
    intent: Intent
    arrival: int
    deadline_ms: int


class IntentionKnown(Event, frozen=True):
    agent: str
    intention: str
    status: str
    conflict: str
    by: tuple[str, ...]


class IntentionRefused(Event, frozen=True):
    agent: str
    intention: str
    reason: str
    detail: str


class ConflictFound(Event, frozen=True):
    conflict: str
    kind: str
    rule: str
    parties: tuple[Party, ...]
    target: str
    resource: str
    topic: str
    demanded: int | None
    capacity: int | None
    findings: tuple[Finding, ...]
    pairs: tuple[Pair, ...]
    agent: str
    found_ms: int


class JudgementWanted(Event, frozen=True):
    conflict: str
    kind: str
    parties: tuple[Party, ...]
    judges: tuple[str, ...]
    agent: str
    trail: tuple[str, ...]
    due_ms: int


class JudgementGiven(Event, frozen=True):
    agent: str
    conflict: str
    winner: str | None
    kind: str
    against: tuple[str, ...]
    reasoning: str
    confidence_millionths: int
    request: str


class JudgementDeclined(Event, frozen=True):
    agent: str
    conflict: str
    reason: str


class JudgementIgnored(Event, frozen=True):
    agent: str
    conflict: str
    winner: str | None
    reason: str


class ConflictEscalated(Event, frozen=True):
    conflict: str
    reason: str
    agent: str
    detail: str
    parties: tuple[Party, ...]
    authority: str
    organisation: str
    request: str
    trail: tuple[str, ...]
    due_ms: int | None


class ConflictResolved(Event, frozen=True):
    conflict: str
    kind: str
    method: str
    winners: tuple[Party, ...]
    losers: tuple[Loser, ...]
    reasoning: str
    confidence_millionths: int
    fallback: str
    by_rule: str
    by: str
    agent: str
    resolved_ms: int


class ConflictRuledOut(Event, frozen=True):
    conflict: str
    method: str
    reasoning: str
    confidence_millionths: int
    fallback: str
    by: str
    ended_ms: int


class AppealDecided(Event, frozen=True):
    conflict: str
    upheld: bool
    winner: Party
    losers: tuple[Loser, ...]
    method: str
    reasoning: str
    fallback: str
    by: str
    decided_ms: int


class VerdictIgnored(Event, frozen=True):
    agent: str
    organisation: str
    request: str
    verdict: str | None


class AppealRefused(Event, frozen=True):
    agent: str
    conflict: str
    reason: str


class RulingRefused(Event, frozen=True):
    agent: str
    conflict: str
    winner: str
    reason: str


class IntentionAllowed(Event, frozen=True):
    agent: str
    intention: str
    allowed_ms: int


class IntentionQueued(Event, frozen=True):
    agent: str
    intention: str
    behind: tuple[Party, ...]


class IntentionFavoured(Event, frozen=True):
    agent: str
    intention: str
    conflict: str
    deadline_ms: int


class IntentionRenewed(Event, frozen=True):
    agent: str
    intention: str
    deadline_ms: int


class IntentionEnded(Event, frozen=True):
    agent: str
    intention: str
    outcome: str
    conflict: str
    by: tuple[str, ...]
    reason: str
    ended_ms: int


class IntentionUnknown(Event, frozen=True):
    agent: str
    intention: str
    command: str


class FindingsAgree(Event, frozen=True):
    agent: str
    conflict: str
    compared: int


class ComparisonRefused(Event, frozen=True):
    agent: str
    conflict: str
    reason: str


class ConflictKnown(Event, frozen=True):
    agent: str
    conflict: str
    status: str


class ConflictUnknown(Event, frozen=True):
    agent: str
    conflict: str
    command: str


class RecordsForgotten(Event, frozen=True):
    intentions: tuple[str, ...]
    conflicts: tuple[str, ...]


class GroundRead(Event, frozen=True):
    agent: str
    owner: str
    terms: Terms
    intentions: tuple[Standing, ...]
    conflicts: tuple[Brief, ...]


class ConflictRead(Event, frozen=True):
    agent: str
    conflict: str
    status: str
    kind: str
    parties: tuple[Party, ...]
    intentions: tuple[Standing, ...]
    findings: tuple[Finding, ...]
    pairs: tuple[Pair, ...]
    due_ms: int | None
    judged_by: tuple[str, ...]
    authority: str
    organisation: str
    method: str
    winners: tuple[Party, ...]
    losers: tuple[Loser, ...]
    reasoning: str
    confidence_millionths: int
    fallback: str
    by_rule: str
    by: str
    appealed: bool


COMMANDS = (
    ConfigureGround,
    DeclareIntention,
    RenewIntention,
    FinishIntention,
    WithdrawIntention,
    CompareFindings,
    JudgeConflict,
    DeclineJudgement,
    AppealResolution,
    RuleOnConflict,
    TakeVerdict,
    ReadGround,
    ReadConflict,
)
EVENTS = (
    GroundConfigured,
    ConfigurationRefused,
    IntentionDeclared,
    IntentionKnown,
    IntentionRefused,
    ConflictFound,
    JudgementWanted,
    JudgementGiven,
    JudgementDeclined,
    JudgementIgnored,
    ConflictEscalated,
    ConflictResolved,
    ConflictRuledOut,
    AppealDecided,
    VerdictIgnored,
    AppealRefused,
    RulingRefused,
    IntentionAllowed,
    IntentionQueued,
    IntentionFavoured,
    IntentionRenewed,
    IntentionEnded,
    IntentionUnknown,
    FindingsAgree,
    ComparisonRefused,
    ConflictKnown,
    ConflictUnknown,
    RecordsForgotten,
    GroundRead,
    ConflictRead,
)
