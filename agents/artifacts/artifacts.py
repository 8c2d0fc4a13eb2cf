"""Artifacts for programs: contents are put beside the log, and named in it by checksum, size and media type.

    report = await hub.artifacts.put(pdf, media_type="application/pdf")     # an Artifact, to return from a step
    content = await hub.artifacts.get(report)

Rules that act here:
- A content is in the store before anything in the log names it. What a crash leaves in between is named by nobody, and
  is pruned.
- What is read is checked: by size and checksum it is what was put, or an error says which artifact is not.
- Inputs and results beyond 256 KiB go there and come back on their own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec
from accord.agents.artifacts.store import Store, open_store
from accord.schemas.messages.tasks import Artifact, Payload
from accord.schemas.structs import prepared
from accord.streams.tasks.bounds import DIGEST, INPUT_BYTES_MAX

from accord.errors import AccordError, ArtifactAltered, ArtifactMissing, BadInput, TooLarge, Unavailable
from accord.settings import ArtifactsSettings

if TYPE_CHECKING:
    from accord.agents.hub import Hub

JSON: Final = "application/json"
TEXT: Final = "text/plain; charset=utf-8"
BYTES: Final = "application/octet-stream"
ALGORITHM: Final = "sha256:"
_ARTIFACT: Final = prepared(Artifact)


class BlockingArtifacts:
    """The artifacts of a hub, for plain functions. The store is opened when it is first used."""

    def __init__(self, settings: ArtifactsSettings) -> None:
        self._settings = settings
        self._store: Store | None = None

    @property
    def store(self) -> Store:
        """Where they lie. Raises ConfigError: the setting cannot be right."""
        if self._store is None:
            self._store = open_store(self._settings.url)
        return self._store

    def put(self, content: bytes | str, *, media_type: str | None = None) -> Artifact:
        """Keeps a content; putting it again is the same artifact.

        Args:
            content: a text is kept in UTF-8.
            media_type: what it is, 1 to 200 bytes; None: `text/plain` or `application/octet-stream`.

        Raises:
            TooLarge: it has more than `artifacts.bytes_max` bytes.
            BadInput: it is neither text nor bytes.
            Unavailable: the store cannot be written.
        """
        if not isinstance(content, bytes | str):
            raise BadInput(f"an artifact is text or bytes, not {type(content).__name__}.")
        known = media_type or (TEXT if isinstance(content, str) else BYTES)
        data = content.encode() if isinstance(content, str) else content
        self._check_size("an artifact", len(data))
        name = hashlib.sha256(data).hexdigest()
        try:
            self.store.write(name, data)
        except AccordError:
            raise
        except Exception as error:  # drivers raise their own
            raise Unavailable(
                f"the artifact {ALGORITHM}{name} of {len(data)} bytes cannot be written to {self.store.url}: {error}."
            ) from error
        return Artifact(ALGORITHM + name, len(data), known)

    def get(self, artifact: Artifact | Mapping[str, Any]) -> bytes:
        """The content of an artifact, as it was put.

        Args:
            artifact: what `put` gave; as it comes out of a step's result, too: `{digest, size_bytes, media_type}`.

        Raises:
            ArtifactMissing: it is not in the store.
            ArtifactAltered: what is there has another checksum.
            TooLarge: it has more than `artifacts.bytes_max` bytes.
            BadInput: it is no artifact.
            Unavailable: the store cannot be read.
        """
        known = _artifact(artifact)
        self._check_size(f"the artifact {known.digest}", known.size_bytes)
        store, name = self.store, known.digest.removeprefix(ALGORITHM)
        try:
            data = store.read(name)
        except FileNotFoundError:
            raise ArtifactMissing(
                f"the artifact {known.digest} ({known.media_type}, {known.size_bytes} bytes) is not in {store.url}.",
                remedy="Is artifacts.url the same as where it was put? Else bring the file back from a backup.",
                key=known.digest,
            ) from None
        except Exception as error:
            raise Unavailable(f"the artifact {known.digest} cannot be read from {store.url}: {error}.") from error
        if hashlib.sha256(data).hexdigest() != name or len(data) != known.size_bytes:
            raise ArtifactAltered(
                f"the artifact {known.digest} ({known.size_bytes} bytes) was changed in {store.url}: what is there has "
                f"{len(data)} bytes and another checksum.",
                remedy=f"Bring the file {name} back from a backup; its checksum is its name.",
                key=known.digest,
            )
        return data

    def _check_size(self, what: str, size: int) -> None:
        if size > self._settings.bytes_max:
            raise TooLarge(
                f"{what} has {size} bytes; at most {self._settings.bytes_max} are possible.",
                remedy="Put it in parts, or raise artifacts.bytes_max.",
            )


class Artifacts:
    """The artifacts of an async hub."""

    def __init__(self, blocking: BlockingArtifacts) -> None:
        self._blocking = blocking

    async def put(self, content: bytes | str, *, media_type: str | None = None) -> Artifact:
        """As `BlockingArtifacts.put`, in a thread."""
        return await asyncio.to_thread(self._blocking.put, content, media_type=media_type)

    async def get(self, artifact: Artifact | Mapping[str, Any]) -> bytes:
        """As `BlockingArtifacts.get`, in a thread."""
        return await asyncio.to_thread(self._blocking.get, artifact)


def _artifact(given: Artifact | Mapping[str, Any]) -> Artifact:
    try:
        known = given if isinstance(given, Artifact) else msgspec.convert(given, _ARTIFACT)
    except msgspec.ValidationError as error:
        raise BadInput(f"{str(given)[:200]} is no artifact: {error}.") from None
    if not DIGEST.fullmatch(known.digest):
        raise BadInput(f"{known.digest[:80]!r} is no artifact's checksum: sha256: and 64 hexadecimal digits.")
    return known


# -- inputs and results


async def payload_of(hub: Hub, text: str, bytes_max: int = INPUT_BYTES_MAX) -> Payload:
    """JSON for the log: itself or, if it is too large for that, the artifact that holds it from now on.

    Args:
        bytes_max: that the log takes.

    Raises:
        TooLarge, Unavailable: as `BlockingArtifacts.put`.
    """
    if len(text) <= bytes_max // 4:  # a character has four bytes at most
        return text
    data = text.encode()
    if len(data) <= bytes_max:
        return text
    return await asyncio.to_thread(hub.blocking_artifacts.put, data, media_type=JSON)


async def value_of(hub: Hub, payload: Payload) -> Any:
    """What an input or a result is. Raises as `BlockingArtifacts.get`."""
    if isinstance(payload, str):
        return json.loads(payload)
    return json.loads(await asyncio.to_thread(hub.blocking_artifacts.get, payload))


def reference(payload: Payload) -> Any:
    """What an input or a result is or, of an artifact, where it lies: `{"artifact": {...}}`."""
    return json.loads(payload) if isinstance(payload, str) else {"artifact": msgspec.to_builtins(payload)}
