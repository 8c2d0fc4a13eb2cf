"""Roster: teams of agents, what each is able to do, and which step each one is given."""

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


COMMANDS = (JoinTeam, RenewMembership, LeaveTeam, RequestAgents, FreeAgents, ReadTeam)
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
)
