"""Forks against what they must equal: with no change the original, with another threshold or lease a direct run."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
from accord.replay.fork.fork import Fork
from accord.replay.fork.numbers import NOBODYS
from accord.replay.order import Where
from accord.replay.source import Source, open_source
from accord.replay.state import accepted
from accord.replay.verify import verify
from accord.schemas.messages.auctions import AnnounceAuction, PlaceBid, Weights
from accord.schemas.messages.locks import AcquireLock, ReleaseLock
from accord.schemas.messages.proposals import CastVote, Propose, Voter
from accord.schemas.messages.signals import EmitSignal
from accord.schemas.messages.state import Write
from accord.schemas.messages.transactions import BeginTransaction, ScopeChanges
from accord.schemas.messages.triggers import DeclareTrigger
from accord.schemas.position import Position
from accord.streams.chain import Decision
from accord.streams.domains import DOMAINS
from accord.streams.locks.decider import NameDecider
from accord.streams.triggers.pattern import encode
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.counts import examples
from tests.histories.busy import office, pools, victims
from tests.histories.payments import UNPAID, payments
from tests.histories.play import START_MS
from tests.histories.record import HERE, SOUND_NAMES
from tests.histories.town import Town
from tests.replay.test_causality import random_run

AGENTS = ("ada", "bob", "eve")
END_MS = 30_000


def records(source: Source) -> dict[Where, list[tuple[Any, ...]]]:
    """All of a log that is covered by hashes, and where it lies."""
    return {
        where: [
            *((one.offset, one.timestamp, one.key, one.value, dict(one.headers)) for one in commands(source, where)),
            *((one.offset, one.digest, one.value, one.trace) for one in accepted(source, *where)),
        ]
        for where in source.all_partitions()
    }


def commands(source: Source, where: Where) -> list[Any]:
    decided = max((one.cause for one in accepted(source, *where)), default=-1)
    low, _ = source.bounds(*where, commands=True)
    return [one for one in source.read(*where, low, commands=True) if one.offset <= decided]


def outcomes(source: Source, *domains: str) -> dict[Where, list[tuple[Any, ...]]]:
    """What was decided, when and where."""
    return {
        where: [(one.offset, one.cause, one.key, one.now_ms, one.value) for one in accepted(source, *where)]
        for where in source.all_partitions(domains)
    }


def assert_same(source: Source, at: Position | None = None) -> None:
    fork = Fork(source, at)
    found = fork.run()
    assert found.same and found.stopped is None and not found.outcomes and not found.agents and not found.commands
    assert found.recorded == found.forked
    assert fork.log is not None
    assert records(fork.log) == records(source)


def somewhere(source: Source, chance: Random) -> Position:
    where = chance.choice(source.all_partitions())
    decisions: list[Decision] = list(accepted(source, *where))
    return Position(*where, chance.choice(decisions).offset)


@pytest.mark.parametrize("name", SOUND_NAMES)
def test_every_history_is_the_same_without_a_change_wherever_it_is_cut(name: str) -> None:
    with open_source(HERE / f"{name}.accord") as source:
        chance = Random(name)
        for at in (None, somewhere(source, chance), somewhere(source, chance)):
            assert_same(source, at)


@pytest.mark.parametrize("make", [payments, pools, victims, office])
def test_every_domains_commands_are_the_same_without_a_change(make: Any) -> None:
    source = make()
    assert_same(source)
    assert_same(source, somewhere(source, Random(1)))


@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 40))
@examples(8)
def test_any_run_is_the_same_without_a_change(seed: int, agents: int, count: int) -> None:
    source = random_run(Random(seed), agents, count)
    assert_same(source, somewhere(source, Random(seed)))


# -- runs in which process managers send commands and deadlines pass


def town(seed: int, *, yes_least: int = 2, weight: int = 2, lease_ms: int = 1_003) -> Town:
    """Agents that do what they do whatever they are told. Times are even, leases odd: nothing comes at once."""
    made, chance = Town(locks=2, proposals=2, signals=2, triggers=1, auctions=2, transactions=1, state=2), Random(seed)
    made.at(2, "ada", "triggers", "unpaid", DeclareTrigger("ada", "unpaid", encode(UNPAID.definition)))
    voters = (Voter("ada", 1), Voter("bob", weight), Voter("eve", 1))
    for number in range(12):
        ms, agent, key = 20 * chance.randrange(1, 400), chance.choice(AGENTS), f"k{chance.randrange(3)}"
        match chance.randrange(5):
            case 0:
                proposed = Propose("ada", "lunch", voters, yes_least, 4, None, chance.choice((501, 2_001)), 9_001, ())
                made.at(ms, "ada", "proposals", f"p{number}", proposed)
                for voter in chance.sample(("bob", "eve"), chance.randrange(3)):
                    vote = CastVote(voter, chance.choice(("yes", "no")), "")
                    made.at(ms + 20 * chance.randrange(1, 60), voter, "proposals", f"p{number}", vote)
            case 1:
                asked = AcquireLock(agent, f"{agent}/{number}", lease_ms, chance.choice((None, 0, 1_501)))
                request = made.at(ms, agent, "locks", key, asked)
                after_ms = ms + 20 * chance.randrange(1, 100)
                made.at(after_ms, agent, "locks", key, lambda t, a=agent, r=request: ReleaseLock(a, t.token(r)))
            case 2:
                name, order = chance.choice((("ordered", 1), ("ordered", 2), ("paid", 1)))
                made.at(ms, agent, "signals", name, EmitSignal(agent, f'{{"order": {order}}}', ()))
            case 3:
                terms = AnnounceAuction(
                    "ada", "work", ("bob", "eve"), (), None, Weights(400_000, 300_000, 300_000), 0, None, 601, 1_001,
                    5_001, 9_001, (),
                )  # fmt: skip
                made.at(ms, "ada", "auctions", f"a{number}", terms)
                for bidder in ("bob", "eve"):
                    bid = PlaceBid(bidder, bidder, chance.randrange(1, 90) * 10**6, 60_000, 900_000, 0, ())
                    made.at(ms + 20 * chance.randrange(1, 40), bidder, "auctions", f"a{number}", bid)
            case _:
                parts = tuple(
                    ScopeChanges(scope, "serializable", None, (), (), (Write("k", "put", str(number)),))
                    for scope in chance.sample(("s1", "s2", "s3"), 2)
                )
                begun = BeginTransaction(agent, ("ada",), parts, True, 3_001, 9_001)
                made.at(ms, agent, "transactions", f"t{number}", begun)
    return made.run(END_MS)


def rest_of(source: Town) -> int:
    """How long time passed after the last decision."""
    return START_MS + END_MS - max(one.now_ms for where in source.all_partitions() for one in accepted(source, *where))


@given(st.integers(0, 2**32))
@examples(8)
def test_a_town_is_the_same_without_a_change(seed: int) -> None:
    source = town(seed)
    assert verify(source).ok
    assert_same(source, somewhere(source, Random(seed)))


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 3))
@examples(8)
def test_with_another_threshold_and_weight_it_is_the_direct_run_with_these(seed: int, least: int, weight: int) -> None:
    source, direct = town(seed), town(seed, yes_least=least, weight=weight)
    change = f"proposals Propose threshold_numerator={least} voters[1].weight={weight}"
    assume(any(one.key.startswith(b"p") for where in source.all_partitions(("proposals",))
               for one in accepted(source, *where)))  # fmt: skip
    fork = Fork(source, change=[change])
    fork.run(run_on_ms=rest_of(source))
    assert fork.log is not None
    assert outcomes(fork.log) == outcomes(direct)
    assert verify(fork.log).ok


@given(st.integers(0, 2**32), st.sampled_from((1_005, 1_503, 4_007, 20_001)))
@examples(8)
def test_with_another_lease_it_is_the_direct_run_with_that(seed: int, lease_ms: int) -> None:
    """Leases end at other times, waits are over or not, and whoever releases names the token that it was granted."""
    source, direct = town(seed), town(seed, lease_ms=lease_ms)
    assume(source.named)
    # Who had not been granted anything in the record has no token there that could be taken for one.
    assume(not any(t == NOBODYS != direct.named[r] for r, t in source.named.items()))
    fork = Fork(source, change=[f"locks AcquireLock lease_ms={lease_ms}"])
    fork.run(run_on_ms=rest_of(source))
    assert fork.log is not None
    assert outcomes(fork.log) == outcomes(direct)
    assert verify(fork.log).ok


class HalfLeases(NameDecider):
    """Other rules: half the lease."""

    def decide(self, state: Any, command: Any, at: Any) -> Any:
        if isinstance(command, AcquireLock):
            command = AcquireLock(command.agent, command.owner, command.lease_ms // 2, command.wait_ms)
        return super().decide(state, command, at)


@given(st.integers(0, 2**32))
@examples(5)
def test_with_other_rules_it_is_the_direct_run_of_what_they_do(seed: int) -> None:
    source, direct = town(seed, lease_ms=4_006), town(seed, lease_ms=2_003)
    assume(not any(t == NOBODYS != direct.named[r] for r, t in source.named.items()))
    fork = Fork(source, change=[f"decider locks={__name__}:HalfLeases"])
    fork.run(run_on_ms=rest_of(source))
    assert fork.log is not None
    assert outcomes(fork.log) == outcomes(direct)


@given(st.integers(0, 2**32))
@examples(5)
def test_under_another_version_of_the_rules_it_is_the_direct_run_under_that(seed: int) -> None:
    """The direct run's partitions are opened under version 2; the fork's are, from right behind their opening on."""
    known = DOMAINS["locks"]
    source, old = town(seed, lease_ms=4_006), town(seed, lease_ms=2_003)
    assume(not any(t == NOBODYS != old.named[r] for r, t in source.named.items()))
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(DOMAINS, "locks", known._replace(versions={**known.versions, 2: HalfLeases()}))
        direct = town(seed, lease_ms=4_006)
        fork = Fork(source, change=["decider locks=2"])
        fork.run(run_on_ms=rest_of(source))
        assert fork.log is not None
        assert behind_opening(fork.log) == behind_opening(direct)
        assert {divergence.kind for divergence in verify(fork.log).divergences} <= {"rules"}, "no switch is on its log"


def behind_opening(source: Source) -> dict[Where, list[tuple[Any, ...]]]:
    """What was decided, when, where and by which version, but for the opening of partitions."""
    decisions = {where: list(accepted(source, *where))[1:] for where in source.all_partitions()}
    return {
        where: [(one.offset, one.cause, one.key, one.now_ms, one.rules, one.value) for one in found]
        for where, found in decisions.items()
    }


def test_the_original_is_never_touched(tmp_path: Path) -> None:
    made = town(7)
    made.save(tmp_path / "town.accord")
    before = {file.name: file.read_bytes() for file in (tmp_path / "town.accord").iterdir()}
    with open_source(tmp_path / "town.accord") as source:
        Fork(source, change=["locks AcquireLock lease_ms=9000"]).run(save=tmp_path / "fork.accord")
    assert {file.name: file.read_bytes() for file in (tmp_path / "town.accord").iterdir()} == before
    with open_source(tmp_path / "fork.accord") as saved:
        assert verify(saved).ok


def test_without_a_change_the_archive_is_the_same_to_the_byte(tmp_path: Path) -> None:
    town(7).save(tmp_path / "town.accord")
    with open_source(tmp_path / "town.accord") as source:
        Fork(source).run(save=tmp_path / "fork.accord")
    for file in (tmp_path / "town.accord").glob("*.avro"):
        assert file.read_bytes() == (tmp_path / "fork.accord" / file.name).read_bytes(), file.name
