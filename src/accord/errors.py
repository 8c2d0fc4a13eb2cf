"""Every error that accord raises, in one table: class, exit code, HTTP status, remedy.

The class name is the reason in the log and the `code` in JSON. `Refused` errors are recorded decisions and
carry the position where they stand; `BadInput` errors come before anything is written; after `Unavailable`
errors the outcome may be open, and the text says so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar


class AccordError(Exception):
    """What happened, to which thing, and what to do about it.

    Args:
        message: what happened and to what.
        remedy: what the reader can do about it; part of the text.
        agent, key, holder: whom and what it concerns.
        position: point of the log where it is recorded, as `locks/3@1842`.
        details: further fields of the JSON form.
    """

    exit_code: ClassVar[int] = 1
    http_status: ClassVar[int] = 500

    def __init__(
        self,
        message: str,
        *,
        remedy: str = "",
        agent: str | None = None,
        key: str | None = None,
        holder: str | None = None,
        position: str | None = None,
        **details: Any,
    ) -> None:
        super().__init__(f"{message} {remedy}".rstrip())
        self.remedy = remedy
        self.agent = agent
        self.key = key
        self.holder = holder
        self.position = position
        self.details = details

    @property
    def code(self) -> str:
        """The class name: the same word in the log, in JSON and in a traceback."""
        return type(self).__name__

    def as_json(self) -> dict[str, Any]:
        """The error as one flat object; `error` is the text, `code` the class name."""
        named = {"agent": self.agent, "key": self.key, "holder": self.holder, "position": self.position}
        return {"error": str(self), "code": self.code, "remedy": self.remedy, **named, **self.details}


class BadInput(AccordError, ValueError):
    """An argument cannot be right. Nothing was recorded."""

    exit_code = 2
    http_status = 400


class TooLarge(BadInput):
    """More bytes than are taken. Nothing was recorded."""

    http_status = 413


class ConfigError(BadInput):
    """A setting cannot be right."""


class TopicMismatch(BadInput):
    """A topic on the broker differs from what the settings say."""


class NotConnected(BadInput):
    """An operation needs an open hub and there is none."""


class Refused(AccordError):
    """A recorded decision: the log says no."""

    exit_code = 5
    http_status = 409


class LockTimeout(Refused, TimeoutError):
    """The lock, or the capacity, was not granted within the wait."""


class NotOwner(Refused):
    """The token is not that of the current grant."""


class StaleToken(Refused):
    """A guarded resource refused a write with an outdated fencing token."""


class LeaseLost(Refused):
    """The lease ended, or could not be renewed in time, while the body ran."""


class WouldSelfDeadlock(Refused):
    """The call chain that asks for the lock holds it already."""


class DeadlockVictim(Refused):
    """Call chains waited for each other in a ring, and the youngest gives way: run it again from its beginning.

    `cycle` is the ring, beginning with the victim: for each who waits its `agent`, `owner` and `request`, the `domain`
    and `name` of what it waits for, and the `holder`, `holder_owner` and `token` of who holds that.
    """

    @property
    def cycle(self) -> list[dict[str, Any]]:
        ring: list[dict[str, Any]] = self.details["cycle"]
        return ring


class TermsDiffer(Refused):
    """Others use it with another number of permits, parties or the like, which stays as long as it is used."""


class BrokenBarrier(Refused):
    """Not all came together: one who waited at the barrier waited too long, died or went away."""


class Denied(Refused, PermissionError):
    """Who asks is not permitted to have it."""

    http_status = 403


class ExceedsCapacity(Refused, ValueError):
    """More was asked for than there ever is."""

    http_status = 422


class CircularTrigger(Refused):
    """Events trigger each other in a longer chain than allowed."""


class TaskFailedError(Refused):
    """A step that the task needs was given up. Details `step`, `reason`."""


class TaskCancelledError(Refused):
    """Somebody has ended the task before it was done."""


class Failure(Refused, Mapping[str, Any]):
    """An agent has brought no result. It is raised, or stands in place of the result as a value: it is also the mapping
    `{"error": text}`, as which other programs read it. `agent` is who failed; details `status`: failed, timed_out,
    skipped."""

    def __getitem__(self, name: str) -> Any:
        return {"error": str(self)}[name]

    def __iter__(self) -> Iterator[str]:
        return iter(("error",))

    def __len__(self) -> int:
        return 1

    def __hash__(self) -> int:
        return hash(str(self))

    def __repr__(self) -> str:
        return f"Failure({str(self)!r})"


class VoteRefused(Refused):
    """The vote does not count. Details `reason` (`voted`, `late`) and `counted`: how the voter has voted before."""


class BeyondAuthority(Refused):
    """It is not for this agent to decide or to delegate, so nothing is decided. Details `reason`."""

    http_status = 403


class VersionConflict(Refused):
    """What was read has changed since. Details `expected` and `found`: both versions (0: there is no such key), and
    `conflicts`, all of them: `key`, `is_prefix`, `expected`, `found`."""


class KeyHeld(Refused):
    """A transaction that is being committed holds a key; its id is the `holder`."""


class TransactionAborted(Refused):
    """Nothing of the transaction was done. Details `reason`."""


class TransactionTimeout(TransactionAborted, TimeoutError):
    """Nothing of the transaction was done: its time was over before all had agreed."""


class SnapshotTooOld(Refused):
    """A version of a scope is needed that it keeps no more. The log has it."""


class WrongType(Refused, TypeError):
    """The value is no counter, or no set."""

    http_status = 422


class Unsold(Refused):
    """Nobody does the work of an auction. Details `reason`: `no_bids`, `no_valid_bid`, `not_scored`, `exhausted`,
    `cancelled`."""


class ConflictLost(Refused):
    """What an agent was about to do will not be done, or must not go on. Details `outcome` (`denied`, `duplicate`:
    others do it, `preempted`, `expired`, `withdrawn`), `by` (the agents that won), `conflict`, `intention`."""


class Rejected(Refused):
    """The command reached the log but could not be decided; it is among the dead letters."""

    http_status = 422


class Overloaded(Refused):
    """A bound was reached; try again later."""

    http_status = 429


class FlowFailed(AccordError):
    """A function of a flow raised, or made something that cannot be emitted. The flow stops where it is."""


class NotFound(AccordError, LookupError):
    """There is no such thing."""

    exit_code = 4
    http_status = 404


class NotAuthenticated(AccordError):
    """Who asks has not shown who they are."""

    exit_code = 5
    http_status = 401


class Unavailable(AccordError, ConnectionError):
    """Something that is needed does not answer."""

    exit_code = 3
    http_status = 503


class KafkaUnreachable(Unavailable):
    """No broker answers."""


class NoWorker(Unavailable):
    """No worker decided the command in time."""


class Degraded(Unavailable):
    """What is not essential is off, and everything else goes on. Details `off` (as `auctions/2`, or the model) and
    `works`: the domains that were heard of and still work."""


class OutcomeUnknown(Unavailable):
    """The command may or may not have been recorded; sending it again under its id is safe."""


class MissingCause(Unavailable):
    """A handler that is given causes first gets no more events: what caused the next one has not come."""


class Corrupt(AccordError):
    """What is stored cannot be right."""

    exit_code = 1


class SchemaError(Corrupt):
    """Bytes that no known schema reads."""


class ChainBroken(Corrupt):
    """The chain of decisions does not hold: a decision was changed, dropped or reordered."""


class LogGap(Corrupt):
    """Records that are needed are no longer in the log."""

    exit_code = 3


class ArtifactDamaged(Corrupt):
    """A stored file is missing or differs from its checksum."""


class ArtifactMissing(ArtifactDamaged):
    """What the log names by its checksum is not in the store."""


class ArtifactAltered(ArtifactDamaged):
    """What lies in the store under a checksum has another one."""


class UnknownRules(Corrupt):
    """The log was decided by a decider version that this release does not have."""


class ResultNotSerializable(AccordError, TypeError):
    """A return value that JSON cannot express."""
