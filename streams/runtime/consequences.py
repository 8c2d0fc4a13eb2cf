"""What follows from a partition's decisions outside its own log, and when it is handed over to be sent.

- Dead letters, and the commands of the domain's process manager: of single decisions. Their ids come from the
  decision's position, so what is derived again is known as a repeat.
- Notices to those whom decisions concern, where there is an inbox: of all decisions, by the chunk.
- Reports of who waits: of the state, not of decisions, and only the newest matters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache, partial
from math import inf
from typing import Final

from accord.schemas.codec import commands_codec, deadletters_codec
from accord.schemas.headers import ID, Record, command_headers
from accord.schemas.messages import Event
from accord.schemas.messages.log import CommandRejected
from accord.schemas.position import Position
from accord.schemas.topics import commands_topic, deadletters_topic, inbox_topic, partition_of
from accord.streams.chain import Decision
from accord.streams.decider import Domain, Order, Source, holds, id_of, names_of
from accord.streams.notices import notices
from accord.streams.partition import Identity
from accord.streams.runtime.deadletters import dead_letter
from accord.streams.runtime.followups import UNSENT_MAX, Addressed
from accord.streams.runtime.owned import Owned

RECENT_COUNT: Final = UNSENT_MAX + 1_000
"""From so many decisions at the end of the log something may follow that was not sent: the bound, and some chunks. From
which it was, the last of them say: what is sent again without need may be older than ids are remembered for."""
AGAIN_COUNT: Final = 256
"""Decisions whose notices are made at once when they are made again."""


class Consequences:
    """What follows from the decisions of a domain.

    Args:
        partition_count: of every domain's topics.
        inboxes: partitions of the inbox; 0: there is none.
    """

    def __init__(self, domain: Domain, prefix: str, partition_count: int, inboxes: int) -> None:
        self._domain = domain
        self._inbox_topic = inbox_topic(prefix)
        self._inboxes = inboxes
        self._partition_count = partition_count
        names = names_of(domain.consequential)
        self._any = lru_cache(1_024)(lambda decision_type: holds(decision_type, names))

    def any_of(self, decision: Decision) -> bool:
        """Whether anything follows from a decision; nothing is decoded."""
        return self._any(decision.type)

    def send(self, owned: Owned) -> None:
        """Sends what follows from confirmed decisions."""
        confirmed = owned.owner.confirmed
        if confirmed is not None:
            owned.followups.send(confirmed.seq)

    def unfollowed(self, decisions: Sequence[Decision]) -> list[Decision]:
        """Those of the last decisions of the log from which something may follow that was not sent."""
        followed = max((decision.followed for decision in decisions), default=0)
        return [decision for decision in decisions[-RECENT_COUNT:] if decision.seq > followed]

    # -- of single decisions

    def add(self, owned: Owned, decision: Decision, events: Sequence[Event], command: Record | None) -> None:
        """Has what follows from a decision sent, once it is confirmed.

        Args:
            command: the record of the command that was decided; None when it is no longer in the log.
        """
        identity = owned.owner.partition.identity
        owned.followups.add(decision.seq, partial(self.of, identity, decision, events, command))

    def of(
        self, identity: Identity, decision: Decision, events: Sequence[Event], command: Record | None
    ) -> list[Addressed]:
        """What follows from a decision; the arguments as of `add`."""
        records: list[Addressed] = []
        for event in events:
            if type(event) is CommandRejected or type(event) in self._domain.dead_letters:
                records.append(self._letter(identity, decision, event, len(records), command))
            orders = self._domain.reactions.get(type(event))
            for order in orders(decision.key.decode(), event) if orders else ():
                records.append(self._order(identity, decision, order, len(records)))
        return records

    def _letter(
        self, identity: Identity, decision: Decision, event: Event, number: int, command: Record | None
    ) -> Addressed:
        letter = dead_letter(identity, self._domain, decision, event, number, command)
        message_id = letter.id.encode()
        value = deadletters_codec().encode(letter)
        return Addressed(deadletters_topic(identity.prefix), 0, message_id, value, [(ID, message_id)])

    def _order(self, identity: Identity, decision: Decision, order: Order, number: int) -> Addressed:
        codec, key = commands_codec(order.domain), order.key.encode()
        position = Position(self._domain.name, identity.partition, decision.offset)
        headers = command_headers(
            id_of(Source(position, number)),
            f"accord/{identity.name}",
            codec.type_name(order.command),
            decision.clock,
            decision.task.decode() or None,
            decision.trace.decode() if decision.trace.isascii() else None,  # what others write may be anything
        )
        topic, partition = commands_topic(order.domain, identity.prefix), partition_of(key, self._partition_count)
        return Addressed(topic, partition, key, codec.encode(order.command), headers)

    # -- notices

    def notify(self, owned: Owned, decided: list[tuple[Decision, Sequence[Event]]]) -> None:
        """Has those whom decisions concern told of them, once they are confirmed."""
        if self._inboxes:
            index = owned.owner.partition.identity.partition
            first, last = decided[0][0].seq, decided[-1][0].seq
            owned.followups.add(last, partial(self._notices, index, decided), first=first)

    def notify_again(self, owned: Owned, decisions: list[Decision]) -> None:
        """Has notices of decisions read from the log sent again."""
        if not self._inboxes:
            return
        read = owned.owner.partition.read
        for start in range(0, len(decisions), AGAIN_COUNT):
            self.notify(owned, [(d, read(d).events) for d in decisions[start : start + AGAIN_COUNT]])

    def _notices(self, index: int, decided: list[tuple[Decision, Sequence[Event]]]) -> list[Addressed]:
        name, inboxes, topic = self._domain.name, self._inboxes, self._inbox_topic
        return [
            Addressed(topic, *notice)
            for decision, events in decided
            for notice in notices(name, index, decision, events, inboxes)
        ]

    # -- reports of who waits

    def tell_waits(self, owned: Owned) -> float:
        """Tells who waits, if that has changed; returns the seconds until there is something to tell."""
        due_s = None if owned.waits is None else owned.waits.due_in_s()
        if owned.waits is None or due_s is None:
            return inf
        if due_s > 0 or owned.owner.contested:
            return due_s
        partition = owned.owner.partition
        reports = owned.waits.take(partition)
        if reports:
            owned.followups.add(partition.head.seq, lambda: reports, lasting=True)
            self.send(owned)
        return inf

    def tell_waits_anew(self, owned: Owned) -> None:
        """After an assignment. A partition that nobody has used has nothing to tell."""
        partition = owned.owner.partition
        if owned.halted is None and owned.waits is not None and partition.head.seq > 1:
            outdated = owned.waits.anew(partition)
            owned.followups.add(partition.head.seq, lambda: outdated, lasting=True)
            self.send(owned)
