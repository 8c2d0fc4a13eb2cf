"""A partition by itself: it decides and applies commands, one after the other, without a broker; the time is taken."""

from __future__ import annotations

import time
from typing import Final

from accord.schemas import headers as h
from accord.schemas.headers import LogRecord, command_headers
from accord.schemas.messages import Command, Event
from accord.streams.domains import DOMAINS
from accord.streams.partition import Identity, Partition

START_MS: Final = 1_700_000_000_000


class Alone:
    """The only partition of a domain; its clock stands at `START_MS`."""

    def __init__(self, domain: str) -> None:
        self.partition = Partition(Identity("bench", domain, 0), DOMAINS[domain])
        self.partition.apply(self.partition.open(1, "log_append"))
        self.took_s = 0.0

    def decide(self, key: str, command: Command) -> list[Event]:
        """Decides and applies; adds the CPU time to `took_s`."""
        partition = self.partition
        position = partition.head.cause + 1
        kind = partition.commands.type_name(command)
        headers = command_headers(f"m{position}", "bench", kind, b"[0,{}]", None)
        value = partition.commands.encode(command)
        record = LogRecord(position, START_MS, h.LOG_APPEND_TIME, key.encode(), value, headers)
        began = time.process_time()
        decided = partition.decide(record)
        partition.apply(decided)
        self.took_s += time.process_time() - began
        return list(decided.events)

    def lap_s(self) -> float:
        """What was taken since this was asked last."""
        took_s, self.took_s = self.took_s, 0.0
        return took_s
