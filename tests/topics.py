"""Topics of tests on a real Kafka: under prefixes of their own, and gone when their module is through.

Topics that stay cost the tests that come after: whoever asks the cluster for its topics is told of all of them.
"""

from __future__ import annotations

import time
from typing import Any, Final
from uuid import uuid4

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

KNOWN_S: Final = 10.0
_given: set[tuple[str, str]] = set()
"""Address of the cluster and prefix."""


def fresh_prefix(bootstrap_servers: str, name: str) -> str:
    """A prefix that no other test has. The topics under it are deleted when the module's tests are through."""
    prefix = f"{name}-{uuid4().hex[:8]}"
    _given.add((bootstrap_servers, prefix))
    return prefix


def create(bootstrap_servers: str, *topics: NewTopic) -> None:
    """Creates topics, and returns once the broker tells of them: it does so a moment after the controller made them."""
    admin: Any = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 2})
    for created in admin.create_topics(list(topics)).values():
        created.result()
    deadline = time.monotonic() + KNOWN_S
    while unknown := {topic.topic for topic in topics} - admin.list_topics(timeout=10).topics.keys():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{unknown} are not known {KNOWN_S} s after they were created")
        time.sleep(0.02)


def delete_topics() -> None:
    """Deletes what is under the prefixes that were given out; a cluster that is gone has taken its topics along."""
    for servers in {servers for servers, _ in _given}:
        prefixes = tuple(f"{prefix}." for at, prefix in _given if at == servers)
        admin: Any = AdminClient({"bootstrap.servers": servers})
        try:
            there = admin.list_topics(timeout=10).topics
        except KafkaException:
            continue
        names = [name for name in there if name.startswith(prefixes)]
        for deleted in admin.delete_topics(names).values() if names else ():
            try:
                deleted.result()
            except KafkaException as error:
                if error.args[0].name() != "UNKNOWN_TOPIC_OR_PART":  # the test has deleted it, too
                    raise
    _given.clear()
