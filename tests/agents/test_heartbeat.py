"""The heartbeat of a process on a log that is simulated: what it believes is never more than what the log says."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from concurrent.futures import Future
from math import ceil
from types import SimpleNamespace
from typing import Any

import pytest
from accord.agents.connection.runtime import ON_KAFKA
from accord.agents.leases.heartbeat import IDLE_MS, TIED_AT_ONCE_MAX, Heartbeat
from accord.agents.leases.leases import MARGIN_MS
from accord.schemas.messages import Command
from accord.schemas.messages.log import Tick
from accord.schemas.messages.roster import AgentFailed, Beat, BeginPresence, EndPresence, Tie
from accord.streams.decider import At
from accord.streams.roster.decider import RosterDecider
from hypothesis import example, given
from hypothesis import strategies as st

from accord.errors import ConfigError, Overloaded
from accord.settings import Settings
from tests.counts import examples

RULES = RosterDecider()
STEP_MS = 500
BEAT_MS, FAIL_MS = 800, 4_000
SETTINGS = Settings.load(
    locks={"clock_step_ms": STEP_MS}, health={"beat_ms": BEAT_MS, "suspect_beats": 3, "fail_beats": 5}
)
LOST = -1
"""Instead of a delay: it never gets there."""


class Log:
    """A connection to a log whose broker, worker and answers take as long as a test says. Time is virtual, in ms.

    Args:
        delays: of each command in turn: to the broker, back from it, to the worker's answer. The last ones stay.
    """

    def __init__(self, *delays: tuple[int, int, int], health: dict[str, int] | None = None) -> None:
        self.settings = SETTINGS if health is None else Settings.load(health=health)
        self.agent = "ada"
        self.now_ms = 0
        self.runtime = ON_KAFKA
        self.delays = list(delays) or [(5, 5, 10)]
        self.sent: list[Command] = []
        self.states: dict[str, Any] = {}
        self.failed: dict[str, int] = {}
        self.refuses = False
        self.late_ms = 0
        """How late timers are."""
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self._cancelled: set[int] = set()

    def monotonic(self) -> float:
        return self.now_ms / 1_000

    def at(self, ms: float, act: Callable[[], None]) -> Callable[[], None]:
        self._count += 1
        number = self._count
        heapq.heappush(self._due, (self.now_ms + max(0, ceil(ms)), number, act))
        return lambda: self._cancelled.add(number)

    def call_later(self, ms: float, act: Callable[[], None]) -> Callable[[], None]:
        return self.at(ms + self.late_ms, act)

    def submit(self, domain: str, key: str, command: Command, **terms: Any) -> Any:
        assert domain == "roster"
        if self.refuses:
            raise Overloaded("too many")
        self.sent.append(command)
        there, back, answered = self.delays.pop(0) if len(self.delays) > 1 else self.delays[0]
        decided: Future[Any] = Future()
        if there != LOST:
            self.at(there, lambda: self._append(key, command, decided, back, answered, terms.get("on_delivered")))
        return SimpleNamespace(decided=decided)

    def _append(
        self,
        key: str,
        command: Command,
        decided: Future[Any],
        back: int,
        answered: int,
        told: Callable[[], None] | None,
    ) -> None:
        events = self._decide(key, command)
        if back != LOST and told is not None:
            self.at(back, told)
        if answered != LOST:
            self.at(answered, lambda: decided.set_result(SimpleNamespace(events=tuple(events))))

    def _decide(self, key: str, command: Command) -> Any:
        events = RULES.decide(self.states.get(key), command, At(self.now_ms, 1, "x"))
        for event in events:
            self.states[key] = RULES.evolve(self.states.get(key), event)
            if isinstance(event, AgentFailed):
                self.failed[key] = event.failed_ms
        state = self.states.get(key)
        if state is not None and key not in self.failed:
            due_ms = RULES.deadline_ms(state)
            assert due_ms is not None
            self.at(due_ms - self.now_ms, lambda: self._tick(key))
        return events

    def _tick(self, key: str) -> None:
        state = self.states.get(key)
        if state is not None and key not in self.failed and (RULES.deadline_ms(state) or 0) <= self.now_ms:
            self._decide(key, Tick())

    def run(self, until_ms: int, look: Callable[[], None] = lambda: None) -> None:
        while self._due and self._due[0][0] <= until_ms:
            self.now_ms, number, act = heapq.heappop(self._due)
            if number not in self._cancelled:
                act()
            look()
        self.now_ms = until_ms
        look()

    def heartbeat(self) -> Heartbeat:
        return Heartbeat(self)  # type: ignore[arg-type]

    def valid(self, heart: Heartbeat) -> bool:
        return heart.valid

    def hang(self, heart: Heartbeat, tie: Tie, on_end: Callable[[], None] | None = None, **terms: Any) -> Any:
        return heart.hang(tie, on_end, **terms)


LOCK, TEAM = Tie("locks", "room_12", "r1"), Tie("roster", "default", "ada/1")


def test_it_beats_while_something_hangs_on_it() -> None:
    log = Log()
    heart = log.heartbeat()
    assert not heart.name and not log.valid(heart)
    off = log.hang(heart, LOCK)
    assert heart.name.startswith("ada/") and log.valid(heart) and not heart.is_tied("r1")
    log.run(20)
    assert heart.is_tied("r1")
    log.run(10 * BEAT_MS)
    assert [type(command) for command in log.sent] == [BeginPresence, *[Beat] * 10]
    assert log.sent[0] == BeginPresence("ada", BEAT_MS, 3 * BEAT_MS, FAIL_MS, (LOCK,))
    assert set(log.sent[1:]) == {Beat("ada", (), ())}, "what is known is not told again"
    off()
    log.run(11 * BEAT_MS + 20)
    assert log.sent[-1] == Beat("ada", (), (LOCK,)) and not heart.is_tied("r1")
    assert log.states[heart.name].ties == ()
    log.run(12 * BEAT_MS + IDLE_MS + BEAT_MS)
    assert isinstance(log.sent[-1], EndPresence) and not heart.name and not log.valid(heart)
    assert not log.failed and not any(log.states.values())
    count = len(log.sent)
    log.run(20 * BEAT_MS + IDLE_MS)
    assert len(log.sent) == count


def test_what_is_held_for_less_than_a_beat_is_never_told() -> None:
    log = Log()
    heart = log.heartbeat()
    log.hang(heart, TEAM)
    for number in range(20):
        log.run(number * BEAT_MS + 100)
        off = log.hang(heart, Tie("locks", "room", f"r{number}"))
        log.run(number * BEAT_MS + 700)
        off()
    assert set(log.sent[1:]) == {Beat("ada", (), ())}


def test_what_is_hung_now_is_told_now() -> None:
    log = Log()
    heart = log.heartbeat()
    log.hang(heart, LOCK)
    log.hang(heart, TEAM, now=True)
    assert log.sent[1] == Beat("ada", (LOCK, TEAM), ()), "with what was not answered yet"
    log.run(20)
    assert heart.is_tied("ada/1") and log.states[heart.name].ties == (LOCK, TEAM)


def test_what_was_let_go_before_it_was_known_to_be_tied_is_untied_later() -> None:
    log = Log()
    heart = log.heartbeat()
    off = log.hang(heart, LOCK)
    log.hang(heart, TEAM)
    off()
    log.run(BEAT_MS + 20)
    assert log.states[heart.name].ties == (TEAM,)


def test_many_ties_go_with_several_beats() -> None:
    log = Log()
    heart = log.heartbeat()
    for number in range(TIED_AT_ONCE_MAX + 50):
        log.hang(heart, Tie("locks", "room", f"r{number}"))
    log.run(BEAT_MS + 20)
    assert len(log.sent[1].tie) == TIED_AT_ONCE_MAX  # type: ignore[attr-defined]
    log.run(2 * BEAT_MS + 20)
    assert len(log.states[heart.name].ties) == TIED_AT_ONCE_MAX + 50


def test_who_gets_no_beat_through_gives_all_up_before_the_log_does() -> None:
    log = Log((5, 5, 10), (5, 5, 10), (LOST, LOST, LOST))
    heart, ended = log.heartbeat(), []
    log.hang(heart, LOCK, lambda: ended.append(log.now_ms))
    log.hang(heart, TEAM)
    log.run(BEAT_MS + 20)
    first = heart.name
    log.run(BEAT_MS + FAIL_MS - STEP_MS - MARGIN_MS - 10)
    assert log.valid(heart) and not ended
    log.delays = [(5, 5, 10)]
    log.run(20_000)
    assert len(ended) == 1 and ended[0] < BEAT_MS + 5 + FAIL_MS - STEP_MS
    assert heart.name not in ("", first) and log.valid(heart), "what has no callback hangs on the next one"
    assert log.states[heart.name].ties == (TEAM,) and EndPresence("ada") in log.sent
    assert first not in log.failed, "it left in time"


def test_a_refused_beat_ends_it_at_once() -> None:
    log = Log()
    heart, ended = log.heartbeat(), []
    log.hang(heart, LOCK, lambda: ended.append(log.now_ms))
    log.hang(heart, TEAM)
    log.run(100)
    first = heart.name
    log._decide(first, EndPresence("ada"))  # as if the log had counted it as gone
    log.run(BEAT_MS + 50)
    assert ended and heart.name != first and log.valid(heart)


def test_a_worker_that_is_away_costs_no_heartbeat() -> None:
    """The broker has taken each beat in time: there is nothing in the log by which it could have failed."""
    log = Log((5, 5, LOST))
    heart, ended = log.heartbeat(), []
    log.hang(heart, LOCK, lambda: ended.append(log.now_ms))
    log.run(60_000)
    assert log.valid(heart) and not ended and not log.failed


def test_a_beat_that_the_broker_took_too_late_does_not_count() -> None:
    log = Log((5, 5, 10), (FAIL_MS + 200, 5, LOST), (LOST, LOST, LOST))
    heart, ended = log.heartbeat(), []
    log.hang(heart, LOCK, lambda: ended.append(log.now_ms))
    log.run(FAIL_MS)
    assert ended, "before the broker said so"


def test_a_report_that_comes_after_the_belief_has_ended_does_not_bring_it_back() -> None:
    """The beat that it is about may have come to the log after the failure; nobody has looked yet."""
    late_ms = 2_000
    log = Log((5, 5, 10), (FAIL_MS + 10 - BEAT_MS - late_ms, 1, LOST), (LOST, LOST, LOST))
    log.late_ms = late_ms
    heart = log.heartbeat()
    log.hang(heart, LOCK)
    log.run(FAIL_MS + 100)
    assert heart.name in log.failed and not log.valid(heart)


def test_a_connection_that_takes_nothing_is_tried_again() -> None:
    log = Log()
    heart = log.heartbeat()
    log.refuses = True
    with pytest.raises(Overloaded):
        log.hang(heart, LOCK)
    assert not heart.name and not log.valid(heart)
    log.refuses = False
    log.hang(heart, TEAM)
    log.run(100)
    log.refuses = True
    log.run(10 * BEAT_MS)
    assert not heart.name
    log.refuses = False
    log.run(12 * BEAT_MS)
    assert heart.name and heart.is_tied("ada/1")


def test_closing_ends_it() -> None:
    log = Log()
    heart = log.heartbeat()
    log.hang(heart, LOCK)
    log.run(100)
    name = heart.name
    heart.close()
    assert log.sent[-1] == EndPresence("ada") and not log.valid(heart)
    count = len(log.sent)
    log.run(20_000)
    assert len(log.sent) == count and name not in log.failed
    heart.close()
    assert len(log.sent) == count


def test_durations_that_leave_no_time_for_a_beat_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave too little"):
        Log(health={"beat_ms": 200, "suspect_beats": 2, "fail_beats": 3}).heartbeat()


DELAY = st.sampled_from([1, 5, 30, 300, 700, 1_000, 2_000, 3_500, 3_900, 4_100, LOST])


@given(delays=st.lists(st.tuples(DELAY, DELAY, DELAY), min_size=1, max_size=15))
@example([(5, LOST, 3_000), (LOST, LOST, LOST)])
@example([(5, LOST, 20), (2_000, 1_500, LOST), (LOST, LOST, LOST)])
@examples(40)
def test_the_belief_ends_before_the_log_says_failed(delays: list[tuple[int, int, int]]) -> None:
    """However long commands, reports and answers take: with the broker's clock ahead by as much as it may be."""
    log = Log(*delays)
    heart, held = log.heartbeat(), {}

    def hold() -> None:
        held["name"] = heart.name

    def look() -> None:
        if log.valid(heart) and heart.name in log.failed:
            assert log.now_ms + STEP_MS < log.failed[heart.name], "believed in what had failed"
        for name, failed_ms in log.failed.items():
            if held.get("name") == name:
                assert log.now_ms < failed_ms, "what hung on it was not given up"

    log.hang(heart, TEAM)
    log.hang(heart, LOCK, lambda: held.pop("name", None))
    hold()
    log.run(15_000, look)
