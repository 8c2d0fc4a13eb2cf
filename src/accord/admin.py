"""What operators do to a cluster: make and check its topics, look at its workers, switch the rules.

Topics are made as the topic table says, and checked against it. What a topic can never change without loss (partition
count, whose time its records carry, cleanup) must be right; a topic that differs is named and left alone. Retention of
commands is the operator's to choose; events must stay for ever. The inbox is checked if it is there, or wanted.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from itertools import count
from typing import Any, Final, Literal, NamedTuple

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from uuid_utils import uuid7

from accord.errors import BadInput, OutcomeUnknown, TopicMismatch, Unavailable
from accord.kafka import bootstrap, client_config, metadata, producer
from accord.schemas.codec import commands_codec
from accord.schemas.headers import command_headers
from accord.schemas.messages import Command
from accord.schemas.messages.log import SwitchRules
from accord.schemas.position import Position
from accord.schemas.topics import DECISION_BYTES_MAX, Topic, commands_topic, inbox_topic, partition_of, topic_table
from accord.settings import Settings
from accord.streams.domains import DOMAINS

RECORD_BYTES_MIN: Final = DECISION_BYTES_MAX + 100_000
"""A topic must take records of this size: the largest decision with its headers."""

State = Literal["right", "missing", "wrong", "unknown"]


class TopicStatus(NamedTuple):
    """How a topic stands to its row of the table. `unknown`: the broker does not tell its settings."""

    topic: Topic
    state: State
    problems: tuple[str, ...] = ()


class Member(NamedTuple):
    """A running worker, as the broker sees it, and the partitions that it was given: `locks/0`."""

    name: str
    host: str
    partitions: tuple[str, ...]


class Admin:
    """Administers the topics of one cluster under one prefix.

    Every method raises KafkaUnreachable when no broker answers, and Unavailable when it refuses.

    Args:
        inbox: whether there is to be an inbox; there is, too, if the settings' clients take their answers from it.
    """

    def __init__(self, settings: Settings, *, inbox: bool = False) -> None:
        self._settings = settings
        self._client: Any = AdminClient(client_config(settings.kafka))
        self._timeout_s = settings.kafka.connect_timeout_ms / 1_000
        topics = settings.topics
        self.table = topic_table(topics.prefix, topics.partitions, inbox_partitions=topics.inbox_partitions)
        self._optional = () if inbox or settings.client.answers == "inbox" else (inbox_topic(topics.prefix),)

    def cluster(self) -> tuple[str, list[str]]:
        """The cluster's id and its brokers' addresses."""
        found = metadata(self._client, self._settings.kafka)
        return str(found.cluster_id), sorted(f"{b.host}:{b.port}" for b in found.brokers.values())

    def check(self) -> list[TopicStatus]:
        """Every topic of the table, compared with the broker's; without the inbox, if none is wanted and none there."""
        there = metadata(self._client, self._settings.kafka).topics
        table = [topic for topic in self.table if topic.name in there or topic.name not in self._optional]
        configs = self._configs([topic.name for topic in table if topic.name in there])
        statuses = []
        for topic in table:
            if topic.name not in there:
                statuses.append(TopicStatus(topic, "missing", (f"{topic.name} does not exist.",)))
                continue
            config = configs.get(topic.name)
            problems = [*_count_problems(topic, len(there[topic.name].partitions)), *_problems(topic, config or {})]
            state: State = "wrong" if problems else "unknown" if config is None else "right"
            statuses.append(TopicStatus(topic, state, tuple(problems)))
        return statuses

    def init(self) -> list[TopicStatus]:
        """Creates the topics that are missing.

        Returns:
            What was there before: `missing` ones exist now.

        Raises:
            TopicMismatch: a topic differs; nothing was created.
        """
        statuses = self.check()
        refuse(statuses)
        replication = self._settings.topics.replication
        new = [
            NewTopic(s.topic.name, s.topic.partitions, replication_factor=replication, config=s.topic.config)
            for s in statuses
            if s.state == "missing"
        ]
        futures = self._client.create_topics(new, operation_timeout=self._timeout_s) if new else {}
        for name, future in futures.items():
            try:
                future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another init at the same time
                    raise self._refused(f"creating {name}", error) from error
        if new:
            refuse(self._made())
        return statuses

    def _made(self) -> list[TopicStatus]:
        """The topics once brokers know those just created: they learn of them a moment after the controller."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            statuses = self.check()
            if time.monotonic() > deadline or all(status.state != "missing" for status in statuses):
                return statuses
            time.sleep(0.05)

    def workers(self) -> list[Member] | None:
        """The members of the workers' consumer group; None when the broker does not tell."""
        if self._is_mock():
            return None
        prefix = self._settings.topics.prefix
        of = {commands_topic(domain, prefix): domain for domain in DOMAINS}
        group = f"{prefix}.{self._settings.worker.group}"
        try:
            # Listed first: describing a group that never was makes a fresh broker's client wait for a coordinator.
            listed = self._client.list_consumer_groups(request_timeout=self._timeout_s).result()
            if group not in {known.group_id for known in listed.valid}:
                return []
            found = self._client.describe_consumer_groups([group], request_timeout=self._timeout_s)[group].result()
        except KafkaException:  # an ACL may forbid it
            return None
        return [
            Member(
                member.group_instance_id or member.client_id,
                member.host.lstrip("/"),
                tuple(sorted(f"{of[tp.topic]}/{tp.partition}" for tp in _assigned(member) if tp.topic in of)),
            )
            for member in found.members
        ]

    def _configs(self, names: list[str]) -> dict[str, Mapping[str, str]]:
        """The settings of topics, as far as the broker tells them."""
        resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        if not resources or self._is_mock():
            return {}
        configs: dict[str, Mapping[str, str]] = {}
        for resource, future in self._client.describe_configs(resources, request_timeout=self._timeout_s).items():
            try:
                configs[resource.name] = {name: entry.value for name, entry in future.result().items()}
            except KafkaException:  # an ACL may forbid it
                continue
        return configs

    def _is_mock(self) -> bool:
        """Whether it is librdkafka's mock cluster, which knows neither topics' settings nor who is in a group."""
        return self.cluster()[0].startswith("mockCluster")

    def _refused(self, what: str, error: KafkaException) -> Unavailable:
        return Unavailable(f"{bootstrap(self._settings.kafka)}: {what}: {error.args[0].str()}.")


def refuse(statuses: list[TopicStatus]) -> None:
    """Raises TopicMismatch for the first topic that differs from its row."""
    for status in statuses:
        if status.state == "wrong":
            raise TopicMismatch(status.problems[0], remedy=REMEDY, topic=status.topic.name)


REMEDY: Final = "If empty, delete it, then: accord topics init."


def _count_problems(topic: Topic, found: int) -> list[str]:
    if found == topic.partitions:
        return []
    guess = " (auto-created?)" if found == 1 else ""
    return [f"{topic.name} has {_partitions(found)}, settings say {topic.partitions}{guess}."]


def _problems(topic: Topic, config: Mapping[str, str]) -> list[str]:
    """What of a topic's settings differs, in words."""
    problems = []
    for name, reason in _MUST.items():
        expected, found = topic.config[name], config.get(name)
        if name.startswith("retention") and topic.retention_ms != -1:
            continue
        if found is not None and found != expected:
            problems.append(f"{topic.name} has {name}={found}, it must be {expected}: {reason}.")
    largest = config.get("max.message.bytes")
    if largest is not None and int(largest) < RECORD_BYTES_MIN:
        problems.append(f"{topic.name} has max.message.bytes={largest}; decisions need {RECORD_BYTES_MIN}.")
    return problems


_MUST: Final = {
    "message.timestamp.type": "the log's clock is the broker's",
    "cleanup.policy": "a compacted log has lost decisions",
    "retention.ms": "state is rebuilt from the first decision on",
    "retention.bytes": "state is rebuilt from the first decision on",
}


def _partitions(number: int) -> str:
    return f"{number} partition{'s' * (number != 1)}"


def _assigned(member: Any) -> list[Any]:
    return member.assignment.topic_partitions if member.assignment else []


class Sent(NamedTuple):
    """A command that lies in the log. `timestamp_ms` is the log's, in ms since 1970."""

    position: Position
    timestamp_ms: int


def send(settings: Settings, domain: str, commands: Mapping[str, Command], *, source: str) -> list[Sent]:
    """Sends commands by key, and waits until the log has them.

    Raises:
        OutcomeUnknown: not all were acknowledged within the connect timeout.
        Unavailable: the broker refused one.
    """
    topic, codec = commands_topic(domain, settings.topics.prefix), commands_codec(domain)
    sent: list[Sent] = []
    failed: list[KafkaError] = []

    def report(error: KafkaError | None, message: Any) -> None:
        if error is not None:
            failed.append(error)
        else:
            at = Position(domain, message.partition(), message.offset(), commands=True)
            sent.append(Sent(at, message.timestamp()[1]))

    client = producer(settings.kafka, message_timeout_ms=settings.kafka.connect_timeout_ms)
    for key, command in commands.items():
        headers: list[Any] = [*command_headers(str(uuid7()), source, codec.type_name(command), b"")]
        client.produce(topic, codec.encode(command), key.encode(), headers=headers, on_delivery=report)
    unsent = client.flush(settings.kafka.connect_timeout_ms / 1_000 + 1)
    if failed:
        raise Unavailable(f"{bootstrap(settings.kafka)}: {topic}: {failed[0].str()}.")
    if unsent:
        raise OutcomeUnknown(f"{topic}: {unsent} of {len(commands)} commands were not acknowledged.")
    return sorted(sent)


def switch_rules(settings: Settings, domain: str, version: int, reason: str) -> list[Position]:
    """Has every partition of a domain decided by another version of its rules.

    Returns:
        The positions of the switching commands, one a partition.

    Raises:
        BadInput: there is no such domain, or this release does not have the version.
        TopicMismatch: the domain has no topics.
    """
    if domain not in DOMAINS:
        raise BadInput(f"There is no domain {domain!r}; there are {', '.join(DOMAINS)}.")
    versions = sorted(DOMAINS[domain].versions)
    if version not in versions:
        raise BadInput(
            f"This release has no version {version} of the {domain} rules; it has {versions}.",
            remedy="Roll a release that has it out to all workers first, and run this with it.",
        )
    topic = commands_topic(domain, settings.topics.prefix)
    found = metadata(AdminClient(client_config(settings.kafka)), settings.kafka).topics.get(topic)
    if found is None:
        raise TopicMismatch(f"{topic} does not exist.", remedy="Create the topics: accord topics init.")
    keys = (key_in(partition, len(found.partitions)) for partition in found.partitions)
    commands = {key: SwitchRules(version, reason) for key in keys}
    return [sent.position for sent in send(settings, domain, commands, source="accord")]


def key_in(partition: int, partition_count: int, stem: str = "accord") -> str:
    """A key that lies in a partition."""
    return next(key for n in count() if partition_of((key := f"{stem}-{n}").encode(), partition_count) == partition)
