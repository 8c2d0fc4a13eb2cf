"""accord: many LLM agents, one log, no double bookings.

The public names; each is loaded when it is first used, so that importing accord costs little.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from accord import sync as sync
    from accord.agents.agent import Agent as Agent
    from accord.agents.auctions.units import Bid as Bid
    from accord.agents.auctions.units import Scoring as Scoring
    from accord.agents.client import Accord as Accord
    from accord.agents.conflicts.judging import Judgement as Judgement
    from accord.agents.coordinate import coordinate as coordinate
    from accord.agents.coordinate import grant as grant
    from accord.agents.hierarchy.units import Member as Member
    from accord.agents.llm.model import Model as Model
    from accord.agents.llm.model import Reply as Reply
    from accord.agents.locks.fencing import FencedResource as FencedResource
    from accord.agents.locks.locks import Grant as Grant
    from accord.agents.patterns.roles import Roles as Roles
    from accord.agents.patterns.supervisor import Supervisor as Supervisor
    from accord.agents.sagas.definition import Saga as Saga
    from accord.agents.sagas.definition import StepRun as StepRun
    from accord.agents.sagas.handle import SagaReport as SagaReport
    from accord.agents.signals.handlers import when as when
    from accord.agents.signals.signals import Event as Event
    from accord.agents.signals.signals import Receipt as Receipt
    from accord.agents.signals.signals import emit as emit
    from accord.agents.tasks.graph import GiveUp as GiveUp
    from accord.agents.tasks.graph import Run as Run
    from accord.agents.tasks.graph import TaskGraph as TaskGraph
    from accord.agents.triggers.triggers import on as on
    from accord.embedded import local as local
    from accord.errors import AccordError as AccordError
    from accord.errors import ArtifactAltered as ArtifactAltered
    from accord.errors import ArtifactDamaged as ArtifactDamaged
    from accord.errors import ArtifactMissing as ArtifactMissing
    from accord.errors import BadInput as BadInput
    from accord.errors import BeyondAuthority as BeyondAuthority
    from accord.errors import BrokenBarrier as BrokenBarrier
    from accord.errors import ChainBroken as ChainBroken
    from accord.errors import CircularTrigger as CircularTrigger
    from accord.errors import ConfigError as ConfigError
    from accord.errors import ConflictLost as ConflictLost
    from accord.errors import Corrupt as Corrupt
    from accord.errors import DeadlockVictim as DeadlockVictim
    from accord.errors import Denied as Denied
    from accord.errors import ExceedsCapacity as ExceedsCapacity
    from accord.errors import Failure as Failure
    from accord.errors import KafkaUnreachable as KafkaUnreachable
    from accord.errors import KeyHeld as KeyHeld
    from accord.errors import LeaseLost as LeaseLost
    from accord.errors import LockTimeout as LockTimeout
    from accord.errors import LogGap as LogGap
    from accord.errors import MissingCause as MissingCause
    from accord.errors import NotConnected as NotConnected
    from accord.errors import NotFound as NotFound
    from accord.errors import NotOwner as NotOwner
    from accord.errors import NoWorker as NoWorker
    from accord.errors import OutcomeUnknown as OutcomeUnknown
    from accord.errors import Overloaded as Overloaded
    from accord.errors import Refused as Refused
    from accord.errors import Rejected as Rejected
    from accord.errors import ResultNotSerializable as ResultNotSerializable
    from accord.errors import SchemaError as SchemaError
    from accord.errors import SnapshotTooOld as SnapshotTooOld
    from accord.errors import StaleToken as StaleToken
    from accord.errors import TaskCancelledError as TaskCancelledError
    from accord.errors import TaskFailedError as TaskFailedError
    from accord.errors import TermsDiffer as TermsDiffer
    from accord.errors import TopicMismatch as TopicMismatch
    from accord.errors import TransactionAborted as TransactionAborted
    from accord.errors import TransactionTimeout as TransactionTimeout
    from accord.errors import Unavailable as Unavailable
    from accord.errors import UnknownRules as UnknownRules
    from accord.errors import Unsold as Unsold
    from accord.errors import VersionConflict as VersionConflict
    from accord.errors import VoteRefused as VoteRefused
    from accord.errors import WouldSelfDeadlock as WouldSelfDeadlock
    from accord.errors import WrongType as WrongType
    from accord.schemas.messages.tasks import Artifact as Artifact
    from accord.schemas.position import Position as Position
    from accord.settings import Settings as Settings

__version__ = "0.1.0"

_HOMES: Final = {
    "Accord": "accord.agents.client",
    "Agent": "accord.agents.agent",
    "Artifact": "accord.schemas.messages.tasks",
    "Bid": "accord.agents.auctions.units",
    "Event": "accord.agents.signals.signals",
    "FencedResource": "accord.agents.locks.fencing",
    "GiveUp": "accord.agents.tasks.graph",
    "Grant": "accord.agents.locks.locks",
    "Judgement": "accord.agents.conflicts.judging",
    "Member": "accord.agents.hierarchy.units",
    "Model": "accord.agents.llm.model",
    "Position": "accord.schemas.position",
    "Receipt": "accord.agents.signals.signals",
    "Reply": "accord.agents.llm.model",
    "Roles": "accord.agents.patterns.roles",
    "Run": "accord.agents.tasks.graph",
    "Saga": "accord.agents.sagas.definition",
    "SagaReport": "accord.agents.sagas.handle",
    "Scoring": "accord.agents.auctions.units",
    "Settings": "accord.settings",
    "StepRun": "accord.agents.sagas.definition",
    "Supervisor": "accord.agents.patterns.supervisor",
    "TaskGraph": "accord.agents.tasks.graph",
    "coordinate": "accord.agents.coordinate",
    "emit": "accord.agents.signals.signals",
    "grant": "accord.agents.coordinate",
    "local": "accord.embedded",
    "on": "accord.agents.triggers.triggers",
    "sync": "accord.sync",
    "when": "accord.agents.signals.handlers",
}

__all__ = [
    "Accord",
    "AccordError",
    "Agent",
    "Artifact",
    "ArtifactAltered",
    "ArtifactDamaged",
    "ArtifactMissing",
    "BadInput",
    "BeyondAuthority",
    "Bid",
    "BrokenBarrier",
    "ChainBroken",
    "CircularTrigger",
    "ConfigError",
    "ConflictLost",
    "Corrupt",
    "DeadlockVictim",
    "Denied",
    "Event",
    "ExceedsCapacity",
    "Failure",
    "FencedResource",
    "GiveUp",
    "Grant",
    "Judgement",
    "KafkaUnreachable",
    "KeyHeld",
    "LeaseLost",
    "LockTimeout",
    "LogGap",
    "Member",
    "MissingCause",
    "Model",
    "NoWorker",
    "NotConnected",
    "NotFound",
    "NotOwner",
    "OutcomeUnknown",
    "Overloaded",
    "Position",
    "Receipt",
    "Refused",
    "Rejected",
    "Reply",
    "ResultNotSerializable",
    "Roles",
    "Run",
    "Saga",
    "SagaReport",
    "SchemaError",
    "Scoring",
    "Settings",
    "SnapshotTooOld",
    "StaleToken",
    "StepRun",
    "Supervisor",
    "TaskCancelledError",
    "TaskFailedError",
    "TaskGraph",
    "TermsDiffer",
    "TopicMismatch",
    "TransactionAborted",
    "TransactionTimeout",
    "Unavailable",
    "UnknownRules",
    "Unsold",
    "VersionConflict",
    "VoteRefused",
    "WouldSelfDeadlock",
    "WrongType",
    "coordinate",
    "emit",
    "grant",
    "local",
    "on",
    "sync",
    "when",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'accord' has no attribute {name!r}")
    home = import_module(_HOMES.get(name, "accord.errors"))
    value = home if name == "sync" else getattr(home, name)
    globals()[name] = value
    return value
