"""What became of the commands of agents that a fork fed."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from accord.replay.fork.cluster import Done
from accord.replay.fork.cut import Slot

Status = Literal["alike", "otherwise", "refused", "not_fed"]
_REFUSALS: Final = ("Refused", "Denied", "Rejected", "Ignored", "Late", "Unknown")
"""How the names of events end that refuse something."""


class Fed(msgspec.Struct, frozen=True):
    """A recorded command of an agent, and what became of it.

    `status`: decided `alike`; decided `otherwise`; `refused`, which it was not in the record; `not_fed`. `affected`:
    the agent would have been told something else before it sent it. `recorded` and `forked` are the types of events.
    """

    position: str
    agent: str
    command: str
    key: str
    status: Status
    affected: bool
    recorded: str
    forked: str


def fed(slot: Slot, done: Done | None, *, is_same: bool, is_affected: bool) -> Fed | None:
    """What became of a command; None: all is as recorded.

    Args:
        done: the decision; None: it was not fed.
        is_same: whether that says what the recorded one says.
    """
    recorded, forked = _kind(slot.decision.type), "" if done is None else _kind(done.decision.type)
    status: Status = "alike" if is_same else "otherwise"
    if done is None:
        status = "not_fed"
    elif not is_same and _refuses(forked) and not _refuses(recorded):
        status = "refused"
    if status == "alike" and not is_affected:
        return None
    return Fed(str(slot.command_at), slot.sender, slot.kind, slot.key, status, is_affected, recorded, forked)


def _kind(decision_type: bytes) -> str:
    return decision_type.decode(errors="replace").rpartition(".")[2]


def _refuses(kind: str) -> bool:
    return any(name.endswith(_REFUSALS) for name in kind.split("+"))
