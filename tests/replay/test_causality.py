"""The causal order against what truly happened before what, which is noted or computed without it."""

from pathlib import Path
from random import Random

import pytest
from accord.replay.archive import Archive
from accord.replay.causality import Causality, causality
from accord.replay.source import open_source
from accord.schemas.clock import VectorClock
from accord.schemas.messages.locks import AcquireLock
from accord.schemas.messages.log import Tick
from hypothesis import given
from hypothesis import strategies as st

from tests.counts import examples
from tests.histories.crowd import Crowd
from tests.histories.record import HERE

ARCHIVES = sorted(HERE.glob("*.accord"))


def assert_true(graph: Causality, crowd: Crowd, *, complete: bool = True) -> None:
    """The graph has every step, and orders any two of them as they truly are; if not `complete`, it may miss orders."""
    truth = crowd.truth()
    nodes = {str(node.position): node for node in graph}
    assert set(nodes) == set(truth)
    for one in nodes.values():
        for other in nodes.values():
            is_before = str(one.position) in truth[str(other.position)]
            found = graph.happened_before(one, other)
            if found != is_before and (complete or found):
                raise AssertionError(f"{one.position} before {other.position}: found {found}, is {is_before}")


def random_run(chance: Random, agents: int, count: int, *, told_most: int = 3) -> Crowd:
    crowd = Crowd(locks=2, signals=2)
    decided: list[tuple[object, str, str]] = []
    for number in range(count):
        agent, key = f"a{chance.randrange(agents)}", f"k{chance.randrange(4)}"
        for _ in range(chance.randrange(told_most + 1)) if decided else ():
            crowd.tell(agent, *chance.choice(decided))  # type: ignore[arg-type]
        if chance.random() < 0.15 and decided:
            because, domain, of = chance.choice(decided)
            crowd.order(because, domain, of, Tick(), to_domain="locks", to_key=key)  # type: ignore[arg-type]
        elif chance.random() < 0.5:
            made = crowd.ask(agent, key, AcquireLock(agent, f"{agent}/{number}", 1_000, 0), told=False)
            decided.append((made, "locks", key))
        else:
            decided.append((crowd.emit(agent, key, told=False), "signals", key))
    return crowd


@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 40))
@examples(25)
def test_any_run_is_ordered_as_it_was(seed: int, agents: int, count: int) -> None:
    crowd = random_run(Random(seed), agents, count)
    assert_true(causality(crowd), crowd)


def test_clocks_that_lost_entries_are_followed_back() -> None:
    """More agents than a clock has room for. Each hears of one decision at a time, so nothing is lost on the way."""
    crowd = random_run(Random(3), 60, 220, told_most=1)
    graph = causality(crowd)
    assert any(node.is_full for node in graph), "no clock was full: the test shows nothing"
    direct = [(a, b) for a in graph for b in graph if graph.happened_before(a, b) and not b.knew(a)]
    assert direct, "every order stood in a clock: the test shows nothing"
    assert_true(graph, crowd)


def test_what_was_lost_from_clocks_is_never_made_up() -> None:
    crowd = random_run(Random(4), 60, 160, told_most=6)
    assert_true(causality(crowd), crowd, complete=False)


@pytest.mark.parametrize("path", ARCHIVES, ids=lambda path: path.stem)
def test_recorded_histories_are_ordered_as_their_records_say(path: Path) -> None:
    """By the closure of four kinds of edges, computed from the raw records: chain, cause, sender's order, clock."""
    with open_source(path) as source:
        graph = causality(source)
    edges, known = raw_edges(path)
    before: dict[str, set[str]] = {}

    def closed(position: str) -> set[str]:
        if position not in before:
            before[position] = set()
            for one in edges[position]:
                before[position] |= {one} | closed(one)
        return before[position]

    nodes = {str(node.position): node for node in graph}
    assert set(nodes) <= known and len(nodes) > 3
    for position, other in nodes.items():
        found = {name for name, one in nodes.items() if graph.happened_before(one, other)}
        assert found == closed(position) & set(nodes)


def raw_edges(path: Path) -> tuple[dict[str, set[str]], set[str]]:
    """For each record of an archive, by position, the records that it names as before it."""
    archive = Archive(path)
    own: dict[tuple[str, int], str] = {}
    steps: list[tuple[str, str, dict[str, int], set[str]]] = []
    for file in archive.manifest.files:
        _, domain, kind, _ = file.topic.split(".")
        previous = ""
        for record in archive.read(file.topic, file.partition):
            headers = dict(record.headers)
            commands = ".commands" if kind == "commands" else ""
            position = f"{domain}{commands}/{file.partition}@{record.offset}"
            try:
                entries = VectorClock.decode(headers.get("accord-clock", b"")).entries
            except ValueError:
                entries = {}
            if kind == "events":
                process, before = f"{domain}/{file.partition}", {previous} - {""}
                cause = int(headers["accord-cause"].split(b" ")[0])
                before |= {f"{domain}.commands/{file.partition}@{cause}"} if cause >= 0 else set()
                previous = position
            else:
                source = headers.get("ce_source", b"").decode(errors="replace")
                process, before = next((name for name in entries if name.startswith(f"{source}#")), ""), set()
            if process and (process in entries or kind == "events"):
                own.setdefault((process, entries.get(process, 0)), position)
            steps.append((position, process, entries, before))
    edges: dict[str, set[str]] = {}
    for position, process, entries, before in steps:
        named = {own.get((name, count - (name == process)), "") for name, count in entries.items()}
        edges[position] = {one for one in before | named if one and one != position}
    positions = {position for position, *_ in steps}
    return {position: edges[position] & positions for position in edges}, positions


def test_a_bounded_graph_says_that_it_is_cut() -> None:
    crowd = random_run(Random(5), 4, 1_600, told_most=1)
    whole, cut = causality(crowd), causality(crowd, records_max=0)
    assert not whole.is_cut and cut.is_cut and len(cut) < len(whole)
    late = max(whole, key=lambda node: node.lamport)
    assert cut.at(late.position) is not None
    around = causality(crowd, around=50, records_max=0)
    early = [node for node in whole if node.lamport <= 50]
    assert all(around.at(node.position) for node in early) and around.at(late.position) is None


def test_a_command_whose_envelope_was_refused_is_no_step() -> None:
    with open_source(HERE / "rejections.accord") as source:
        graph = causality(source)
    for node in graph:
        command = graph.command_of(node)
        assert command is None or node.knew(command)
