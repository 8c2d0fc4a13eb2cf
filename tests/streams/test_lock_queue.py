"""The queue of a lock: what a plain list would say, at a cost that hardly grows with those who wait."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, cast

import pytest
from accord.schemas.messages import Command
from accord.schemas.messages.locks import (
    AcquireLock,
    ConditionAwaited,
    LockGranted,
    LockQueued,
    NotifyCondition,
    ReleaseLock,
    RenewLease,
    RevokeLease,
    WaitOnCondition,
    WithdrawRequest,
)
from accord.schemas.messages.log import Tick
from accord.streams.decider import At, dump, restore
from accord.streams.locks.bounds import PRIORITY_MAX
from accord.streams.locks.decider import Lock, NameDecider
from accord.streams.locks.queue import EMPTY, NEVER, WIDTH, Queue, Waiter
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from tests.counts import examples

PRIORITIES = st.sampled_from([0, 0, 0, 1, 3, -1, PRIORITY_MAX, -PRIORITY_MAX])
DEADLINES = st.sampled_from([None, None, 1_000, 1_000, 2_000, 3_000])
OWNERS = st.sampled_from(["ada/1", "ada/1", "ada/1/2"])
PLACES = st.integers(0, 1 << 16)


class QueueMachine(RuleBasedStateMachine):
    """Any changes, on the queue and on a list; what the queue was before stays as it was."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = EMPTY
        self.list: list[Waiter] = []
        self.before: list[tuple[Queue, list[Waiter]]] = []
        self.count = 0

    def changed(self, queue: Queue, waiters: Iterable[Waiter]) -> None:
        self.before = [*self.before[-20:], (self.queue, self.list)]
        self.queue, self.list = queue, list(waiters)

    @rule(
        count=st.sampled_from([1, 1, 1, 2, WIDTH, 5 * WIDTH, WIDTH * WIDTH + 3]), priority=PRIORITIES,
        deadline_ms=DEADLINES, permits=st.sampled_from([None, None, 3]), owner=OWNERS,
    )  # fmt: skip
    def come(
        self, count: int, owner: str, priority: int, deadline_ms: int | None, permits: int | None
    ) -> None:  # fmt: skip
        for _ in range(count):
            self.count += 1
            waiter = Waiter(f"r-{self.count}", "ada", owner, 5_000, 0, deadline_ms, permits, priority)
            self.changed(self.queue.appended(waiter), [*self.list, waiter])

    @precondition(lambda self: self.list)
    @rule(place=PLACES)
    def come_again(self, place: int) -> None:
        same = self.list[place % len(self.list)]
        assert self.queue.appended(replace(same, deadline_ms=1)) is self.queue

    @precondition(lambda self: self.list)
    @rule(place=PLACES, count=st.sampled_from([1, 1, 2, 50]))
    def go(self, place: int, count: int) -> None:
        for _ in range(min(count, len(self.list))):
            gone = self.list[place % len(self.list)]
            self.changed(self.queue.without(gone.request), [one for one in self.list if one is not gone])

    @precondition(lambda self: self.list)
    @rule(count=st.sampled_from([1, 1, 3, 40]))
    def first_is_granted(self, count: int) -> None:
        for _ in range(min(count, len(self.list))):
            self.grant(max(self.list, key=lambda waiter: waiter.priority))

    @precondition(lambda self: self.list)
    @rule(place=PLACES)
    def someone_is_granted(self, place: int) -> None:
        """Who was granted by other rules than those that are decided by today."""
        highest = [at for at, one in enumerate(self.list) if one.priority == PRIORITY_MAX]
        self.grant(self.list[place % (highest[0] + 1 if highest else len(self.list))])

    def grant(self, granted: Waiter) -> None:
        at = self.list.index(granted)
        risen = [replace(one, priority=one.priority + 1) for one in self.list[:at]]
        self.changed(self.queue.served(granted.request), [*risen, *self.list[at + 1 :]])

    @precondition(lambda self: all(one.priority < PRIORITY_MAX for one in self.list))
    @rule()
    def newcomer_is_granted(self) -> None:
        self.changed(self.queue.served("new"), [replace(one, priority=one.priority + 1) for one in self.list])

    @rule()
    def dumped_and_restored(self) -> None:
        lock = restore(dump(Lock((), self.queue)), Lock)
        self.changed(lock.waiters, self.list)

    @invariant()
    def it_is_what_the_list_is(self) -> None:
        queue, waiters = self.queue, self.list
        assert list(queue) == waiters
        assert len(queue) == len(waiters)
        assert (queue is EMPTY) == (not waiters)
        assert queue == Queue.of(waiters)
        assert queue != Queue.of([*waiters, Waiter("other", "", "", 0, 0, None)])
        for priority in range(-PRIORITY_MAX, PRIORITY_MAX + 1):
            before = [one for one in waiters if one.priority >= priority]
            assert queue.count_from(priority) == len(before)
            assert queue.alone_from(priority) == any(one.permits is None for one in before)
        assert queue.permits == (3 if any(one.permits for one in waiters) else None)
        assert queue.nested == any(one.owner == "ada/1/2" for one in waiters)
        assert queue.get("other") is None
        assert "other" not in queue
        for place in {0, len(waiters) // 3, len(waiters) - 1} if waiters else ():
            assert queue.get(waiters[place].request) == waiters[place]
            assert queue.place(waiters[place].request) == place + 1
            assert waiters[place].request in queue
        if waiters:
            assert queue.first() == max(waiters, key=lambda waiter: waiter.priority)
        limited = [(one.deadline_ms, one) for one in waiters if one.deadline_ms is not None]
        assert queue.deadline_ms == min([deadline_ms for deadline_ms, _ in limited], default=NEVER)
        due = sorted([item for item in limited if item[0] <= 2_000], key=lambda item: item[0])
        assert list(queue.due(2_000)) == due

    @invariant()
    def what_it_was_stays(self) -> None:
        for queue, waiters in self.before[-3:]:
            assert list(queue) == waiters

    def teardown(self) -> None:
        for queue, waiters in self.before:
            assert list(queue) == waiters


QueueMachine.TestCase.settings = examples(20, stateful_step_count=25)
TestQueue = QueueMachine.TestCase


def test_numbers_that_fit_a_high_and_sparse_trie() -> None:
    """One who stays while tens of thousands come and go."""
    queue = Queue.of([Waiter("first", "ada", "ada/1", 5_000, 0, None)])
    for number in range(5 * WIDTH**3):
        queue = queue.appended(Waiter(f"r-{number}", "bob", "bob/1", 5_000, 0, None))
        if number >= WIDTH:
            queue = queue.without(f"r-{number - WIDTH}")
    assert [one.request for one in queue] == ["first", *[f"r-{5 * WIDTH**3 - left}" for left in range(WIDTH, 0, -1)]]
    assert queue.first().request == "first"


# -- the work that a command is

decider = NameDecider()
MANY, FEW = 10_000, 10


def crowded(count: int, *, priorities: bool = False) -> Lock:
    """A lock that is held, and for which so many wait, half of them with a deadline."""
    state: Any = decider.evolve(None, LockGranted("r-0", "ada", "ada/1", 1, 60_000, 70_000))
    for number in range(1, count + 1):
        deadline_ms = 60_000 + number if number % 2 else None
        priority = number % 3 - 1 if priorities else 0
        queued = LockQueued(f"r-{number}", "bob", "bob/1", 60_000, 1, deadline_ms, number, None, priority)
        state = decider.evolve(state, queued)
    return cast(Lock, state)


def asleep(count: int) -> Lock:
    """A lock that is held, and so many who wait for a notice, half of them with a deadline."""
    state: Any = None
    for number in range(1, count + 1):
        deadline_ms = 60_000 + number if number % 2 else None
        state = decider.evolve(state, ConditionAwaited(f"r-{number}", "bob", "bob/1", 1, 60_000, 1, deadline_ms))
    return cast(Lock, decider.evolve(state, LockGranted("r-0", "ada", "ada/1", 1, 60_000, 70_000)))


def work(act: Callable[[], object]) -> int:
    """The lines of Python that are executed."""
    lines = 0

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        act()
    finally:
        sys.settrace(before)
    return lines


def memory(act: Callable[[], object]) -> int:
    """The most bytes that are taken at a time, what is copied by one instruction included; the least of three looks,
    for other threads of the process take some, too."""
    return min(_memory_once(act) for _ in range(3))


def _memory_once(act: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def decide_and_fold(state: Lock, command: Command) -> None:
    after: Any = state
    for event in decider.decide(state, command, At(2_000, 100_000, "new")):
        after = decider.evolve(after, event)
        if after is not None:
            decider.deadline_ms(after)


@pytest.mark.parametrize("priorities", [False, True])
@pytest.mark.parametrize(
    "command",
    [
        AcquireLock("kim", "kim/1", 60_000, None),
        AcquireLock("kim", "kim/1", 60_000, 30_000, None, 5),
        AcquireLock("kim", "kim/1", 60_000, 0),
        AcquireLock("kim", "kim/1", 60_000, None, 3),
        ReleaseLock("ada", 1),
        RevokeLease("ops", 1, "stuck"),
        RenewLease("ada", 1, 60_000),
        WithdrawRequest("bob", "r-7"),
        WithdrawRequest("bob", "r-none"),
        WithdrawRequest("ada", "r-0"),
        Tick(),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_command_is_hardly_more_work_when_ten_thousand_wait(command: Command, priorities: bool) -> None:
    few, many = crowded(FEW, priorities=priorities), crowded(MANY, priorities=priorities)
    hardly_more_work(few, many, command)


@pytest.mark.parametrize(
    "command",
    [
        AcquireLock("kim", "kim/1", 60_000, None),
        ReleaseLock("ada", 1),
        RenewLease("ada", 1, 60_000),
        WaitOnCondition("ada", 1, None),
        NotifyCondition("ada", 1, 5),
        WithdrawRequest("bob", "r-7"),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_command_is_hardly_more_work_when_ten_thousand_sleep(command: Command) -> None:
    hardly_more_work(asleep(FEW), asleep(MANY), command)


def hardly_more_work(few: Lock, many: Lock, command: Command) -> None:
    lines = [work(lambda state=state: decide_and_fold(state, command)) for state in (few, many)]  # type: ignore[misc]
    assert lines[1] <= 3 * lines[0]
    assert memory(lambda: decide_and_fold(many, command)) <= MANY, "a byte a waiter is less than any copy"
