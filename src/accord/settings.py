"""Every setting, in one place.

An argument wins over the environment (`ACCORD_KAFKA__BOOTSTRAP_SERVERS`; `..._FILE` names a file that holds the
value, for secrets), that over `accord.toml` in the working directory (or `ACCORD_CONFIG`), that over the default.
Unknown keys are refused. Durations are whole milliseconds.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from tomllib import TOMLDecodeError
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from accord.errors import ConfigError
from accord.schemas.topics import DOMAINS, INBOX_PARTITIONS_DEFAULT, PARTITIONS_DEFAULT

Ms = Annotated[int, Field(strict=True, ge=0)]
"""A duration in ms. From the environment it is text, so it is checked as a whole number there, too."""


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(_Group):
    """Where the brokers are, and how to be let in. Given once, for librdkafka and aiokafka alike."""

    bootstrap_servers: str = ""
    """`host:port`, comma-separated. Empty: a running `accord dev`, else localhost:9092."""
    security_protocol: str = Field("PLAINTEXT", pattern="^(PLAINTEXT|SSL|SASL_PLAINTEXT|SASL_SSL)$")
    sasl_mechanism: str = Field("", pattern="^(|PLAIN|SCRAM-SHA-256|SCRAM-SHA-512)$")
    sasl_username: str = ""
    sasl_password: str = Field("", repr=False)
    ssl_ca_location: str = ""
    ssl_certificate_location: str = ""
    ssl_key_location: str = ""
    connect_timeout_ms: int = Field(10_000, ge=100)
    """How long to look for a broker before giving up."""
    fetch_wait_ms: int = Field(500, ge=1)
    """How long a broker may hold an empty fetch."""
    idempotent: bool = True
    """Producers number their records, so that a resend cannot double one. Off only for the embedded broker, where
    nothing is resent and it would cost the first record 0.5 s."""


class TopicSettings(_Group):
    """Names and shape of the topics. Partition counts never change once topics are made."""

    prefix: str = Field("accord", pattern=r"^[a-zA-Z0-9._-]{1,100}$")
    partitions: int = Field(PARTITIONS_DEFAULT, ge=1, le=10_000)
    inbox_partitions: int = Field(INBOX_PARTITIONS_DEFAULT, ge=1, le=10_000)
    """Of the inbox, if there is to be one."""
    replication: int = Field(-1, ge=-1)
    """Replicas of each topic; -1 is the broker's default. 3 in production."""


class LockSettings(_Group):
    """What a lock is asked for when the call does not say."""

    lease_ms: int = Field(30_000, ge=1_000)
    clock_step_ms: int = Field(500, ge=0)
    """Largest step of the brokers' clocks that a holder must survive: it stops believing this much early."""
    wait_warning_ms: int = Field(10_000, ge=100)
    """After this long without a grant, a waiting call says so in the log."""


class HealthSettings(_Group):
    """The heartbeat of an agent's process, on which its memberships, roles and some locks hang."""

    beat_ms: int = Field(800, ge=100, le=60_000)
    """How often it beats."""
    suspect_beats: int = Field(3, ge=2, le=60)
    """After so many missed beats it is suspected; nothing follows from that but the word."""
    fail_beats: int = Field(5, ge=3, le=60)
    """After so many it has failed: others get what hung on it. More than `suspect_beats`."""

    @model_validator(mode="after")
    def _suspected_first(self) -> Self:
        if self.fail_beats <= self.suspect_beats:
            raise ValueError(f"fail_beats={self.fail_beats}: more than suspect_beats={self.suspect_beats} is needed")
        return self


class ClientSettings(_Group):
    """How a client talks to the log."""

    answers: Literal["events", "inbox"] = "events"
    """Where it reads its answers: in the events topics, or in its agent's inbox, to which workers send them."""
    worker_wait_ms: int = Field(20_000, ge=100)
    """How long a command may stay undecided before `NoWorker`; longer than the failover of a worker."""
    worker_warning_ms: int = Field(5_000, ge=100)
    """After this long undecided, a warning."""
    unsent_max: int = Field(10_000, ge=1)
    """Most commands under way; beyond it `Overloaded`."""
    waiting_max: int = Field(0, ge=0)
    """A task is not begun while so many steps wait for an agent of its team: `Overloaded`. 0: no such bound; at 200,000
    further ones are not even queued, and asked for again every 5 s."""
    handler_retry_ms: int = Field(200, ge=1)
    """Wait before a failed handler is called again, times the number of the attempt."""


class WorkerSettings(_Group):
    """How a worker runs."""

    name: str = "worker"
    """The worker's lasting identity: unique among running workers, the same after a restart."""
    group: str = "workers"
    """Consumer group, behind the prefix."""
    domains: tuple[str, ...] = DOMAINS
    data_dir: Path = Path(".accord/worker")
    """Local copies of the tables; may be deleted while the worker is stopped."""
    session_timeout_ms: int = Field(10_000, ge=1_000)
    checkpoint_ms: int = Field(5_000, ge=10)
    """Longest time between checkpoints of a partition that changes."""
    checkpoint_decisions: int = Field(20_000, ge=1)
    """Most decisions between checkpoints of a partition."""
    unconfirmed_max: int = Field(10_000, ge=128)
    """Most decisions of a partition under way to the log; at the bound no more commands are taken."""
    accept_loss: tuple[str, ...] = ()
    """The operator's word to go on without lost commands, as positions: `locks.commands/3@977` is the last one lost."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65_535)
    """Where `GET /metrics` gives figures for Prometheus; 0: nowhere. Whoever reaches it may read them."""

    @field_validator("domains")
    @classmethod
    def _known(cls, domains: tuple[str, ...]) -> tuple[str, ...]:
        unknown = sorted(set(domains) - set(DOMAINS))
        if unknown or not domains:
            raise ValueError(f"unknown domains {unknown}; there are {', '.join(DOMAINS)}")
        return domains


class LlmSettings(_Group):
    """The model endpoint, OpenAI-compatible."""

    base_url: str = ""
    """Empty: the openai client's own default. For Azure the resource, as https://NAME.openai.azure.com."""
    api_key: str = Field("", repr=False)
    api_version: str = ""
    """Set it for an endpoint of Azure's style, as 2025-04-01-preview; empty: one of OpenAI's."""
    api: Literal["responses", "chat"] = "responses"
    """How it is asked: by the Responses API, or by chat completions, which every compatible endpoint has."""
    model: str = "gpt-4o"
    simple_model: str = "gpt-4o-mini"
    """What agents ask that say of themselves that they are simple."""
    max_tokens: int = Field(1_000, ge=1)
    timeout_ms: int = Field(60_000, ge=100)
    limit: str = Field("", max_length=255)
    """Name of the limit that every call takes, as `openai_api`: see `hub.limit`. Empty: none."""
    cache_ttl_ms: int = Field(3_600_000, ge=0, le=30 * 24 * 3_600_000)
    """How old an answer of the log may be that is taken in place of a call; 0: none is."""
    lease_ms: int = Field(30_000, ge=1_000)
    """How long those who wait for the same answer wait for a caller that gives no sign of life."""


class ArtifactsSettings(_Group):
    """Contents that are kept beside the log: inputs and results above 256 KiB, and what programs put there."""

    url: str = ""
    """Where: `file:///DIR`, or what fsspec reaches, as `s3://BUCKET/DIR`. Empty: `.accord/artifacts` in the working
    directory. The same for all programs."""
    bytes_max: int = Field(67_108_864, ge=1)
    """Of one; it is read into memory as a whole."""


class AgentsSettings(_Group):
    """The agents of the service, `accord work`; `lease_ms` is also that of the agents of a pattern."""

    model: str = "gpt-4"
    """What they ask; the endpoint and its key are those of `llm`."""
    research_max_tokens: int = Field(1_500, ge=1)
    """Of an answer to the researchers, as below."""
    writer_max_tokens: int = Field(2_000, ge=1)
    editor_max_tokens: int = Field(2_000, ge=1)
    slots: int = Field(8, ge=1)
    """Steps at a time, a process."""
    lease_ms: int = Field(10_000, ge=1_000)
    """After so long without a sign of life from a process, others get its steps."""
    metrics_host: str = "127.0.0.1"
    metrics_port: int = Field(0, ge=0, le=65_535)
    """As `worker.metrics_port`, of a process of `accord work`."""


SCOPES: Final = ("content", "research", "read")
"""What a token of the service may be for."""
TOKEN_CHARS_MIN: Final = 16


class ServiceSettings(_Group):
    """The service over HTTP: `accord serve`."""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    """0: a free one."""
    tokens: Mapping[str, tuple[str, ...]] = Field({}, repr=False)
    """Who sends one of them is let in (`Authorization: Bearer`) to what it is for: `content`, `research`, `read`. None:
    everybody is. In the environment JSON: `{"TOKEN": ["content", "read"]}`, or a list of tokens that are for all."""
    requests_per_minute: int = Field(600, ge=0)
    """Of each token, or address, in each process of the service; 0: no bound."""
    body_max_bytes: int = Field(65_536, ge=1, le=200_000)
    """Of a request."""
    waiting_max: int = Field(1_000, ge=0)
    """Nothing is begun while so many steps wait for an agent: 429, and when to ask again. 0: no bound."""
    research_deadline_ms: int = Field(30_000, ge=1)
    """By when the researchers must have answered."""
    health_wait_ms: int = Field(2_000, ge=100)
    """How long `GET /health` waits for a broker."""

    @field_validator("tokens", mode="before")
    @classmethod
    def _scoped(cls, tokens: Any) -> Any:
        """The tokens, each with its scopes. What is wrong is told by a token's place: they are secrets."""
        if isinstance(tokens, list | tuple):
            tokens = [(token, SCOPES) for token in tokens]
        elif isinstance(tokens, Mapping):
            tokens = list(tokens.items())
        else:
            raise ValueError("a list of tokens, or of each its scopes, is needed")
        for place, (token, scopes) in enumerate(tokens):
            if not isinstance(token, str) or len(token) < TOKEN_CHARS_MIN:
                raise ValueError(f"token {place} is no text of {TOKEN_CHARS_MIN} characters or more")
            known = isinstance(scopes, list | tuple) and all(scope in SCOPES for scope in scopes)
            if not known:
                raise ValueError(f"token {place}: its scopes are a list of {', '.join(SCOPES)}")
        return {token: tuple(scopes) for token, scopes in tokens}


class LogSettings(_Group):
    """What `accord worker`, `serve` and `work` write to stderr."""

    format: Literal["text", "json"] = "text"
    """Lines for people, or an object a line."""
    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is shown."""


class Settings(BaseSettings):
    """All settings. `Settings.load()` reads them and raises `ConfigError` naming what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix="ACCORD_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=False
    )

    agent: str = Field("", max_length=255)
    """Name of the agent; empty: made from host name and process id."""
    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    locks: LockSettings = LockSettings()
    health: HealthSettings = HealthSettings()
    client: ClientSettings = ClientSettings()
    worker: WorkerSettings = WorkerSettings()
    artifacts: ArtifactsSettings = ArtifactsSettings()
    llm: LlmSettings = LlmSettings()
    agents: AgentsSettings = AgentsSettings()
    service: ServiceSettings = ServiceSettings()
    log: LogSettings = LogSettings()
    schema_registry_url: str = ""
    """Empty: values carry Avro single-object framing and no registry is asked."""

    def secrets(self) -> tuple[str, ...]:
        """The values that nobody may read in a log: of the settings that have `repr=False`, and OPENAI_API_KEY."""
        found, groups = [os.environ.get("OPENAI_API_KEY", "")], [cast(BaseModel, self)]
        while groups:
            group = groups.pop()
            for name, field in type(group).model_fields.items():
                value = getattr(group, name)
                if isinstance(value, BaseModel):
                    groups.append(value)
                elif not field.repr:
                    found += [value] if isinstance(value, str) else value
        return tuple(filter(None, found))

    @classmethod
    def load(cls, **arguments: Any) -> Settings:
        """Reads the settings; `arguments` are by group, as `kafka={"bootstrap_servers": "..."}`.

        Raises:
            ConfigError: a value cannot be right or a key is unknown; names it and where it came from.
        """
        try:
            return cls(**arguments)
        except TOMLDecodeError as error:
            raise ConfigError(f"{os.environ.get('ACCORD_CONFIG', 'accord.toml')} is no TOML: {error}.") from None
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']} (got {e['input']!r})"
                if not any(secret in str(e["loc"]) for secret in ("password", "key", "'tokens'"))
                else f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}"
                for e in error.errors()
            )
            raise ConfigError(f"Settings: {problems}.", remedy="See: accord config show.") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        del env_settings, dotenv_settings, file_secret_settings
        file = Path(os.environ.get("ACCORD_CONFIG", "accord.toml"))
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls, file)


class _Environment(EnvSettingsSource):
    """The environment; of `ACCORD_KAFKA__SASL_PASSWORD_FILE=/run/secrets/kafka` the value is what the file holds."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        found: dict[str, str | None] = {}
        for name, value in super()._load_env_vars().items():
            if not (name.startswith("accord_") and name.endswith("_file") and value):
                found[name] = value
                continue
            try:
                found.setdefault(name.removesuffix("_file"), Path(value).read_text().rstrip("\n"))
            except OSError as error:
                raise ConfigError(f"{name.upper()}: {value} cannot be read: {error.strerror}.") from None
        return found
