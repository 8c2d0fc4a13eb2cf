"""Hierarchies: who may decide what, who was asked, what was decided; see `accord.streams.hierarchy`."""

import msgspec
from accord.schemas.messages import Command, Event


class Boundary(msgspec.Struct, frozen=True):
    """Up to what amount a member decides on a type."""

    type: str
    limit_millionths: int


class Member(msgspec.Struct, frozen=True):
    """A member of an organisation, and what it may decide."""

    name: str
    reports_to: str | None
    boundaries: tuple[Boundary, ...]
    deputy: str | None
    answer_ms: int


class Delegation(msgspec.Struct, frozen=True):
    """A part of what a member may decide, given to another one for a time."""

    delegation: str
    delegator: str
    delegate: str
    type: str
    limit_millionths: int
    rests_on: str | None
    until_ms: int


class Authority(msgspec.Struct, frozen=True):
    """By what a decision may be made."""

    member: str
    basis: str
    limit_millionths: int
    delegations: tuple[Delegation, ...]


class Step(msgspec.Struct, frozen=True):
    """One member's part in the way of a request."""

    member: str
    asked: str
    level: int
    asked_ms: int
    ended_ms: int | None
    ended: str
    reason: str


class Origin(msgspec.Struct, frozen=True):
    """The aggregate of another domain that a request comes from."""

    domain: str
    key: str
    item: str


class DefineOrganisation(Command, frozen=True):
    agent: str
    members: tuple[Member, ...]
    span: int


class DelegateAuthority(Command, frozen=True):
    agent: str
    delegation: str
    delegate: str
    type: str
    limit_millionths: int
    duration_ms: int
    reason: str


class RevokeDelegation(Command, frozen=True):
    agent: str
    delegation: str
    reason: str


class BeginAbsence(Command, frozen=True):
    agent: str
    member: str
    reason: str


class EndAbsence(Command, frozen=True):
    agent: str
    member: str


class Decide(Command, frozen=True):
    agent: str
    decision: str
    type: str
    amount_millionths: int
    subject: str
    inputs: str
    verdict: str
    reason: str
    escalate: bool
    trail: tuple[str, ...]


class RequestDecision(Command, frozen=True):
    agent: str
    decision: str
    about: tuple[str, ...]
    type: str
    amount_millionths: int
    subject: str
    inputs: str
    options: tuple[str, ...]
    origin: Origin | None
    trail: tuple[str, ...]


class AnswerRequest(Command, frozen=True):
    agent: str
    decision: str
    choice: str
    reason: str


class WithdrawRequest(Command, frozen=True):
    agent: str
    decision: str
    reason: str


class ReportOutcome(Command, frozen=True):
    agent: str
    decision: str
    outcome: str
    note: str


class ReadDecision(Command, frozen=True):
    agent: str
    decision: str


class ReadOrganisation(Command, frozen=True):
    agent: str


class OrganisationDefined(Event, frozen=True):
    agent: str
    members: tuple[Member, ...]
    span: int
    revision: int
    defined_ms: int


class OrganisationKnown(Event, frozen=True):
    agent: str
    revision: int


class OrganisationRefused(Event, frozen=True):
    agent: str
    reason: str
    description: str


class OrganisationUnknown(Event, frozen=True):
    agent: str
    command: str
    decision: str | None
    origin: Origin | None


class OrganisationRead(Event, frozen=True):
    agent: str
    owner: str
    members: tuple[Member, ...]
    span: int
    revision: int
    absent: tuple[str, ...]
    delegations: tuple[Delegation, ...]
    requests: tuple[str, ...]


class DelegationGranted(Event, frozen=True):
    delegation: Delegation
    reason: str
    granted_ms: int


class DelegationKnown(Event, frozen=True):
    agent: str
    delegation: str


class DelegationRefused(Event, frozen=True):
    agent: str
    delegation: str
    reason: str


class DelegationsRevoked(Event, frozen=True):
    agent: str
    reason: str
    delegations: tuple[str, ...]


class RevocationRefused(Event, frozen=True):
    agent: str
    delegation: str
    reason: str


class DelegationsExpired(Event, frozen=True):
    delegations: tuple[str, ...]


class AbsenceBegan(Event, frozen=True):
    agent: str
    member: str
    reason: str
    since_ms: int


class AbsenceEnded(Event, frozen=True):
    agent: str
    member: str
    ended_ms: int


class AbsenceKnown(Event, frozen=True):
    agent: str
    member: str
    absent: bool


class AbsenceRefused(Event, frozen=True):
    agent: str
    member: str
    reason: str


class DecisionRequested(Event, frozen=True):
    decision: str
    agent: str
    about: tuple[str, ...]
    type: str
    amount_millionths: int
    subject: str
    inputs: str
    options: tuple[str, ...]
    proposed: str | None
    origin: Origin | None
    trail: tuple[str, ...]
    opened_ms: int


class AuthorityAsked(Event, frozen=True):
    decision: str
    agent: str
    requester: str
    authority: Authority
    level: int
    asked_ms: int
    due_ms: int
    trail: tuple[str, ...]


class AuthorityPassed(Event, frozen=True):
    decision: str
    member: str
    asked: str
    level: int
    ended: str
    reason: str
    ended_ms: int


class DecisionMade(Event, frozen=True):
    decision: str
    agent: str
    requester: str
    about: tuple[str, ...]
    type: str
    amount_millionths: int
    subject: str
    inputs: str
    options: tuple[str, ...]
    verdict: str
    reason: str
    authority: Authority
    level: int
    path: tuple[Step, ...]
    origin: Origin | None
    revision: int
    opened_ms: int
    ended_ms: int


class DecisionDefaulted(Event, frozen=True):
    decision: str
    agent: str
    about: tuple[str, ...]
    type: str
    amount_millionths: int
    subject: str
    inputs: str
    options: tuple[str, ...]
    verdict: str
    reason: str
    path: tuple[Step, ...]
    origin: Origin | None
    revision: int
    opened_ms: int
    ended_ms: int


class DecisionWithdrawn(Event, frozen=True):
    decision: str
    agent: str
    reason: str
    path: tuple[Step, ...]
    origin: Origin | None
    ended_ms: int


class DecisionKnown(Event, frozen=True):
    decision: str
    agent: str
    status: str
    verdict: str | None


class DecisionRefused(Event, frozen=True):
    decision: str
    agent: str
    type: str
    amount_millionths: int
    reason: str
    origin: Origin | None


class DecisionUnknown(Event, frozen=True):
    decision: str
    agent: str
    command: str


class AnswerRefused(Event, frozen=True):
    decision: str
    agent: str
    choice: str
    reason: str


class WithdrawalRefused(Event, frozen=True):
    decision: str
    agent: str
    requester: str


class OutcomeReported(Event, frozen=True):
    decision: str
    agent: str
    outcome: str
    note: str
    reported_ms: int


class OutcomeRefused(Event, frozen=True):
    decision: str
    agent: str
    reason: str
    reported: str | None


class DecisionRead(Event, frozen=True):
    decision: str
    agent: str
    requester: str
    about: tuple[str, ...]
    type: str
    amount_millionths: int
    subject: str
    inputs: str
    options: tuple[str, ...]
    proposed: str | None
    status: str
    verdict: str | None
    decider: str | None
    reason: str
    authority: Authority | None
    path: tuple[Step, ...]
    opened_ms: int
    due_ms: int | None
    ended_ms: int | None
    outcome: str | None


COMMANDS = (
    DefineOrganisation,
    DelegateAuthority,
    RevokeDelegation,
    BeginAbsence,
    EndAbsence,
    Decide,
    RequestDecision,
    AnswerRequest,
    WithdrawRequest,
    ReportOutcome,
    ReadDecision,
    ReadOrganisation,
)
EVENTS = (
    OrganisationDefined,
    OrganisationKnown,
    OrganisationRefused,
    OrganisationUnknown,
    OrganisationRead,
    DelegationGranted,
    DelegationKnown,
    DelegationRefused,
    DelegationsRevoked,
    RevocationRefused,
    DelegationsExpired,
    AbsenceBegan,
    AbsenceEnded,
    AbsenceKnown,
    AbsenceRefused,
    DecisionRequested,
    AuthorityAsked,
    AuthorityPassed,
    DecisionMade,
    DecisionDefaulted,
    DecisionWithdrawn,
    DecisionKnown,
    DecisionRefused,
    DecisionUnknown,
    AnswerRefused,
    WithdrawalRefused,
    OutcomeReported,
    OutcomeRefused,
    DecisionRead,
)
