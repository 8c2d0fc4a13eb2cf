"""The schema registry, for those who run one: schemas by id for reading, and today's schemas put there.

Optional (`pip install 'accord[registry]'`); without it values carry Avro single-object framing and nobody is asked.

- A schema never changes under its id, so what was found is kept; an id that is not there is asked for again after
  `UNKNOWN_MS`, so that garbage does not become a request a record.
- A registry that does not answer is `Unavailable`, never a verdict on the value: the caller waits and tries again.
- Subjects follow TopicNameStrategy, `TOPIC-value`, with compatibility BACKWARD_TRANSITIVE: new code reads all history.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from accord.errors import ConfigError, Unavailable
from accord.schemas.codec import Codec, commands_codec, deadletters_codec, events_codec
from accord.schemas.topics import DOMAINS, commands_topic, deadletters_topic, events_topic

COMPATIBILITY: Final = "BACKWARD_TRANSITIVE"
TIMEOUT_S: Final = 5.0
RETRIES: Final = 1
SCHEMAS_MAX: Final = 1_000
UNKNOWN_MS: Final = 60_000
UNKNOWN_MAX: Final = 1_000
NOT_FOUND: Final = 404
ASKED_MAX: Final = 100
"""Questions under way; further ones wait for their turn."""
REFUSED: Final = (409, 422)
"""What a registry answers when a schema is not compatible, or is none."""


class Registry:
    """A schema registry, as `codec.SchemaRegistry` wants it.

    Args:
        url: as `http://registry:8081`; may hold `user:password@`.
        now_ms: a clock for `UNKNOWN_MS`, in ms.

    Raises:
        ConfigError: the extra is not installed, or the address is none.
    """

    def __init__(self, url: str, *, now_ms: Callable[[], float] = lambda: time.monotonic() * 1_000) -> None:
        try:
            from confluent_kafka.schema_registry import SchemaRegistryClient  # noqa: PLC0415  the optional extra
        except ImportError as error:
            raise ConfigError(
                f"schema_registry_url is {url}, but the registry client is not installed ({error.name} is missing).",
                remedy="Install it: pip install 'accord[registry]'. Or unset ACCORD_SCHEMA_REGISTRY_URL.",
            ) from error
        self.url = url
        self._now_ms = now_ms
        self._unknown: dict[int, tuple[float, str]] = {}
        try:
            self._client: Any = SchemaRegistryClient(
                {"url": url, "timeout": TIMEOUT_S, "max.retries": RETRIES, "cache.capacity": SCHEMAS_MAX}
            )
        except ValueError as error:
            raise ConfigError(f"schema_registry_url: {error}", remedy="Write http://HOST:PORT.") from error

    def attach(self, prefix: str = "accord", *, blocking: bool = True) -> None:
        """Lets every codec of this process read Confluent framing.

        Args:
            blocking: False for readers that may not wait: a schema that is not here yet is asked for in a thread, and
                is `Unavailable` until then.
        """
        for _, codec in codecs(prefix):
            codec.registry = self if blocking else InBackground(self)

    def schema(self, schema_id: int) -> Any:
        """The parsed JSON of the schema with this id.

        Raises:
            LookupError: there is none, or it is not Avro.
            Unavailable: the registry does not answer.
        """
        until_ms, problem = self._unknown.get(schema_id, (0.0, ""))
        if self._now_ms() < until_ms:
            raise LookupError(problem)
        found = self._ask(lambda: self._client.get_schema(schema_id), f"schema {schema_id}")
        if found is None:
            raise self._missing(schema_id, f"{self.url} has no schema {schema_id}")
        if found.schema_type != "AVRO":
            raise self._missing(schema_id, f"schema {schema_id} is {found.schema_type}, not AVRO")
        try:
            return json.loads(found.schema_str)
        except ValueError:
            raise self._missing(schema_id, f"schema {schema_id} is not JSON") from None

    def register(self, prefix: str = "accord") -> dict[str, int]:
        """Puts today's schemas of every topic into the registry, or finds them there.

        Returns:
            The schema id by topic.

        Raises:
            ConfigError: the registry holds schemas under these subjects that today's cannot follow.
            Unavailable: the registry does not answer.
        """
        from confluent_kafka.schema_registry import Schema  # noqa: PLC0415  the optional extra

        ids: dict[str, int] = {}
        for topic, codec in codecs(prefix):
            subject = f"{topic}-value"
            schema = Schema(json.dumps(codec.schema), "AVRO")
            self._ask(partial(self._client.set_compatibility, subject, COMPATIBILITY), subject)
            schema_id = self._ask(partial(self._client.register_schema, subject, schema), subject)
            if schema_id is None:
                raise self._unavailable(subject, LookupError("it takes no schemas"))
            ids[topic] = int(schema_id)
        return ids

    def _ask(self, request: Callable[[], Any], about: str) -> Any:
        """The client's answer; None when the registry says that it has no such thing."""
        from confluent_kafka.schema_registry import SchemaRegistryError  # noqa: PLC0415  the optional extra

        try:
            return request()
        except SchemaRegistryError as error:
            if error.http_status_code == NOT_FOUND:
                return None
            if error.http_status_code in REFUSED:
                raise ConfigError(
                    f"{self.url} refuses {about}: {error.error_message}",
                    remedy="Another release or program owns this subject; use another topic prefix.",
                ) from error
            raise self._unavailable(about, error) from error
        except Exception as error:  # the client's HTTP library is its own affair; nothing it raises is a verdict
            raise self._unavailable(about, error) from error

    def _unavailable(self, about: str, error: Exception) -> Unavailable:
        return Unavailable(
            f"The schema registry at {self.url} did not answer for {about}: {error}",
            remedy="Start it, or correct ACCORD_SCHEMA_REGISTRY_URL.",
        )

    def _missing(self, schema_id: int, problem: str) -> LookupError:
        while len(self._unknown) >= UNKNOWN_MAX:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[schema_id] = (self._now_ms() + UNKNOWN_MS, problem)
        return LookupError(problem)


class InBackground:
    """A registry for an event loop: answers at once, with what it has heard so far.

    Args:
        registry: whom to ask.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._asked: dict[int, Future[Any]] = {}
        self._asking = ThreadPoolExecutor(1, "accord-registry")

    def schema(self, schema_id: int) -> Any:
        """The parsed JSON of the schema with this id.

        Raises:
            LookupError: there is none, or it is not Avro.
            Unavailable: nobody knows yet; ask again.
        """
        asked = self._asked.pop(schema_id, None)
        if asked is not None and asked.done():
            return asked.result()
        if asked is None and len(self._asked) < ASKED_MAX:
            asked = self._asking.submit(self._registry.schema, schema_id)
        if asked is not None:
            self._asked[schema_id] = asked
        raise Unavailable(f"Schema {schema_id} is being asked for at {self._registry.url}.")


def codecs(prefix: str = "accord") -> list[tuple[str, Codec]]:
    """Every topic with values of accord's own schemas, and its codec."""
    pairs: list[tuple[str, Codec]] = []
    for domain in DOMAINS:
        pairs.append((commands_topic(domain, prefix), commands_codec(domain)))
        pairs.append((events_topic(domain, prefix), events_codec(domain)))
    return [*pairs, (deadletters_topic(prefix), deadletters_codec())]
