"""Owners: the name under which a call chain holds something, `CHAIN/1/2`.

The chain comes first, then the number of each hold that encloses this one, then its own. A call does not let go of a
hold while something inside it waits, so the name alone tells which holds a waiting request keeps. The chain is a UUID
of version 7: the younger one has the greater name.
"""

from __future__ import annotations


def chain_of(owner: str) -> str:
    return owner.partition("/")[0]


def is_nested(owner: str) -> bool:
    """Whether what is asked for under this name is asked for inside another hold."""
    return owner.count("/") > 1


def encloses(hold: str, request: str) -> bool:
    """Whether a hold is kept for as long as a request waits."""
    return request.startswith(hold) and request[len(hold) : len(hold) + 1] == "/"
