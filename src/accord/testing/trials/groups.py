"""Consumer groups of simulated agents, as a broker coordinates them.

Every change of the members revokes all partitions of all of them, and then assigns them anew (the eager protocol). A
member that is silent for its session's time is put out: others get its partitions, while it may go on with what it has
in hand. Once it is heard again it is told that it has lost them, and joins. Each member finds out what it is told in
its next poll.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from random import Random
from typing import Final

from confluent_kafka import KafkaError, KafkaException

from accord.testing.simulation.network import Link
from accord.testing.simulation.scheduler import Scheduler

CHECK_MS: Final = 500.0
"""How often silence is looked for."""
NOTICE_MS: Final = 1_000.0
"""A member is told of a rebalance within so long: with its next heartbeat."""
HAND_OVER_MS: Final = 50.0
"""An assignment is under way for up to so long."""


class Member:
    """A consumer in a group.

    Args:
        link: its process's way to the brokers.
        session_ms: how long it may be silent.
        stir: is called when it has something to find out.

    `notices` are what it has to find out: what happened (`revoked`, `assigned`, `lost`), in which generation, and the
    partitions.
    """

    def __init__(self, link: Link, session_ms: float, stir: Callable[[], None]) -> None:
        self.link = link
        self.session_ms = session_ms
        self.stir = stir
        self.generation = -1
        self.owned: Sequence[int] = ()
        self.heard_ms = 0.0
        self.notices: deque[tuple[str, int, Sequence[int]]] = deque()

    @property
    def is_heard(self) -> bool:
        """Whether its heartbeats come through."""
        process = self.link.process
        return process.alive and process.paused_until_ms <= process.scheduler.now_ms and not self.link.is_cut

    def tell(self, what: str, generation: int, partitions: Sequence[int]) -> None:
        self.notices.append((what, generation, partitions))
        self.stir()


class Group:
    """The members of a group and its committed offsets.

    Args:
        partitions: of its topic.
    """

    def __init__(self, scheduler: Scheduler, name: str, partitions: int) -> None:
        self.committed: dict[int, int] = {}
        self._scheduler = scheduler
        self._random: Random = scheduler.stream(f"group/{name}")
        self._partitions = partitions
        self._generation = 0
        self._members: list[Member] = []
        self._put_out: list[Member] = []
        self._revoking: set[Member] = set()
        self._is_checking = False

    def join(self, member: Member) -> None:
        member.heard_ms = self._scheduler.now_ms
        self._members.insert(self._random.randrange(len(self._members) + 1), member)
        self._rebalance()
        if not self._is_checking:
            self._is_checking = True
            self._scheduler.call_later(CHECK_MS, self._check)

    def leave(self, member: Member) -> None:
        if member in self._put_out:
            self._put_out.remove(member)
        if member in self._members:
            self._members.remove(member)
            self._rebalance()

    def revoked(self, member: Member, generation: int) -> None:
        """A member has given up what it had."""
        if generation == self._generation:
            self._revoking.discard(member)
            self._assign_if_ready()

    def commit(self, member: Member | None, offsets: dict[int, int]) -> None:
        """Takes note of how far a member has come.

        Args:
            member: None: who never joined.

        Raises:
            KafkaException: others have the partitions.
        """
        if member is None:
            if self._members:
                raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
        elif member not in self._members:
            raise KafkaException(KafkaError(KafkaError.UNKNOWN_MEMBER_ID))
        elif member.generation < self._generation and member not in self._revoking:
            raise KafkaException(KafkaError(KafkaError.ILLEGAL_GENERATION))
        self.committed.update(offsets)

    def _rebalance(self) -> None:
        self._generation += 1
        self._revoking = set(self._members)
        for member in self._members:
            delay_ms = self._random.random() * NOTICE_MS if member.owned else 0.0
            self._tell_later(delay_ms, member, "revoked", self._generation, ())
        self._assign_if_ready()

    def _assign_if_ready(self) -> None:
        if self._revoking or not self._members:
            return
        share, more = divmod(self._partitions, len(self._members))
        first = 0
        for number, member in enumerate(self._members):
            end = first + share + (number < more)
            delay_ms = self._random.random() * HAND_OVER_MS
            self._tell_later(delay_ms, member, "assigned", self._generation, range(first, end))
            first = end

    def _tell_later(self, ms: float, member: Member, what: str, generation: int, partitions: Sequence[int]) -> None:
        def tell() -> None:
            if generation != self._generation or member not in self._members:
                return
            if member.link.is_cut:
                self._scheduler.call_at(member.link.cut_until_ms, tell, process=member.link.process)
            else:
                member.tell(what, generation, partitions)

        self._scheduler.call_later(ms, tell, process=member.link.process)

    def _check(self) -> None:
        now_ms = self._scheduler.now_ms
        silent = []
        for member in self._members:
            if member.is_heard:
                member.heard_ms = now_ms
            elif now_ms - member.heard_ms > member.session_ms:
                silent.append(member)
        for member in silent:
            self._members.remove(member)
            if member.link.process.alive:
                self._put_out.append(member)
        if silent:
            self._rebalance()
        for member in [member for member in self._put_out if member.is_heard]:
            self._put_out.remove(member)
            member.tell("lost", self._generation, ())
        if self._members or self._put_out:
            self._scheduler.call_later(CHECK_MS, self._check)
        else:
            self._is_checking = False


class Groups:
    """The groups of one log, by name."""

    def __init__(self, scheduler: Scheduler, partitions: int) -> None:
        self._scheduler = scheduler
        self._partitions = partitions
        self._groups: dict[str, Group] = {}

    def of(self, name: str) -> Group:
        found = self._groups.get(name)
        if found is None:
            found = self._groups[name] = Group(self._scheduler, name, self._partitions)
        return found
