"""What the engines have in common: two workflows, every step's result durable before the next step runs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Final, NamedTuple

from benchmarks.peers.peer import Address

CHAIN: Final = 4
"""Steps of `chain`, each of which gets the result of the one before and adds one."""
FAN: Final = 8
"""Steps of `fan` that run side by side, before one that adds their results up."""

Workflow = Callable[[], Awaitable[int]]
"""Runs one workflow; returns its result, once it is durable."""


class Workflows(NamedTuple):
    """What an engine runs. Results are `CHAIN` and `FAN`."""

    chain: Workflow
    fan: Workflow


class Engine(NamedTuple):
    """An engine of durable workflows.

    `durable` says what it has made durable when a step's result counts; `lacking` what is not installed, None if it can
    run; `serve` runs its servers and gives their address; `workflows` connects to them, in the process that measures.
    """

    name: str
    durable: str
    lacking: Callable[[], str | None]
    serve: Callable[[], AbstractContextManager[Address]]
    workflows: Callable[[Address], AbstractAsyncContextManager[Workflows]]
