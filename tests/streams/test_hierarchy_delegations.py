"""The hierarchy decider, branch by branch: delegations."""

from __future__ import annotations

import pytest
from accord.schemas.messages.hierarchy import (
    Authority,
    DelegateAuthority,
    DelegationKnown,
    DelegationRefused,
    DelegationsExpired,
    DelegationsRevoked,
    OrganisationDefined,
    RevocationRefused,
    RevokeDelegation,
)
from accord.schemas.messages.log import Tick
from accord.streams.hierarchy import bounds

from tests.streams.hierarchy_words import (
    BOB,
    CLEO,
    DAN,
    DEFINED,
    EVE,
    SPAN,
    T0,
    acme,
    asked,
    decide,
    decided,
    decider,
    delegate,
    given,
    granted,
    link,
    member,
    refused,
    request,
    requested,
)


def test_a_member_delegates_what_it_may_decide() -> None:
    d = link("bob", "eve", 800, T0 + 1_000)
    one = acme.when(delegate("bob", "eve", 800), T0).then(granted(d))
    assert decider.deadline_ms(one.state) == T0 + 1_000
    by = Authority("eve", "delegation", 800, (d,))
    one.when(decide("eve", 800), T0 + 999).then(decided(decide("eve", 800), by, 3, T0 + 999))
    one.when(decide("eve", 801), T0 + 999).then(refused(decide("eve", 801), "beyond_boundary"))
    one.when(decide("eve", 800), T0 + 1_000).then(
        DelegationsExpired(("bob-eve",)), refused(decide("eve", 800), "beyond_boundary")
    )
    c = request(800, ("eve",))
    one.when(c, T0).then(requested(c), asked("eve", by, 3))
    one.when(delegate("bob", "eve", 800, 9), T0 + 1).then(DelegationKnown("bob", "bob-eve"))
    one.when(delegate("bob", "eve", 801), T0 + 1).then(DelegationRefused("bob", "bob-eve", "exists"))
    given(DEFINED, granted(d), DelegationsExpired(("bob-eve",))).when(delegate("bob", "eve", 1), T0).then(
        granted(link("bob", "eve", 1, T0 + 1_000))
    )


@pytest.mark.parametrize(
    ("c", "reason"),
    [
        (delegate("bob", "eve", 1_001), "beyond_boundary"),
        (delegate("bob", "eve", 0, type="hire"), "beyond_boundary"),
        (delegate("eve", "dan", 0), "beyond_boundary"),
        (delegate("bob", "zoe", 1), "unknown_member"),
        (delegate("bob", "bob", 1), "own"),
        (delegate("owner", "eve", 1), "not_a_member"),
        (delegate("mallory", "mallory", 1), "not_a_member"),
    ],
    ids=range(7),
)
def test_what_cannot_be_delegated(c: DelegateAuthority, reason: str) -> None:
    acme.when(c, T0).then(DelegationRefused(c.agent, c.delegation, reason))


def test_a_chain_gives_no_more_and_lasts_no_longer_than_what_it_rests_on() -> None:
    first = link("ada", "eve", 5_000, T0 + 1_000)
    one = given(DEFINED, granted(first))
    one.when(delegate("eve", "dan", 5_001), T0 + 10).then(DelegationRefused("eve", "eve-dan", "beyond_boundary"))
    second = link("eve", "dan", 4_000, T0 + 1_000, "ada-eve")
    two = one.when(delegate("eve", "dan", 4_000, 5_000), T0 + 10).then(granted(second, T0 + 10))
    by = Authority("dan", "delegation", 4_000, (first, second))
    two.when(decide("dan", 4_000), T0 + 20).then(decided(decide("dan", 4_000), by, 3, T0 + 20))
    two.when(Tick(), T0 + 1_000).then(DelegationsExpired(("ada-eve", "eve-dan")))
    shorter = one.when(delegate("eve", "dan", 4_000, 50), T0 + 10)
    shorter.then(granted(link("eve", "dan", 4_000, T0 + 60, "ada-eve"), T0 + 10))


def test_a_narrowed_boundary_narrows_what_was_delegated() -> None:
    first, second = link("ada", "eve", 5_000, T0 + 1_000), link("eve", "dan", 4_000, T0 + 1_000, "ada-eve")
    less = (member("ada", None, spend=3_000), BOB, CLEO, DAN, EVE)
    now = given(DEFINED, granted(first), granted(second), OrganisationDefined("owner", less, SPAN, 2, T0 + 1))
    by = Authority("dan", "delegation", 3_000, (first, second))
    now.when(decide("dan", 3_000), T0 + 2).then(decided(decide("dan", 3_000), by, 3, T0 + 2, revision=2))
    now.when(decide("dan", 3_001), T0 + 2).then(refused(decide("dan", 3_001), "beyond_boundary"))
    now.when(delegate("eve", "bob", 3_001), T0 + 2).then(DelegationRefused("eve", "eve-bob", "beyond_boundary"))
    none = (member("ada", None, hire=5), member("bob", "ada"), CLEO.__class__("cleo", "ada", (), None, 1), EVE)
    gone = given(DEFINED, granted(first), OrganisationDefined("owner", none, SPAN, 2, T0 + 1))
    gone.when(decide("eve", 1), T0 + 2).then(refused(decide("eve", 1), "beyond_boundary"))


def test_the_delegation_that_lasts_longest_is_used() -> None:
    short = link("ada", "eve", 5_000, T0 + 10, delegation="short")
    long, small = (
        link("ada", "eve", 5_000, T0 + 99, delegation="long"),
        link("bob", "eve", 10, T0 + 500, delegation="small"),
    )
    one = given(DEFINED, granted(short), granted(small), granted(long))
    c = decide("eve", 4_000)
    one.when(c, T0).then(decided(c, Authority("eve", "delegation", 5_000, (long,)), 3))
    c = decide("eve", 10)
    one.when(c, T0).then(decided(c, Authority("eve", "delegation", 10, (small,)), 3))


def test_revoking_ends_the_whole_chain() -> None:
    chain = [
        link("ada", "eve", 5_000, T0 + 1_000),
        link("eve", "dan", 4_000, T0 + 1_000, "ada-eve"),
        link("dan", "cleo", 3_000, T0 + 1_000, "eve-dan"),
        link("bob", "eve", 9, T0 + 1_000),
    ]
    one = given(DEFINED, *map(granted, chain))
    for agent in ("ada", "owner"):
        one.when(RevokeDelegation(agent, "ada-eve", "done"), T0 + 1).then(
            DelegationsRevoked(agent, "done", ("ada-eve", "eve-dan", "dan-cleo"))
        )
    for agent in ("ada", "eve"):
        after = one.when(RevokeDelegation(agent, "eve-dan", ""), T0 + 1).then(
            DelegationsRevoked(agent, "", ("eve-dan", "dan-cleo"))
        )
    after.when(decide("cleo", 3_000), T0 + 2).then(refused(decide("cleo", 3_000), "beyond_boundary"))
    after.when(decide("eve", 5_000), T0 + 2).then(
        decided(decide("eve", 5_000), Authority("eve", "delegation", 5_000, (chain[0],)), 3, T0 + 2)
    )
    for agent in ("dan", "cleo", "bob", "mallory"):
        one.when(RevokeDelegation(agent, "eve-dan", ""), T0 + 1).then(
            RevocationRefused(agent, "eve-dan", "not_delegator")
        )
    one.when(RevokeDelegation("ada", "none", ""), T0 + 1).then(RevocationRefused("ada", "none", "unknown"))


def test_so_many_delegations_rest_on_each_other_and_are_there() -> None:
    names = [f"m{n}" for n in range(bounds.CHAIN_MAX + 2)]
    chain = [
        link(names[n], names[n + 1], 20_000 - n, T0 + 100, f"d{n - 1}" if n else None, delegation=f"d{n}", type="big")
        for n in range(bounds.CHAIN_MAX)
    ]
    top = (member("m0", None, big=20_000), *[member(name, "m0") for name in names[1:]])
    defined = OrganisationDefined("owner", top, len(names), 1, T0)
    more = delegate(names[-2], names[-1], 1, delegation="more", type="big")
    given(defined, *map(granted, chain)).when(more, T0).then(DelegationRefused(names[-2], "more", "chain"))
    more = delegate(names[-3], names[-1], 1, 100, delegation="more", type="big")
    last = link(names[-3], names[-1], 1, T0 + 100, chain[-2].delegation, delegation="more", type="big")
    given(defined, *map(granted, chain[:-1])).when(more, T0).then(granted(last))
    full = [granted(link("ada", "eve", 1, T0 + 100, delegation=f"d{n}")) for n in range(bounds.DELEGATIONS_MAX)]
    given(DEFINED, *full).when(delegate("ada", "eve", 1), T0).then(DelegationRefused("ada", "ada-eve", "full"))
