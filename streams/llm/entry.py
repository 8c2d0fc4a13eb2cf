"""What is remembered of a request: the answer that is kept, who calls the model, who waits for that."""

from __future__ import annotations

import msgspec


class Answer(msgspec.Struct, frozen=True, gc=False):
    """An answer, kept until a time by the partition's clock."""

    model: str
    answered_by: str
    input_tokens: int
    output_tokens: int
    cost_microusd: int | None
    recorded_ms: int
    until_ms: int
    text: str

    def serves(self, now_ms: int, ttl_ms: int) -> bool:
        """Whether it is fresh enough for who takes none that is older than `ttl_ms`."""
        return now_ms < min(self.until_ms, self.recorded_ms + ttl_ms)


class Waiter(msgspec.Struct, frozen=True, gc=False):
    """Who waits for an answer that is being asked for."""

    request: str
    agent: str
    task: str
    step: str
    run: int
    model: str
    lease_ms: int

    def is_before(self, task: str, step: str, run: int) -> bool:
        """Whether it asked in an earlier run of the same step: the log has ended that run."""
        return self.step != "" and (self.task, self.step) == (task, step) and self.run < run


class Caller(msgspec.Struct, frozen=True, gc=False):
    """Who calls the model."""

    asked: Waiter
    token: int
    deadline_ms: int


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One request, by the hash that is its key."""

    answer: Answer | None = None
    caller: Caller | None = None
    waiters: tuple[Waiter, ...] = ()
