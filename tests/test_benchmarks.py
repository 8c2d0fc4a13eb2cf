"""Every benchmark runs, at a tiny size, and prints lines of the one shape. Nothing here is about how fast it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import recovery
from benchmarks.report import Goal, Sample, quantile, summary

KEYS = ["name", "unit", "value", "baseline_name", "baseline", "ratio", "goal", "holds", "runs"]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "size", "names"),
    [
        ("acquire", 5, ["acquire", "acquire_sync", "acquire_hops", "acquire_tail"]),
        ("commands", 2_000, ["commands"]),
        ("replay", 2_000, ["replay"]),
        ("recovery", 500, ["recovery_same", "recovery_same_without_data", "recovery_other"]),
        ("distinct", 2_000, ["distinct_cost", "distinct_memory"]),
    ],
)
def test_a_benchmark_prints_its_lines(
    accord_kafka: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    name: str, size: int, names: list[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(recovery, "SESSION_MS", 3_000)
    status = command.main([name, "--bootstrap", accord_kafka, "--runs", "1", "--size", str(size)])
    lines: list[dict[str, Any]] = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["name"] for line in lines] == names
    for line in lines:
        assert list(line) == KEYS
        assert line["value"] > 0 and line["baseline"] > 0 and line["ratio"] > 0
        assert line["runs"] == 1
    assert status == any(line["holds"] is False for line in lines)


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
