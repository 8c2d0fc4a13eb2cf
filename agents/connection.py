"""The connection of an agent to the log: commands out, decisions in.

Interface first; the implementation follows.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

from accord.schemas.messages import Command, Event
from accord.schemas.position import Position
from accord.streams.chain import Decision

from accord.settings import Settings


class Answer(NamedTuple):
    """An accepted decision, as read from the events log through the chain."""

    domain: str
    decision: Decision
    events: tuple[Event, ...]
    position: Position


class Submission(NamedTuple):
    """A command under way. `decided` gets the decision on it, or why there is none."""

    id: str
    decided: Future[Answer]


class Connection:
    """Thread-safe: every method may be called from any thread.

    Args:
        agent: name of the agent; commands carry it as their source.
        timestamp_ms: gives the time of each command, in ms since 1970; None: the broker's clock.
    """

    def __init__(self, settings: Settings, *, agent: str, timestamp_ms: Callable[[], int] | None = None) -> None:
        self.settings = settings
        self.agent = agent

    def open(self) -> None:
        """Connects. Raises KafkaUnreachable, TopicMismatch. Blocks at most `kafka.connect_timeout_ms`."""
        raise NotImplementedError

    def close(self) -> None:
        """Flushes (bounded), ends the thread. Idempotent. Waiters get NotConnected."""
        raise NotImplementedError

    def submit(
        self,
        domain: str,
        key: str,
        command: Command,
        *,
        task: str | None = None,
        trace: str | None = None,
        message_id: str | None = None,
        withdrawal: Callable[[str], Command] | None = None,
        answer_ms: int | None = None,
    ) -> Submission:
        """Sends a command; never blocks.

        Args:
            key: id of the aggregate; 1 to 255 bytes of UTF-8.
            task, trace: correlation id and W3C trace context of its headers.
            message_id: to send a command again under its first id; None: a new UUID of version 7.
            withdrawal: makes, of the message id, the command that takes this one back; sent when it is given up.
            answer_ms: how long to wait for the decision; None: `client.worker_wait_ms`.

        Raises (at once):
            BadInput: the key cannot be one.  NotConnected: not open.
            Overloaded: `client.unsent_max` commands are under way.
            ChainBroken, LogGap: the log could not be followed any more; the connection has failed.

        `decided` raises: Rejected (CommandRejected; .reason .description in details), NoWorker, KafkaUnreachable,
            OutcomeUnknown (details command_id), NotConnected (closed meanwhile), ChainBroken, LogGap.
            Refusals of the domain (LockDenied, SignalRefused) are answers, not errors.
        """
        raise NotImplementedError

    def watch(self, domain: str, key: str, callback: Callable[[Answer], None]) -> Callable[[], None]:
        """Calls back, on accord's thread, for every accepted decision with that key, in the order of the log.

        Commands submitted after `watch` returns are answered after the watch is on. Returns the function that ends
        the watch. The callback must not block.
        """
        raise NotImplementedError

    def call_later(self, delay_ms: float, callback: Callable[[], None]) -> Callable[[], None]:
        """Calls back once on accord's thread; returns the function that cancels it."""
        raise NotImplementedError

    def on_failure(self, callback: Callable[[BaseException], None]) -> Callable[[], None]:
        """Calls back, on accord's thread, when the connection fails or closes; returns the function that ends it."""
        raise NotImplementedError
