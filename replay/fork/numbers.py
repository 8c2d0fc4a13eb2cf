"""Numbers that a fork gives anew: fencing tokens and others that are the number of a decision in its partition.

A decision more or less moves the numbers of all that come after it in its partition. An agent that was granted a lock
in the record under token 41 and in the fork under 42 would have named 42. So:

- A grant is known by whom it was for (its request, or agent, step and attempt), and how many they had before.
- In a command of an agent a recorded token is replaced by that of the same grant in the fork. A grant that the fork has
  not made is named by `NOBODYS`, the number of a partition's first record: nobody ever had it.
- Where record and fork are compared, numbers are compared by what they stand for.
"""

from __future__ import annotations

import re
from typing import Any, Final, Literal

import msgspec
from accord.replay.order import Where
from accord.schemas.messages import Command, Event
from accord.schemas.topics import partition_of

Side = Literal["recorded", "forked"]
View = Literal["recorded", "forked", "shown"]
"""`shown` is of recorded data, with the numbers that it would have in the fork."""
Key = tuple[Where, str]
Grant = tuple[Any, ...]

NOBODYS: Final = 1
_TOKENS: Final = ("token", "highest_token")
_NUMBERS: Final = ("seq", "arrival")
_WHOSE: Final = ("request", "agent", "member", "step", "attempt")
_NAMED: Final = re.compile(r"[a-z]+/[0-9]+@[0-9]+(?:/[0-9]+)?")
"""A position, or the id of a process manager's command, in a text: signals tell JSON."""
_PLACED: Final = re.compile(r"([0-9]+)\.([0-9]+)")
"""The id of a conflict: the number of the decision that found it, and a place."""


class Numbers:
    """What the numbers of the record and of the fork stand for.

    Args:
        partitions: partition count of each domain.
    """

    def __init__(self, partitions: dict[str, int]) -> None:
        self._partitions = partitions
        self._grants: dict[Side, dict[Key, dict[int, Grant]]] = {"recorded": {}, "forked": {}}
        self._tokens: dict[Key, dict[Grant, int]] = {}
        self._counts: dict[Side, dict[tuple[Key, Grant], int]] = {"recorded": {}, "forked": {}}
        self._recorded_of: dict[Where, dict[int, int]] = {}
        self._forked_of: dict[Where, dict[int, int]] = {}
        self._ids: dict[str, str] = {}

    def learn(self, side: Side, at: Key, seq: int, events: tuple[Event, ...]) -> None:
        """Takes note of what a decision granted."""
        for event in events:
            if getattr(event, "token", None) != seq or not hasattr(event, "agent"):
                continue
            whose = (type(event).__name__, *(getattr(event, name) for name in _WHOSE if hasattr(event, name)))
            count = self._counts[side][at, whose] = self._counts[side].get((at, whose), 0) + 1
            grant = (*whose, count)
            self._grants[side].setdefault(at, {})[seq] = grant
            if side == "forked":
                self._tokens.setdefault(at, {})[grant] = seq

    def pair(self, where: Where, recorded: int, forked: int) -> None:
        """Takes note that decisions of these numbers are on the same command."""
        if recorded != forked:
            self._recorded_of.setdefault(where, {})[forked] = recorded
            self._forked_of.setdefault(where, {})[recorded] = forked

    def same_id(self, recorded: str, forked: str) -> None:
        """Takes note that two texts name the same: positions of a decision, ids of a process manager's command."""
        if recorded != forked:
            self._ids[forked] = recorded

    def is_granted(self, at: Key, token: int) -> bool:
        """Whether the grant of a recorded token was made in the fork; one that the record does not have after the cut
        was made before it."""
        grant = self._grants["recorded"].get(at, {}).get(token)
        return grant is None or grant in self._tokens.get(at, {})

    def translated(self, at: Key, command: Command) -> Command:
        """A recorded command with the numbers that its sender would have been told in the fork."""
        fields: dict[str, Any] = {}
        for name in _TOKENS:
            token = getattr(command, name, None)
            grant = self._grants["recorded"].get(at, {}).get(token) if isinstance(token, int) else None
            if grant is not None:
                fields[name] = self._tokens.get(at, {}).get(grant, NOBODYS)
        conflict = getattr(command, "conflict", None)
        match = _PLACED.fullmatch(conflict) if isinstance(conflict, str) else None
        if match is not None:
            number = int(match[1])
            fields["conflict"] = f"{self._forked_of.get(at[0], {}).get(number, number)}.{match[2]}"
        changed = {name: value for name, value in fields.items() if getattr(command, name) != value}
        return msgspec.structs.replace(command, **changed) if changed else command

    # -- comparing

    def plain(self, side: Side, at: Key, events: tuple[Event, ...]) -> list[Any]:
        """Events as plain data that is the same for the same outcome."""
        return [[type(event).__name__, self.of_data(side, at, msgspec.to_builtins(event))] for event in events]

    def of_data(self, side: View, at: Key, data: Any) -> Any:
        """Plain data with what its numbers stand for in their place."""
        if isinstance(data, dict):
            another = self._another(data.get("domain"), data.get("name"))
            at, known = another or at, another is None
            return {field: self._number(side, at, field, value, known=known) for field, value in data.items()}
        if isinstance(data, list | tuple):
            return [self.of_data(side, at, item) for item in data]
        if side == "forked" and self._ids and isinstance(data, str) and "@" in data:
            return _NAMED.sub(lambda match: self._ids.get(match[0], match[0]), data)
        return data

    def _another(self, domain: Any, name: Any) -> Key | None:
        """The aggregate that data tells of, where it is another one: who waits there, and for whom."""
        if not isinstance(domain, str) or not isinstance(name, str) or domain not in self._partitions:
            return None
        return (domain, partition_of(name.encode(), self._partitions[domain])), name

    def _number(self, side: View, at: Key, field: str, value: Any, *, known: bool) -> Any:
        if field in _TOKENS and isinstance(value, int):
            grant = self._grants["forked" if side == "forked" else "recorded"].get(at, {}).get(value)
            if side == "shown":
                return value if grant is None else self._tokens.get(at, {}).get(grant, value)
            return value if grant is None else list(grant)
        if field in _NUMBERS and isinstance(value, int):
            return self._common(side, at[0], value) if known else None
        if field == "conflict" and isinstance(value, str) and (match := _PLACED.fullmatch(value)):
            return f"{self._common(side, at[0], int(match[1]))}.{match[2]}"
        return self.of_data(side, at, value)

    def _common(self, side: View, where: Where, number: int) -> int:
        """A decision's number: the recorded one for both sides or, of what is shown, the fork's."""
        if side == "recorded":
            return number
        others = self._recorded_of if side == "forked" else self._forked_of
        return others.get(where, {}).get(number, number)
