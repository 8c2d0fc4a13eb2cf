"""Positions: how a point of the log is written, by people and programs alike.

`locks/3@1842` is offset 1842 of partition 3 of the locks events; `locks.commands/3@977` of its commands.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from accord.errors import BadInput

_FORM = re.compile(r"([a-z][a-z_]*)(\.commands|\.events)?/([0-9]{1,9})@([0-9]{1,18})")


class Position(NamedTuple):
    """A point of the log: one record, or the place after which reading goes on."""

    domain: str
    partition: int
    offset: int
    commands: bool = False

    def __str__(self) -> str:
        return f"{self.domain}{'.commands' if self.commands else ''}/{self.partition}@{self.offset}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """Reads a position.

        Raises:
            BadInput: the text is not of the form `locks/3@1842`.
        """
        match = _FORM.fullmatch(text.strip())
        if match is None:
            raise BadInput(
                f"{text!r} is no position.",
                remedy="Write domain/partition@offset, as locks/3@1842, or locks.commands/3@977 for a command.",
            )
        domain, kind, partition, offset = match.groups()
        return cls(domain, int(partition), int(offset), kind == ".commands")
