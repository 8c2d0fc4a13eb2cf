"""Every benchmark runs, at a tiny size, and prints lines of the one shape. Nothing here is about how fast it is.

Those that start many processes run in the long run only.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import cycles, detection, readers, recovery, state_cost, tasks_cost, transfers, waiters, workflows
from benchmarks.clients import Figures, figures
from benchmarks.engines.engine import Engine
from benchmarks.peers import eventsourcing, temporal
from benchmarks.peers.peer import Address, Peer
from benchmarks.report import Goal, Sample, quantile, summary
from tests.counts import only_long

REPLAY = [
    *[f"replay{what}" for what in ("", "_verify", "_verify_processes", "_processes", "_state_at")],
    *["replay_memory_rebuild", "replay_memory_verify"],
    *(["replay_eventsourcing"] if eventsourcing.missing() is None else []),
    *(["replay_temporal"] if temporal.missing() is None else []),
]
KEYS = ["name", "unit", "value", "baseline_name", "baseline", "ratio", "goal", "holds", "runs"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "size", "names"),
    [
        ("acquire", 5, ["acquire", "acquire_sync", "acquire_hops", "acquire_tail"]),
        pytest.param("commands", 2_000, ["commands"], marks=only_long),
        pytest.param("replay", 2_000, REPLAY, marks=only_long),
        pytest.param(
            "recovery", 500, ["recovery_same", "recovery_same_without_data", "recovery_other"], marks=only_long
        ),
        pytest.param("distinct", 2_000, ["distinct_cost", "distinct_memory"], marks=only_long),
        pytest.param(
            "readers",
            2,
            [
                *[f"readers_{what}_{clients}" for what in ("records", "bytes", "cpu") for clients in (2, 4)],
                "readers_growth_inbox",
                "readers_growth_events",
                "readers_worker",
            ],
            marks=only_long,
        ),
        pytest.param("waiters", 50, [f"waiters_{name}" for name in (*waiters.KINDS, "worker")], marks=only_long),
        pytest.param("tasks_cost", 15, [f"tasks_{name}" for name in tasks_cost.KINDS], marks=only_long),
        pytest.param("triggers", 50, ["triggers_keys", "triggers_match"], marks=only_long),
        pytest.param("flows", 3_000, ["flows_fold", "flows_log"], marks=only_long),
        pytest.param("state_cost", 300, [f"state_{kind}" for kind in state_cost.KINDS], marks=only_long),
        pytest.param("deadlocks", 1, ["deadlock_told", "deadlock_told_last"], marks=only_long),
        pytest.param(
            "detection",
            3,
            ["detection", "detection_slow", "detection_taken", "detection_true", "detection_records"],
            marks=only_long,
        ),
        ("conflicts", 5, [f"conflicts_{what}" for what in ("precision", "recall", "decision_among_5")]),
    ],
)
def test_a_benchmark_prints_its_lines(
    accord_kafka: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    name: str, size: int, names: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(recovery, "SESSION_MS", 3_000)
    monkeypatch.setattr(readers, "CLIENTS", (2, 4))
    monkeypatch.setattr(readers, "INBOXES", 16)
    monkeypatch.setattr(readers, "WORKER_COMMANDS", 500)
    monkeypatch.setattr(waiters, "COMMANDS", 3_000)
    monkeypatch.setattr(tasks_cost, "SAMPLES", 50)
    monkeypatch.setattr(detection, "PROCESSES", 2)
    monkeypatch.setattr(detection, "AGENTS", 2)
    status = command.main([name, "--bootstrap", accord_kafka, "--runs", "1", "--size", str(size)])
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == names
    for line in lines:
        assert list(line) == KEYS
        assert line["value"] > 0 and line["baseline"] > 0 and line["ratio"] > 0
        assert line["runs"] == 1
    assert status == any(line["holds"] is False for line in lines)


@pytest.mark.timeout(300)
@only_long
def test_cycles_without_peers_tells_accords_own_figures(
    accord_kafka: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    command.main(["cycles", "--bootstrap", accord_kafka, "--runs", "1", "--size", "1"])
    printed = capsys.readouterr()
    lines = {line["name"]: line for line in map(json.loads, printed.out.splitlines())}
    assert [name for name in lines if "inbox" not in name] == [
        "cycles_one_tail", "cycles_many_tail", "cycles_many", "cycles_hot_tail", "cycles_hot", "cycles_hot_fair",
    ]  # fmt: skip
    assert {"cycles_one_inbox", "cycles_many_inbox", "cycles_hot_inbox"} <= set(lines)
    assert all(line["value"] > 0 for line in lines.values())
    assert lines["cycles_one_tail"]["value"] >= lines["cycles_one_tail"]["baseline"]
    assert 0 < lines["cycles_hot_fair"]["value"] <= lines["cycles_hot_fair"]["baseline"] <= 1
    for peer in cycles.PEERS:
        assert f"{peer.name}: left_out=no " in printed.err


def test_cycles_compares_each_workload_with_a_peers_of_the_same_run() -> None:
    mine: cycles.Found = {w: [Figures(200.0, 2.0, 9.0, 1.0, 1.0)] for w in cycles.WORKLOADS}
    theirs: cycles.Found = {w: [Figures(100.0, 4.0, 3.0, 0.5, 0.9)] for w in cycles.WORKLOADS}
    found = {line.name: line for line in cycles.beside("etcd", mine, theirs)}
    assert [found[f"cycles_{w.name}_etcd"].holds for w in cycles.WORKLOADS] == [True, True, True]
    assert found["cycles_hot_etcd_p50"].ratio == 0.5 and found["cycles_hot_etcd_p99"].ratio == 3.0
    assert found["cycles_hot_etcd_fair"].ratio == 2.0
    even = {line.name: line.holds for line in cycles.beside("etcd", mine, mine)}
    assert (even["cycles_one_etcd"], even["cycles_many_etcd"], even["cycles_hot_etcd"]) == (True, False, False)
    assert {line.holds for line in cycles.beside("redis", mine, mine)} == {None, False}


@pytest.mark.parametrize("peer", cycles.PEERS, ids=lambda peer: peer.name)
def test_a_peer_that_is_installed_serves_cycles(peer: Peer) -> None:
    if lack := peer.lacking():
        pytest.skip(lack)
    with peer.serve() as address, peer.client(address, 0) as first, peer.client(address, 1) as second:
        for cycle in (first, second, first):  # who does not release leaves the next one waiting
            began = time.perf_counter()
            assert began < cycle("room") < time.perf_counter()


@pytest.mark.timeout(300)
@only_long
def test_transfers_without_a_peer_tell_accords_own_figures(
    accord_kafka: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(transfers, "CLIENTS", 2)
    assert command.main(["transfers", "--bootstrap", accord_kafka, "--runs", "1", "--size", "1"]) == 0
    printed = capsys.readouterr()
    lines = {line["name"]: line for line in map(json.loads, printed.out.splitlines())}
    assert list(lines) == [
        f"transfers_{kind}_{workload.name}{field}"
        for kind in ("one_scope", "two_scopes") for workload in transfers.WORKLOADS for field in ("", "_p50")
    ]  # fmt: skip
    assert all(line["value"] > 0 and line["baseline_name"] == "own, one client" for line in lines.values())
    assert "postgresql: left_out=no " in printed.err


def test_transfers_in_postgresql_keep_the_sum() -> None:
    peer = transfers.POSTGRESQL.peer
    if lack := peer.lacking():
        pytest.skip(lack)
    with peer.serve() as address, peer.client(address, 0) as first, peer.client(address, 1) as second:
        for cycle in (first, second, first):
            cycle("pair")
        assert transfers.POSTGRESQL.total(address) == 0


@pytest.mark.timeout(300)
@only_long
def test_workflows_without_other_engines_tells_accords_own_figures(
    accord_kafka: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    assert command.main(["workflows", "--bootstrap", accord_kafka, "--runs", "1", "--size", "1"]) == 0
    printed = capsys.readouterr()
    lines = {line["name"]: line for line in map(json.loads, printed.out.splitlines())}
    assert list(lines) == [
        f"workflows_{shape}_{field}" for shape in workflows.SHAPES for field in ("p50_ms", "p99_ms", "per_second")
    ]
    assert all(line["value"] > 0 and line["baseline_name"] == "accord, one partition" for line in lines.values())
    for engine in workflows.ENGINES:
        assert f"{engine.name}: left_out=no " in printed.err


def test_workflows_compares_each_shape_with_an_engines_of_the_same_run() -> None:
    mine = [dict.fromkeys(workflows.SHAPES, workflows.Figures(10.0, 20.0, 100.0))]
    theirs = [dict.fromkeys(workflows.SHAPES, workflows.Figures(5.0, 40.0, 50.0))]
    found = {line.name: line for line in workflows.beside("chain", mine, "restate", theirs)}
    assert {name: (line.ratio, line.holds) for name, line in found.items()} == {
        "workflows_chain_p50_ms": (2.0, False),
        "workflows_chain_p99_ms": (0.5, None),
        "workflows_chain_per_second": (2.0, True),
    }
    assert {line.holds for line in workflows.beside("fan", mine, "accord, one partition", theirs)} == {None}


@pytest.mark.parametrize("engine", workflows.ENGINES, ids=lambda engine: engine.name)
def test_an_engine_that_is_installed_runs_workflows(engine: Engine) -> None:
    if lack := engine.lacking():
        pytest.skip(lack)

    async def run(address: Address) -> list[int]:
        async with engine.workflows(address) as shapes:
            return [await shapes.chain(), await shapes.fan()]

    with engine.serve() as address:
        assert asyncio.run(run(address)) == list(workflows.SHAPES.values())


def test_what_clients_did_becomes_figures() -> None:
    found = figures([[0.001] * 30, [0.002] * 10], seconds=4)
    assert found == Figures(10.0, 1.0, 2.0, 1 / 3, pytest.approx(0.8))
    with pytest.raises(RuntimeError, match="nobody got a lock"):
        figures([[], []], seconds=1)


def test_medians_are_taken_over_runs_and_ratios_within_them() -> None:
    samples = [Sample(10.0, 5.0), Sample(30.0, 10.0), Sample(20.0, 20.0)]
    line = summary("x", "things/s", samples, "plain", Goal("ratio", ">=", 2.5))
    assert (line.value, line.baseline, line.ratio, line.holds, line.runs) == (20.0, 10.0, 2.0, False, 3)
    assert summary("x", "s", samples, "plain", Goal("value", "<=", 20)).holds is True
    assert summary("x", "s", samples, "plain").holds is None
    assert json.loads(line.json())["goal"] == "ratio >= 2.5"


def test_a_quantile_is_the_nearest_rank() -> None:
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 100.0
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
