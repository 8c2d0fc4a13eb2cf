"""The heartbeat of a process: one for a hub, on accord's own thread, for all that hangs on it.

    hub.heartbeat.hang(Tie("roster", team, member))

Rules that act here:
- It begins with the first thing that hangs on it, and ends `IDLE_MS` after the last. What hangs on it is told with the
  beats, so that it costs no record of its own.
- The process may believe in its heartbeat until `believed_until_s` of its last beat: that is before the log can say
  that it failed, by the reasoning of `leases.py`. A beat counts once it was answered; or once the broker has taken it,
  if the belief in the one before lasted until then, for then there is no gap in the log in which it could have failed.
  So a worker that is behind, or away, costs no heartbeat. Before the first answer it is believed in from its beginning.
- When that is over, or the log refuses a beat, the heartbeat is given up: who gave a callback is told, and is to give
  up what hung on it. The next one has another name, so that nothing of the old one's end can meet it. What was hung
  without a callback hangs on the next one, too.
- What could not be tied, there being too many, has its own lease all the same, as everything has.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from accord.agents.leases.leases import believed_until_s
from accord.schemas.messages import Command
from accord.schemas.messages.roster import (
    AgentAppeared,
    AgentBeat,
    AgentRecovered,
    Beat,
    BeatRefused,
    BeginPresence,
    EndPresence,
    Tie,
)
from accord.streams.roster.bounds import TIES_MAX

from accord import logs
from accord.errors import AccordError, ConfigError

if TYPE_CHECKING:
    from accord.agents.connection.connection import Answer, Connection

logger = logs.get("accord.health")

IDLE_MS: Final = 60_000
TIED_AT_ONCE_MAX: Final = 200
"""With one beat; the others with the next."""
DOMAIN: Final = "roster"


class Heartbeat:
    """Thread-safe. Made by the hub, which closes it.

    Raises:
        ConfigError: no process could believe in its heartbeat from one beat to the next.
    """

    def __init__(self, connection: Connection) -> None:
        health = connection.settings.health
        self._connection = connection
        self._beat_ms = health.beat_ms
        self._suspect_ms = health.suspect_beats * health.beat_ms
        self.fail_ms: Final = health.fail_beats * health.beat_ms
        if self._believe(0.0) * 1_000 < 2 * self._beat_ms:
            raise ConfigError(
                f"health.fail_beats={health.fail_beats} of health.beat_ms={health.beat_ms} leave too little beside "
                f"locks.clock_step_ms={connection.settings.locks.clock_step_ms}.",
                remedy="Beat more slowly, or take more beats for a failure: two beats have to fit beside the margin.",
            )
        self._lock = threading.RLock()
        self._hung: dict[Tie, Callable[[], None] | None] = {}
        self._tied: set[Tie] = set()
        self._tied_names: set[str] = set()
        self._untie: dict[Tie, None] = {}
        self._name = ""
        self._until_s = 0.0
        self._idle_since_s = 0.0
        self._cancel_beat: Callable[[], None] = lambda: None
        self._cancel_look: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        """What the log knows the process as, while it beats; else empty."""
        return self._name

    @property
    def valid(self) -> bool:
        """Whether the process may believe that the log does not count it as failed."""
        return self._connection.monotonic() < self._until_s

    def is_tied(self, name: str) -> bool:
        """Whether the log has said that what has this name (a request, a member) hangs on the heartbeat."""
        return name in self._tied_names

    def hang(self, tie: Tie, on_end: Callable[[], None] | None = None, *, now: bool = False) -> Callable[[], None]:
        """Has something end when this process fails.

        Args:
            on_end: called, on accord's thread, when the heartbeat is given up. None: it hangs on the next one, too.
            now: tells it at once rather than with the next beat.

        Returns:
            The function that takes it off; from any thread, does not block.

        Raises:
            What `Connection.submit` raises.
        """
        with self._lock:
            self._hung[tie] = on_end
            self._untie.pop(tie, None)
            if not self._name:
                self._begin()
            elif now:
                self._send(self._beat())

        def off() -> None:
            with self._lock:
                self._hung.pop(tie, None)
                if tie in self._tied:
                    self._untie[tie] = None
                if not self._hung:
                    self._idle_since_s = self._connection.monotonic()

        return off

    def close(self) -> None:
        """The hub closes: the process stops, and means to."""
        with self._lock:
            name = self._stop()
            self._hung.clear()
        if name:
            self._tell_end(name)

    # -- beating

    def _begin(self) -> None:
        """Holds the lock. Raises what `Connection.submit` raises."""
        agent = self._connection.agent
        self._name = f"{agent}/{self._connection.runtime.new_id()[-12:]}"
        self._tied, self._tied_names, self._untie = set(), set(), {}
        self._until_s = self._believe(self._connection.monotonic())
        tie = tuple(self._hung)[:TIED_AT_ONCE_MAX]
        try:
            self._send(BeginPresence(agent, self._beat_ms, self._suspect_ms, self.fail_ms, tie))
        except AccordError:
            self._name, self._until_s = "", 0.0
            raise
        self._next_beat()
        self._look()

    def _beat(self) -> Beat:
        new = [tie for tie in self._hung if tie not in self._tied]
        room = max(0, TIES_MAX - len(self._tied) + len(self._untie))
        return Beat(
            self._connection.agent,
            tuple(new[: min(room, TIED_AT_ONCE_MAX)]),
            tuple(self._untie)[:TIED_AT_ONCE_MAX],
        )

    def _next_beat(self) -> None:
        self._cancel_beat = self._connection.call_later(self._beat_ms, self._beat_again)

    def _beat_again(self) -> None:
        """On accord's thread."""
        with self._lock:
            if not self._name:
                return
            if not self._hung and self._connection.monotonic() - self._idle_since_s > IDLE_MS / 1_000:
                name = self._stop()
            else:
                name = ""
                self._next_beat()
                with suppress(AccordError):  # the next one may get through
                    self._send(self._beat())
        if name:
            self._tell_end(name)

    def _send(self, command: Command) -> None:
        sent_s, name = self._connection.monotonic(), self._name

        def delivered() -> None:
            with self._lock:
                if name == self._name and self.valid:
                    self._until_s = max(self._until_s, self._believe(sent_s))

        submission = self._connection.submit(DOMAIN, name, command, answer_ms=self.fail_ms, on_delivered=delivered)
        submission.decided.add_done_callback(lambda decided: self._answered(name, sent_s, decided))

    def _answered(self, name: str, sent_s: float, decided: Future[Answer]) -> None:
        if decided.exception() is not None or name != self._name:
            return  # the next beat, or the end of the belief, settles it
        for event in decided.result().events:
            match event:
                case AgentAppeared(tied=tied) | AgentBeat(tied=tied):
                    with self._lock:
                        if name == self._name:
                            self._until_s = max(self._until_s, self._believe(sent_s))
                            untied = getattr(event, "untied", ())
                            if tied or untied:
                                self._note(tied, untied)
                case AgentRecovered(_, _, silent_ms):
                    logger.warning(
                        "was suspected to be gone", agent=self._connection.agent, process=name, silent_ms=silent_ms
                    )
                case BeatRefused(_, reason):
                    self._give_up(name, f"the log counts it as {reason}")

    def _note(self, tied: Iterable[Tie], untied: Iterable[Tie]) -> None:
        """What the log has tied, and untied; holds the lock."""
        self._tied = (self._tied | {*tied}) - {*untied}
        self._tied_names = {tie.name for tie in self._tied}
        self._untie = {tie: None for tie in self._tied if tie not in self._hung}

    # -- belief

    def _believe(self, sent_s: float) -> float:
        return believed_until_s(sent_s, self.fail_ms, self._connection.settings.locks.clock_step_ms)

    def _look(self) -> None:
        """Looks again when the belief ends, unless there was an answer by then."""
        left_ms, name = (self._until_s - self._connection.monotonic()) * 1_000, self._name
        if left_ms > 0:
            self._cancel_look = self._connection.call_later(left_ms, self._look)
        elif name:
            self._give_up(name, "no beat was recorded in time")

    def _give_up(self, name: str, why: str) -> None:
        """Ends this heartbeat, and begins the next if something hangs on it. On accord's thread."""
        with self._lock:
            if name != self._name:
                return
            self._stop()
            told = [on_end for on_end in self._hung.values() if on_end is not None]
            self._hung = {tie: None for tie, on_end in self._hung.items() if on_end is None}
        logger.warning("the heartbeat was given up", agent=self._connection.agent, process=name, why=why)
        for on_end in told:
            on_end()
        self._tell_end(name)
        self._again()

    def _again(self) -> None:
        with self._lock:
            if self._hung and not self._name:
                try:
                    self._begin()
                except AccordError:
                    self._cancel_beat = self._connection.call_later(self._beat_ms, self._again)

    def _stop(self) -> str:
        """Holds the lock. Returns the name under which it beat."""
        self._cancel_beat()
        self._cancel_look()
        name, self._name, self._until_s = self._name, "", 0.0
        self._tied, self._tied_names = set(), set()
        return name

    def _tell_end(self, name: str) -> None:
        with suppress(AccordError):  # then the log finds out by itself
            self._connection.submit(DOMAIN, name, EndPresence(self._connection.agent))
