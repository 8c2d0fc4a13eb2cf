"""What every domain's topics may hold beside the domain's own messages."""

from typing import Final

from accord.schemas.messages import Command, Event


class Reason:
    """Why a command is rejected."""

    BAD_HEADER: Final = "bad_header"
    BAD_KEY: Final = "bad_key"
    INVALID: Final = "invalid"
    MISROUTED: Final = "misrouted"
    TIMESTAMP_TYPE: Final = "timestamp_type"
    TOO_LARGE: Final = "too_large"
    UNDECODABLE: Final = "undecodable"
    UNKNOWN_SCHEMA: Final = "unknown_schema"


class Tick(Command, frozen=True):
    pass


class SwitchRules(Command, frozen=True):
    version: int
    reason: str


class PartitionOpened(Event, frozen=True):
    partition_count: int
    rules: int
    timestamps: str


class CommandRejected(Event, frozen=True):
    reason: str
    description: str


class CommandRepeated(Event, frozen=True):
    cause: int


class RulesSwitched(Event, frozen=True):
    version: int
    reason: str


class CommandsLost(Event, frozen=True):
    first_offset: int
    last_offset: int


COMMANDS = (Tick, SwitchRules)
EVENTS = (PartitionOpened, CommandRejected, CommandRepeated, RulesSwitched, CommandsLost)
