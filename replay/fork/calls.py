"""Calls of models in a fork: who is granted one that the record does not tell of is answered from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from accord.replay.fork.cluster import Cluster, Done
from accord.replay.fork.models import DOMAIN, Asked, Models, Origin, Unanswered, recorded_call
from accord.replay.fork.record import command_in
from accord.replay.order import Where
from accord.schemas.headers import Headers
from accord.schemas.messages import Command
from accord.schemas.messages.llm import CallGranted, RenewLease, RequestAnswer

RENEWALS_A_LEASE: Final = 3
"""As often as agents renew the lease of a call."""

Send = Callable[[Where, str, Command, Headers, int], None]
"""Has a command come at a time."""


class Question(msgspec.Struct, frozen=True):
    """What the fork asked a model where the record did not, and where the answer is from; `none`: there is none."""

    position: str
    asked: Asked
    answer: Origin
    cost_microusd: int | None


class Stop(Exception):
    """The fork ends here."""


class Calls:
    """The calls of a fork.

    Args:
        send: has a command come later.
    """

    def __init__(self, models: Models, cluster: Cluster, send: Send) -> None:
        self.questions: list[Question] = []
        self._models, self._cluster, self._send = models, cluster, send
        self._ttl_of: dict[str, int] = {}

    def note(self, done: Done, place: int) -> None:
        """Takes note of a decision; answers who was granted a call by it.

        Args:
            place: so many decisions of the record are behind.

        Raises:
            Stop: nothing answers, and the fork is to end there.
        """
        if done.where[0] != DOMAIN:
            return
        commands = self._cluster.commands[done.where]
        asked = command_in(DOMAIN, commands[-1]) if commands else None
        if isinstance(asked, RequestAnswer):
            self._ttl_of[done.decision.command_id] = asked.ttl_ms
        for event in done.events:
            if isinstance(event, CallGranted) and not self._models.is_as_recorded(event.request, place):
                self._ask(done, event)

    def _ask(self, done: Done, event: CallGranted) -> None:
        asked = Asked(done.key, event.model, event.agent, event.task, event.step)
        try:
            answer, origin = self._models.answer(asked)
        except Unanswered:
            self.questions.append(Question(str(done.position), asked, "none", None))
            raise Stop(
                f"{done.position}: {event.agent} asks {event.model} what the record has no answer to ({done.key})"
            ) from None
        self.questions.append(Question(str(done.position), asked, origin, answer.cost_microusd if answer else None))
        if answer is None:
            return
        pause_ms = max(1, event.lease_ms // RENEWALS_A_LEASE)
        renewal = RenewLease(event.agent, event.token, event.lease_ms)
        for after_ms in range(pause_ms, answer.duration_ms, pause_ms):
            self._say(done, renewal, event.agent, after_ms)
        ttl_ms = self._ttl_of.get(event.request, answer.keep_ms)
        self._say(done, recorded_call(asked, answer, event.token, ttl_ms), event.agent, answer.duration_ms)

    def _say(self, done: Done, command: Command, sender: str, after_ms: int) -> None:
        headers = self._cluster.headers("model", sender, DOMAIN, command)
        self._send(done.where, done.key, command, headers, done.decision.now_ms + after_ms)
