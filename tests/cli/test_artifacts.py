"""`accord artifacts`: what lies beside the log, what nothing names, and its end."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from accord.agents.tasks.graph import TaskGraph

from accord import sync
from accord.embedded import Embedded
from accord.settings import Settings
from tests.cli.support import Ran

OLD_S = 2 * 3_600


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> Embedded:
    """One that programs in this directory find."""
    return Embedded(settings=Settings.load())


def test_what_nothing_names_is_pruned(
    embedded: Embedded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with embedded:
        monkeypatch.setenv("ACCORD_KAFKA__BOOTSTRAP_SERVERS", embedded.settings.kafka.bootstrap_servers)
        monkeypatch.setenv("ACCORD_TOPICS__PARTITIONS", str(embedded.settings.topics.partitions))
        monkeypatch.setenv("ACCORD_ARTIFACTS__URL", tmp_path.as_uri())
        hub = sync.Accord(agent="ada")
        hub.use(Settings.load(kafka=embedded.settings.kafka.model_dump()), embedded.timestamp_ms)
        graph = sync_graph()
        with hub, hub.work(graph):
            inner = hub.artifacts.put("named by what is named")
            outer = hub.artifacts.put(json.dumps({"chapter": inner.digest}))
            assert hub.submit(graph, {"book": outer}).result() == 300_000
            forgotten, young = hub.artifacts.put("nobody returned it"), hub.artifacts.put("it was put just now")
        files = {file.name: file for file in tmp_path.glob("*/*")}
        assert len(files) == 5
        names = {"inner": inner, "outer": outer, "forgotten": forgotten, "young": young}
        for name, artifact in names.items():
            if name != "young":
                at_s = time.time() - OLD_S
                os.utime(files[artifact.digest[7:]], (at_s, at_s))

        listed = {one["name"]: one["named"] for one in Ran(capsys, "artifacts", "list", "--json").objects}
        assert {name: listed[artifact.digest[7:]] for name, artifact in names.items()} == {
            "inner": True, "outer": True, "forgotten": False, "young": False,
        }  # fmt: skip
        assert "5 artifacts in file://" in Ran(capsys, "artifacts", "list").out

        shown = Ran(capsys, "artifacts", "prune")
        assert shown.code == 0
        assert shown.out.splitlines() == [
            f"would delete  {forgotten.digest[7:]}  18 bytes",
            "1 artifact of 5, 18 bytes. To delete them: --yes",
        ]
        assert len(list(tmp_path.glob("*/*"))) == 5
        (gone,) = Ran(capsys, "artifacts", "prune", "--yes", "--json").objects
        assert (gone["name"], gone["deleted"], gone["age_ms"] >= OLD_S * 1_000) == (forgotten.digest[7:], True, True)
        assert {file.name for file in tmp_path.glob("*/*")} == set(files) - {forgotten.digest[7:]}

        files[inner.digest[7:]].unlink()
        assert "3 artifacts in file://" in (told := Ran(capsys, "artifacts", "list").out)
        assert told.rstrip().endswith("; 1 more are named and missing")


def sync_graph() -> TaskGraph:
    graph = TaskGraph("book")
    graph.add("write", lambda: "x" * 300_000)
    graph.add("size", lambda step, write: len(write), after=["write"])
    return graph
