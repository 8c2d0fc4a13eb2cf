"""Which artifacts a log names: in inputs and results, by itself or by what a program wrote, and in what those hold.

Named is what any kept decision about tasks says, whether its task is remembered or not: events are the truth and stay.
An artifact named by none was put and then left, by a crash or by who did not return it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from accord.replay.source import Source
from accord.replay.state import accepted

_NAMED: Final = re.compile(rb"sha256:([0-9a-f]{64})")
"""As a reference and a program's JSON write it alike."""


def named(source: Source, content: Callable[[str], bytes | None]) -> set[str]:
    """The names, 64 hexadecimal digits each, of all artifacts that a log names.

    Args:
        content: gives what an artifact holds, which may name others; None: it is not there.

    Raises:
        LogGap, ChainBroken: the log lacks a decision, or one was changed: then nobody knows what it named.
    """
    found: set[str] = set()
    todo: list[str] = []
    for domain, partition in source.all_partitions():
        for decision in accepted(source, domain, partition, beside=True):
            todo += _new(decision.value, found)
    while todo:
        todo += _new(content(todo.pop()), found)
    return found


def _new(text: bytes | None, found: set[str]) -> list[str]:
    """What a text names and is not found yet; now it is."""
    names = {match[1].decode() for match in _NAMED.finditer(text or b"")} - found
    found |= names
    return sorted(names)
