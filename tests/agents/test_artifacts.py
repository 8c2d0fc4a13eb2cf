"""Artifacts: contents beside the log. Large inputs and results go there and come back; what is not there is named."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from accord.agents.artifacts.artifacts import BlockingArtifacts
from accord.agents.artifacts.store import Directory, Remote, Store, open_store
from accord.agents.client import Accord
from accord.agents.tasks.graph import Run, TaskGraph
from accord.replay.source import open_source
from accord.replay.timeline import Filter, timeline
from accord.schemas.messages.tasks import Artifact
from accord.streams.tasks.bounds import INPUT_BYTES_MAX

from accord import sync
from accord.embedded import Embedded
from accord.errors import (
    ArtifactAltered,
    ArtifactMissing,
    BadInput,
    ConfigError,
    TaskFailedError,
    TooLarge,
    Unavailable,
)
from accord.settings import ArtifactsSettings
from tests.agents.support import with_
from tests.agents.test_tasks import LEASE_MS, in_loop, outcome

MakeHub = Callable[..., Accord]
LARGE = INPUT_BYTES_MAX + 1


def place_of(embedded: Embedded) -> Path:
    return Path(embedded.settings.artifacts.url.removeprefix("file://"))


# -- the store


@pytest.fixture(params=["directory", "remote"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return open_store(tmp_path.as_uri() if request.param == "directory" else f"memory://{tmp_path.name}/here")


def test_a_file_is_written_read_listed_and_removed(store: Store) -> None:
    assert list(store.list()) == []
    for name, content in (("ab1", b"one"), ("cd2", b"two!"), ("ab1", b"one")):
        store.write(name, content)
    assert store.read("ab1") == b"one"
    assert [(file.name, file.size_bytes) for file in store.list()] == [("ab1", 3), ("cd2", 4)]
    store.remove("ab1")
    store.remove("ab1")
    with pytest.raises(FileNotFoundError):
        store.read("ab1")


def test_writing_again_makes_young_and_mends(tmp_path: Path) -> None:
    store = Directory(tmp_path)
    store.write("ab1", b"one")
    path = tmp_path / "ab" / "ab1"
    written = path.stat()
    store.write("ab1", b"one")
    again = path.stat()
    assert again.st_ino == written.st_ino and again.st_mtime_ns > written.st_mtime_ns
    path.write_bytes(b"two")
    store.write("ab1", b"one")
    assert path.read_bytes() == b"one"


def test_nobody_sees_half_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError("no space left")

    monkeypatch.setattr(Path, "replace", full)
    artifacts = BlockingArtifacts(ArtifactsSettings(url=tmp_path.as_uri()))
    with pytest.raises(Unavailable, match=r"cannot be written to file://.*: no space left"):
        artifacts.put(b"x")
    assert list(Directory(tmp_path).list()) == []


def test_many_write_the_same_at_once(tmp_path: Path) -> None:
    content, together = b"x" * 1_000_000, threading.Barrier(4)

    def write() -> None:
        together.wait()
        Directory(tmp_path).write("ab1", content)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [file.name for file in Directory(tmp_path).list()] == ["ab1"]
    assert Directory(tmp_path).read("ab1") == content


def test_an_address_that_cannot_be_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_store("").url == (tmp_path / ".accord" / "artifacts").as_uri()
    assert open_store("here/there").url == (tmp_path / "here" / "there").as_uri()
    assert isinstance(open_store("memory://a/b"), Remote)
    for url, problem in (
        ("file://a/b", "three slashes"),
        ("nowhere://a", "Protocol not known"),
        ("s3://bucket", "which is not installed"),
    ):
        with pytest.raises(ConfigError, match=problem):
            open_store(url)


# -- put and get


def test_what_was_put_comes_back_checked(tmp_path: Path) -> None:
    artifacts = BlockingArtifacts(ArtifactsSettings(url=tmp_path.as_uri(), bytes_max=1_000))
    text = artifacts.put("blå")
    assert text == Artifact("sha256:" + sha256("blå".encode()).hexdigest(), 4, "text/plain; charset=utf-8")
    assert artifacts.get(text) == "blå".encode()
    data = artifacts.put(b"\x00", media_type="image/png")
    assert (data.media_type, artifacts.get({"digest": data.digest, "size_bytes": 1, "media_type": "x"})) == (
        "image/png",
        b"\x00",
    )
    assert artifacts.put(b"").size_bytes == 0
    file = tmp_path / text.digest[7:9] / text.digest[7:]
    file.write_bytes(b"bla!")
    with pytest.raises(ArtifactAltered, match=f"{text.digest} .* was changed in {tmp_path.as_uri()}"):
        artifacts.get(text)
    file.unlink()
    with pytest.raises(ArtifactMissing, match=rf"{text.digest} .* is not in {tmp_path.as_uri()}. Is artifacts.url"):
        artifacts.get(text)


def test_what_cannot_be_put_or_got(tmp_path: Path) -> None:
    artifacts = BlockingArtifacts(ArtifactsSettings(url=tmp_path.as_uri(), bytes_max=10))
    artifacts.put(b"x" * 10)
    with pytest.raises(TooLarge, match=r"an artifact has 11 bytes; at most 10 are possible"):
        artifacts.put(b"x" * 11)
    with pytest.raises(TooLarge, match="has 11 bytes"):
        artifacts.get(Artifact("sha256:" + "0" * 64, 11, "text/plain"))
    wrong: Any = 3
    with pytest.raises(BadInput, match="text or bytes, not int"):
        artifacts.put(wrong)
    for none in ({"digest": "sha256:" + "0" * 64}, {"digest": "../../etc", "size_bytes": 1, "media_type": "x"}):
        with pytest.raises(BadInput, match="is no artifact"):
            artifacts.get(none)


# -- inputs and results


@in_loop
async def test_large_inputs_and_results_come_back_on_their_own(make_hub: MakeHub, embedded: Embedded) -> None:
    graph = TaskGraph("large", team="large")

    @graph.step
    def double(input: str) -> str:
        return input * 2

    @graph.step(after=[double])
    def count(input: str, double: str) -> dict[str, Any]:
        return {"sizes": [len(input), len(double)], "text": double[:LARGE]}

    text = "ä" * LARGE
    async with make_hub("ada") as hub, hub.work(graph, lease_ms=LEASE_MS):
        handle = await hub.submit(graph, text, key="large-1")
        result = await handle.result(wait_ms=20_000)
        assert result == {"sizes": [LARGE, 2 * LARGE], "text": text}
        again = await hub.submit(graph, text, key="large-1")
        assert await again.result() == result, "the same input is the same task"
        record = await handle.record()
        assert (record["input"], record["result"]) == (text, result)
        assert [len(step["result"]) for step in record["steps"]] == [2 * LARGE, 2]
        with open_source(embedded.settings) as log:
            about = Filter(key="large-1")
            (submitted,) = [event for event in timeline(log, about) if event.event == "TaskSubmitted"]
            completed = [event.data["result"] for event in timeline(log, about) if event.event == "StepCompleted"]
    said = f'"{text}"'.encode()
    assert submitted.data["input"] == {
        "digest": "sha256:" + sha256(said).hexdigest(),
        "size_bytes": len(said),
        "media_type": "application/json",
    }
    assert [one["size_bytes"] for one in completed] == [
        len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()) for value in (text * 2, result)
    ]


@in_loop
async def test_what_just_fits_stays_on_the_log(make_hub: MakeHub, embedded: Embedded) -> None:
    graph = TaskGraph("fits", team="fits")
    graph.add("size", lambda step, input: len(input))
    before = len(list(open_store(embedded.settings.artifacts.url).list()))
    async with make_hub("ada") as hub, hub.work(graph, lease_ms=LEASE_MS):
        assert await outcome(hub, graph, "x" * (INPUT_BYTES_MAX - 2)) == INPUT_BYTES_MAX - 2
        assert len(list(open_store(embedded.settings.artifacts.url).list())) == before
        assert await outcome(hub, graph, "x" * (INPUT_BYTES_MAX - 1)) == INPUT_BYTES_MAX - 1
        assert len(list(open_store(embedded.settings.artifacts.url).list())) == before + 1


@in_loop
async def test_an_artifact_that_is_lost_fails_who_needs_it_and_is_named(make_hub: MakeHub, embedded: Embedded) -> None:
    graph = TaskGraph("lost", team="lost")
    gate = threading.Event()
    graph.add("make", lambda: "y" * LARGE)
    graph.add("wait", lambda: gate.wait(20), after=["make"])
    graph.add("read", lambda step: len(step.inputs["make"]), after=["make", "wait"], retries=0)
    digest = sha256(f'"{"y" * LARGE}"'.encode()).hexdigest()
    async with make_hub("ada") as hub, hub.work(graph, lease_ms=LEASE_MS):
        handle = await hub.submit(graph)
        file = place_of(embedded) / digest[:2] / digest
        async with asyncio.timeout(20):
            while not (await handle.record())["steps"]:  # noqa: ASYNC110 (another process could do it)
                await asyncio.sleep(0.02)
        file.unlink()
        gate.set()
        with pytest.raises(TaskFailedError):
            await handle.result(wait_ms=20_000)
        with pytest.raises(ArtifactMissing, match=digest):
            await handle.record()
        file.write_bytes(b"something else")
        with pytest.raises(ArtifactAltered, match=digest):
            await handle.record()
        file.write_bytes(f'"{"y" * LARGE}"'.encode())
        (failed,) = (await handle.record())["failed_steps"]
    assert failed["name"] == "read" and f"the artifact sha256:{digest}" in failed["error"]


@in_loop
async def test_what_is_larger_than_an_artifact_may_be(make_hub: MakeHub, embedded: Embedded) -> None:
    graph = TaskGraph("huge", team="huge")
    graph.add("grow", lambda input: input * LARGE)
    hub = Accord(agent="ada")
    hub.use(with_(embedded.settings, "artifacts", bytes_max=LARGE), embedded.timestamp_ms)
    async with hub, hub.work(graph, lease_ms=LEASE_MS):
        with pytest.raises(TooLarge, match=f"at most {LARGE} are possible"):
            await hub.submit(graph, "x" * LARGE)
        handle = await hub.submit(graph, "x")
        with pytest.raises(TaskFailedError):
            await handle.result(wait_ms=20_000)
        (failed,) = (await handle.record())["failed_steps"]
    assert f"has {LARGE + 2} bytes; at most {LARGE} are possible" in failed["error"]


@in_loop
async def test_a_document_is_put_by_one_step_and_got_by_another(make_hub: MakeHub) -> None:
    graph = TaskGraph("document", team="document")
    async with make_hub("ada") as hub:

        @graph.step
        async def draw() -> dict[str, Any]:
            return {"picture": await hub.artifacts.put(b"\x89PNG", media_type="image/png")}

        @graph.step(after=[draw])
        async def look(step: Run) -> list[Any]:
            picture = step.inputs["draw"]["picture"]
            return [picture["media_type"], (await hub.artifacts.get(picture)).decode("latin-1")]

        async with hub.work(graph, lease_ms=LEASE_MS):
            assert await outcome(hub, graph) == ["image/png", "\x89PNG"]


def test_plain_programs_have_them_too() -> None:
    graph = TaskGraph("plain")
    graph.add("double", lambda input: input * 2)
    with sync.local() as hub, hub.work(graph):
        artifact = hub.artifacts.put("a document")
        assert hub.artifacts.get(artifact) == b"a document"
        assert hub.submit(graph, "x" * LARGE).result() == "x" * 2 * LARGE
