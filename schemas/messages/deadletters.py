"""The dead letter: what could not be processed, with all that is needed to try again."""

from accord.schemas.messages import Event


class DeadLetter(Event, frozen=True):
    id: str
    queue: str
    reason: str
    description: str
    origin: str
    key: bytes | None
    value: bytes | None
    agent: str
    task_id: str | None
    attempts: int
    at_ms: int
    step: str | None
