"""What follows from a decision outside its own log: dead letters, and the commands of its domain's process manager.

All ids come from the decision's position, so what is derived again is known as a repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from accord.schemas.codec import commands_codec, deadletters_codec
from accord.schemas.headers import ID, Record, command_headers
from accord.schemas.messages import Event
from accord.schemas.messages.log import CommandRejected
from accord.schemas.position import Position
from accord.schemas.topics import commands_topic, deadletters_topic, partition_of
from accord.streams.chain import Decision
from accord.streams.decider import Domain, Order, holds, names_of
from accord.streams.partition import Identity
from accord.streams.runtime.deadletters import dead_letter
from accord.streams.runtime.followups import Addressed


class Consequences:
    """What follows from the decisions of a domain.

    Args:
        partition_count: of every domain's topics.
    """

    def __init__(self, domain: Domain, partition_count: int) -> None:
        self._domain = domain
        self._partition_count = partition_count
        names = names_of(domain.consequential)
        self._any = lru_cache(1_024)(lambda decision_type: holds(decision_type, names))

    def any_of(self, decision: Decision) -> bool:
        """Whether anything follows from a decision; nothing is decoded."""
        return self._any(decision.type)

    def of(
        self, identity: Identity, decision: Decision, events: Sequence[Event], command: Record | None
    ) -> list[Addressed]:
        """What follows from a decision.

        Args:
            command: the record of the command that was decided; None when it is no longer in the log.
        """
        records = []
        for event in events:
            if type(event) is CommandRejected or type(event) in self._domain.dead_letters:
                records.append(self._letter(identity, decision, event, command))
            orders = self._domain.reactions.get(type(event))
            for order in orders(event) if orders else ():
                records.append(self._order(identity, decision, order, len(records)))
        return records

    def _letter(self, identity: Identity, decision: Decision, event: Event, command: Record | None) -> Addressed:
        letter = dead_letter(identity, self._domain, decision, event, command)
        message_id = letter.id.encode()
        value = deadletters_codec().encode(letter)
        return Addressed(deadletters_topic(identity.prefix), 0, message_id, value, [(ID, message_id)])

    def _order(self, identity: Identity, decision: Decision, order: Order, number: int) -> Addressed:
        codec, key = commands_codec(order.domain), order.key.encode()
        position = Position(self._domain.name, identity.partition, decision.offset)
        headers = command_headers(
            f"{position}/{number}",
            f"accord/{identity.name}",
            codec.type_name(order.command),
            decision.clock,
            decision.task.decode() or None,
        )
        topic, partition = commands_topic(order.domain, identity.prefix), partition_of(key, self._partition_count)
        return Addressed(topic, partition, key, codec.encode(order.command), headers)
