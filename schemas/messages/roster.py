"""Roster: teams of agents, what each is able to do, which step each one is given; heartbeats of their processes."""

import msgspec
from accord.schemas.messages import Command, Event
from accord.schemas.messages.tasks import Freed, Refusal, Wanted


class Assignment(msgspec.Struct, frozen=True, gc=False):
    """A step, and who is to run it."""

    task: str
    step: str
    attempt: int
    capability: str
    agent: str
    member: str


class Request(msgspec.Struct, frozen=True, gc=False):
    """A step that needs an agent."""

    task: str
    step: str
    attempt: int
    capability: str


class Tie(msgspec.Struct, frozen=True, gc=False):
    """Something that hangs on an agent's heartbeat."""

    domain: str
    key: str
    name: str


class JoinTeam(Command, frozen=True):
    agent: str
    member: str
    capabilities: tuple[str, ...]
    slots: int
    lease_ms: int


class RenewMembership(Command, frozen=True):
    agent: str
    member: str
    lease_ms: int


class LeaveTeam(Command, frozen=True):
    agent: str
    member: str


class RequestAgents(Command, frozen=True):
    task: str
    wanted: tuple[Wanted, ...]


class FreeAgents(Command, frozen=True):
    task: str
    freed: tuple[Freed, ...]


class ReadTeam(Command, frozen=True):
    agent: str


class BeginPresence(Command, frozen=True):
    agent: str
    beat_ms: int
    suspect_ms: int
    fail_ms: int
    tie: tuple[Tie, ...]


class Beat(Command, frozen=True):
    agent: str
    tie: tuple[Tie, ...]
    untie: tuple[Tie, ...]


class EndPresence(Command, frozen=True):
    agent: str


class FailMember(Command, frozen=True):
    agent: str
    member: str
    presence: str
    failed_ms: int


class MemberJoined(Event, frozen=True):
    agent: str
    member: str
    capabilities: tuple[str, ...]
    slots: int
    lease_ms: int
    deadline_ms: int


class JoinRefused(Event, frozen=True):
    agent: str
    member: str
    members: int


class MembershipRenewed(Event, frozen=True):
    agent: str
    member: str
    deadline_ms: int


class RenewalRefused(Event, frozen=True):
    agent: str
    member: str


class MemberLeft(Event, frozen=True):
    agent: str
    member: str
    assigned: tuple[Request, ...]


class MemberLost(Event, frozen=True):
    agent: str
    member: str
    assigned: tuple[Request, ...]
    deadline_ms: int


class AgentsAssigned(Event, frozen=True):
    assignments: tuple[Assignment, ...]
    seq: int
    more: bool


class AgentsAwaited(Event, frozen=True):
    task: str
    wanted: tuple[Wanted, ...]
    absent: tuple[str, ...]


class AgentsRefused(Event, frozen=True):
    task: str
    refusals: tuple[Refusal, ...]


class AgentsFreed(Event, frozen=True):
    task: str
    freed: tuple[Freed, ...]


class BreakerOpened(Event, frozen=True):
    capability: str
    failures: int
    reason: str
    until_ms: int


class BreakerHalfOpened(Event, frozen=True):
    capability: str
    task: str
    step: str
    attempt: int


class BreakerClosed(Event, frozen=True):
    capability: str
    reason: str


class TeamRead(Event, frozen=True):
    agent: str
    members: int
    slots: int
    busy: int
    waiting: int


class AgentAppeared(Event, frozen=True):
    agent: str
    beat_ms: int
    suspect_ms: int
    fail_ms: int
    at_ms: int
    tied: tuple[Tie, ...]


class AgentBeat(Event, frozen=True):
    agent: str
    at_ms: int
    tied: tuple[Tie, ...]
    untied: tuple[Tie, ...]


class AgentSuspected(Event, frozen=True):
    agent: str
    beat_at_ms: int
    suspected_ms: int


class AgentRecovered(Event, frozen=True):
    agent: str
    suspected_ms: int
    silent_ms: int
    suspicions: int


class AgentFailed(Event, frozen=True):
    agent: str
    beat_at_ms: int
    failed_ms: int
    ties: tuple[Tie, ...]


class AgentLeft(Event, frozen=True):
    agent: str


class AgentForgotten(Event, frozen=True):
    agent: str


class BeatRefused(Event, frozen=True):
    agent: str
    reason: str


class MemberFailed(Event, frozen=True):
    agent: str
    member: str
    presence: str
    failed_ms: int
    deadline_ms: int


COMMANDS = (
    JoinTeam,
    RenewMembership,
    LeaveTeam,
    RequestAgents,
    FreeAgents,
    ReadTeam,
    BeginPresence,
    Beat,
    EndPresence,
    FailMember,
)
EVENTS = (
    MemberJoined,
    JoinRefused,
    MembershipRenewed,
    RenewalRefused,
    MemberLeft,
    MemberLost,
    AgentsAssigned,
    AgentsAwaited,
    AgentsRefused,
    AgentsFreed,
    BreakerOpened,
    BreakerHalfOpened,
    BreakerClosed,
    TeamRead,
    AgentAppeared,
    AgentBeat,
    AgentSuspected,
    AgentRecovered,
    AgentFailed,
    AgentLeft,
    AgentForgotten,
    BeatRefused,
    MemberFailed,
)
