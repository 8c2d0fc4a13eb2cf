"""Addresses in the inbox: whom a notice is for, and which partition of the inbox he reads.

An agent's address is the murmur2 of its name, as 8 hexadecimal digits; a client reads the partition that it falls into,
the one that any producer would choose for the name as a key. A client that wants notices makes its address part of the
ids of its commands, `UUID.ADDRESS`: a command's id is its request's id in all later events, so an event that names a
request tells whom it concerns, and a decision whom it answers, without a look at any state.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from accord.schemas.topics import murmur2

ADDRESS_CHARS: Final = 8
_FORM: Final = re.compile(r"[0-9a-f]{8}").fullmatch


@lru_cache(maxsize=65_536)
def address_of(agent: str) -> str:
    """The address of the agents of this name."""
    return f"{murmur2(agent.encode()):08x}"


def with_address(message_id: str, address: str) -> str:
    """The message id, with the address to which its answer goes."""
    return f"{message_id}.{address}"


def address_in(message_id: str) -> str | None:
    """The address that a message id carries; None when its sender wants no notices."""
    if message_id[-ADDRESS_CHARS - 1 : -ADDRESS_CHARS] != ".":
        return None
    address = message_id[-ADDRESS_CHARS:]
    return address if _FORM(address) else None


@lru_cache(maxsize=65_536)
def inbox_of(address: str, partition_count: int) -> int:
    """The partition of the inbox that who has this address reads."""
    return (int(address, 16) & 0x7FFFFFFF) % partition_count
