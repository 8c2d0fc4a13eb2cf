"""What a team may be, and how much of it is kept: all bounds in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from accord.schemas.messages import Command
from accord.schemas.messages.roster import COMMANDS, Beat, BeginPresence, FreeAgents, JoinTeam, RequestAgents, Tie
from accord.schemas.topics import KEY_BYTES_MAX
from accord.streams.bounds import Bounds
from accord.streams.locks.bounds import LEASE_MS_MAX, LEASE_MS_MIN, TEXT_BYTES_MAX
from accord.streams.tasks.bounds import CAPABILITIES_MAX, STEPS_MAX, problem_of_names

MEMBERS_MAX: Final = 500
SLOTS_MAX: Final = 400
"""Of one member."""
WAITING_MAX: Final = 200_000
"""Steps that wait for an agent of a team; beyond it requests are refused with `team_full`."""
ASSIGNED_AT_ONCE_MAX: Final = 400
"""In one decision, with the slots of members who are gone; the others are assigned, and the other members gone, by the
next one, which a tick brings at once. Each has at most 1,200 bytes, a request what the graph of its task has: that must
fit `DECISION_BYTES_MAX`, or a team could never go on."""
FAILURES_MAX: Final = 5
"""So many failures in a row open a breaker."""
OPEN_MS: Final = 60_000
"""How long a breaker stays open; after it, one request is let through."""
FULL_RETRY_MS: Final = 5_000
BREAKERS_MAX: Final = 1_000
"""Capabilities whose failures are counted; beyond it those of the oldest are forgotten."""
ROLE_PREFIX: Final = "role/"
"""What the name of a lock begins with that is a role's."""
TIES_MAX: Final = 400
"""That hang on one heartbeat; what is more keeps its own lease alone. All of them stand in the event of the failure."""
TIED_DOMAINS: Final = ("locks", "roster")
BEAT_MS_MIN: Final = 100
SILENCE_MS_MIN: Final = 500
SILENCE_MS_MAX: Final = 3_600_000
FORGET_MS: Final = 600_000
"""How long a process that failed is remembered: longer than any command of its own is under way."""


def problem_of(command: Command) -> str | None:
    """Why a command cannot be decided. Raises TypeError for a command of another domain."""
    problem = _BOUNDS.of_numbers(command) or _BOUNDS.of_texts(command)
    if problem is not None:
        return problem
    match command:
        case JoinTeam():
            if not command.member:
                return "a member has a name"
            return _problem_of_names("capabilities", command.capabilities, CAPABILITIES_MAX)
        case RequestAgents():
            names = [name for wanted in command.wanted for name in (wanted.step, wanted.capability)]
            return _problem_of_names("wanted", names, 2 * STEPS_MAX)
        case FreeAgents() if len(command.freed) > STEPS_MAX:
            return f"freed: at most {STEPS_MAX} are possible"
    return _problem_of_presence(command)


def _problem_of_presence(command: Command) -> str | None:
    match command:
        case BeginPresence() if not command.beat_ms < command.suspect_ms < command.fail_ms:
            return "beat_ms, suspect_ms, fail_ms: each has to be more than the one before"
        case BeginPresence():
            return _problem_of_ties(command.tie)
        case Beat():
            return _problem_of_ties(command.tie) or _problem_of_ties(command.untie)
    return None


def _problem_of_ties(ties: Sequence[Tie]) -> str | None:
    if len(ties) > TIES_MAX:
        return f"ties: at most {TIES_MAX} are possible"
    for tie in ties:
        if tie.domain not in TIED_DOMAINS:
            return f"ties: something of {', '.join(TIED_DOMAINS)} is possible, not of {tie.domain[:TEXT_BYTES_MAX]!r}"
        if not 0 < len(tie.key.encode()) <= KEY_BYTES_MAX or not 0 < len(tie.name.encode()) <= TEXT_BYTES_MAX:
            return "ties: a name is empty or too long"
    return None


def _problem_of_names(what: str, names: Sequence[str], most: int) -> str | None:
    return problem_of_names(what, names, most) if names else f"{what}: none is named"


_BOUNDS: Final = Bounds(
    "roster",
    COMMANDS,
    ("agent", "member", "task", "presence"),
    TEXT_BYTES_MAX,
    {
        "slots": (1, SLOTS_MAX, f"1 to {SLOTS_MAX} are possible"),
        "beat_ms": (BEAT_MS_MIN, SILENCE_MS_MAX, f"{BEAT_MS_MIN} to {SILENCE_MS_MAX} are possible"),
        "suspect_ms": (SILENCE_MS_MIN, SILENCE_MS_MAX, f"{SILENCE_MS_MIN} to {SILENCE_MS_MAX} are possible"),
        "fail_ms": (SILENCE_MS_MIN, SILENCE_MS_MAX, f"{SILENCE_MS_MIN} to {SILENCE_MS_MAX} are possible"),
        "lease_ms": (LEASE_MS_MIN, LEASE_MS_MAX, f"{LEASE_MS_MIN} to {LEASE_MS_MAX} are possible"),
    },
)
