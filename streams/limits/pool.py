"""A pool of capacity as it stands: who holds it, who waits, how fast it may be used, who has had how much.

`streams.limits` has the rules; here are the state and the arithmetic that they need: whole numbers only.

- A bucket fills by its rate and holds a minute's worth. It is written down when something is taken, and computed from
  then on; who used more than was taken leaves it below zero, by a minute's worth at most.
- A share is an agent, or the agents of a role that has a weight of its own. Its `lead` is by how much it has had more
  than the share that waits and has had least, in parts of the whole divided by its weight (start-time fair queueing,
  Goyal, Vin and Cheng 1996; with rates, the larger part counts: dominant resource fairness, Ghodsi et al. 2011). Who
  comes new starts without a lead, and has no claim on what was served before.
- State has no cycles: gc=False spares the garbage collector going through every pool again and again.
"""

from __future__ import annotations

from typing import Final

import msgspec
from accord.streams.pins import Pin

MINUTE_MS: Final = 60_000
"""A bucket counts in parts of this size, so that it gains `rate` parts a ms."""
WHOLE: Final = 10**12
"""What the lead of a share of weight 1 grows by when it is granted the whole pool."""
LEAD_MAX: Final = 1_000 * WHOLE
"""More is forgiven: numbers stay bounded, whatever priorities bring a share."""
HOLDERS_MAX: Final = 200
"""Most who hold a part of one pool at a time, with those whose parts are kept for transactions."""
SHARES_MAX: Final = 100
"""Shares that a pool remembers; of more, the one that was served least recently is forgotten."""
PASSES_MAX: Final = 100
"""Who was passed so often by later ones of his own priority, as the first of his share, goes before the others."""


class Terms(msgspec.Struct, frozen=True, gc=False):
    """How a pool was configured; see `schemas/avro/limits/ConfigurePool.avsc`."""

    capacity: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    roles: tuple[str, ...] = ()
    shares: tuple[str, ...] = ()
    weights: tuple[int, ...] = ()

    def share_of(self, agent: str, role: str) -> str:
        """The share on which an agent's use goes: its own if it has a weight, else its role's, else its own."""
        return role if agent not in self.shares and role in self.shares else agent

    def weight(self, share: str) -> int:
        return self.weights[self.shares.index(share)] if share in self.shares else 1


UNCONFIGURED: Final = Terms(capacity=1)


class Bucket(msgspec.Struct, frozen=True, gc=False):
    """So much a minute. `level` is what it held at `at_ms`, in parts: 60,000 of them are one request or token."""

    rate: int
    level: int
    at_ms: int

    @property
    def full(self) -> int:
        return self.rate * MINUTE_MS

    def level_at(self, now_ms: int) -> int:
        return min(self.full, self.level + self.rate * (now_ms - self.at_ms))

    def has(self, count: int) -> int:
        """When, in ms, it holds `count`; never before it was last written down."""
        missing = count * MINUTE_MS - self.level
        return self.at_ms + max(0, -(-missing // self.rate))

    def without(self, count: int, now_ms: int) -> Bucket:
        """After `count` was taken out; a negative one is put back."""
        level = self.level_at(now_ms) - count * MINUTE_MS
        return Bucket(self.rate, max(-self.full, min(self.full, level)), now_ms)


def bucket(rate: int | None, before: Bucket | None, now_ms: int) -> Bucket | None:
    """The bucket of a rate that is set now: as full as the one before."""
    if rate is None:
        return None
    if before is None:
        return Bucket(rate, rate * MINUTE_MS, now_ms)
    return Bucket(rate, before.level_at(now_ms) * rate // before.rate, now_ms)


class Share(msgspec.Struct, frozen=True, gc=False):
    """What an agent, or the agents of a role, have had."""

    name: str
    lead: int
    grants: int
    amount: int


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Totals since the pool was configured. Utilisation is `amount_ms` by capacity and time."""

    since_ms: int = 0
    granted: int = 0
    """Grants, together of `granted_amount`."""
    granted_amount: int = 0
    denied: int = 0
    """Requests that were denied, or waited too long; together of `denied_amount`."""
    denied_amount: int = 0
    waited_ms: int = 0
    """Before their grants, all together."""
    ended: int = 0
    """Grants that were given back or expired: they held for `held_ms`, and `amount_ms` if each counts by its amount."""
    held_ms: int = 0
    amount_ms: int = 0
    tokens: int = 0


class Holder(msgspec.Struct, frozen=True, gc=False):
    request: str
    agent: str
    owner: str
    token: int
    amount: int
    exclusive: bool
    tokens: int
    lease_ms: int
    granted_ms: int
    deadline_ms: int


class Waiter(msgspec.Struct, frozen=True, gc=False):
    request: str
    agent: str
    owner: str
    role: str
    amount: int
    exclusive: bool
    priority: int
    """As asked for, and one more for each of a higher one who overtook it."""
    tokens: int
    lease_ms: int
    since_ms: int
    deadline_ms: int | None
    passed: int = 0
    """How many came later, had the same priority and were served before, while it was the first of its share."""


class Pool(msgspec.Struct, frozen=True, gc=False):
    """Holders and waiters stand in the order in which they came, shares in that in which they were served last.

    `kept` are holders that have gone, of whose grants nobody gets anything before the outcomes of the transactions that
    pin them; at most one for each of `pins`.
    """

    terms: Terms | None = None
    """None: nobody has configured it."""
    holders: tuple[Holder, ...] = ()
    waiters: tuple[Waiter, ...] = ()
    shares: tuple[Share, ...] = ()
    requests: Bucket | None = None
    tokens: Bucket | None = None
    paused_until_ms: int | None = None
    usage: Usage = Usage()
    pins: tuple[Pin, ...] = ()
    kept: tuple[Holder, ...] = ()

    @property
    def capacity(self) -> int:
        return (self.terms or UNCONFIGURED).capacity

    @property
    def in_use(self) -> int:
        """How much is held or kept; all of it by one that is exclusive. More than the capacity, if that was made
        smaller."""
        return self.total((*self.kept, *self.holders) if self.kept else self.holders)

    def total(self, holders: tuple[Holder, ...]) -> int:
        """How much these have of it together."""
        if holders and holders[0].exclusive:
            return self.needs(holders[0])
        return sum([holder.amount for holder in holders])

    def needs(self, one: Holder | Waiter) -> int:
        return max(self.capacity, one.amount) if one.exclusive else one.amount

    def fits(self, waiter: Waiter) -> bool:
        """Whether there is room for one more who wants so much."""
        if not self.holders and not self.kept:
            return True
        return len(self.holders) + len(self.kept) < HOLDERS_MAX and self.in_use + self.needs(waiter) <= self.capacity

    def opens_ms(self, waiter: Waiter) -> int:
        """When rates and a pause let a request in, by the partition's clock, in ms."""
        opens_ms = self.paused_until_ms or 0
        if self.requests is not None:
            opens_ms = max(opens_ms, self.requests.has(1))
        if self.tokens is not None:
            opens_ms = max(opens_ms, self.tokens.has(waiter.tokens))
        return opens_ms

    def obstacle(self, waiter: Waiter, now_ms: int) -> str | None:
        """What keeps a request out whose turn it is; None: it may be granted."""
        if not self.fits(waiter):
            return "capacity"
        if self.paused_until_ms is not None:
            return "paused"
        return "rate" if self.opens_ms(waiter) > now_ms else None

    def without(self, holder: Holder) -> Pool:
        """After a holder has gone; what a transaction pins is kept."""
        holders = tuple([other for other in self.holders if other is not holder])
        if any(pin.is_for(holder) for pin in self.pins):
            return msgspec.structs.replace(self, holders=holders, kept=(*self.kept, holder))
        return msgspec.structs.replace(self, holders=holders)

    def pinned_by(self, pins: tuple[Pin, ...]) -> Pool:
        """Pinned by these transactions alone; what none of them pins is kept no more."""
        kept = tuple([holder for holder in self.kept if any(pin.is_for(holder) for pin in pins)])
        return msgspec.structs.replace(self, pins=pins, kept=kept)

    # -- whose turn it is

    def leads(self) -> dict[str, int]:
        return {share.name: share.lead for share in self.shares}

    def turns(self, waiters: tuple[Waiter, ...]) -> list[tuple[int, bool, int, int]]:
        """What the queue goes by, one for each waiter; the least is the next."""
        leads, terms = self.leads(), self.terms
        return [
            (
                -waiter.priority,
                waiter.passed < PASSES_MAX,
                leads.get(terms.share_of(waiter.agent, waiter.role), 0)
                if terms is not None and leads and waiter.passed < PASSES_MAX
                else 0,
                place,
            )
            for place, waiter in enumerate(waiters)
        ]

    def first(self) -> Waiter:
        """Whose turn it is."""
        if len(self.waiters) == 1:
            return self.waiters[0]
        return self.waiters[min(self.turns(self.waiters))[-1]]

    def served(self, share: str, amount: int, cost: int) -> tuple[Share, ...]:
        """The shares after one was granted something, with those who wait for comparison.

        Args:
            cost: the part of the whole that it was, in parts of `WHOLE`.
        """
        terms = self.terms or UNCONFIGURED
        leads = self.leads()
        waiting = {terms.share_of(waiter.agent, waiter.role) for waiter in self.waiters}
        least = min([leads.get(name, 0) for name in {share, *waiting}])
        others, mine = [], Share(share, 0, 0, 0)
        for one in self.shares:
            if one.name == share:
                mine = one
            else:
                others.append(Share(one.name, max(0, one.lead - least), one.grants, one.amount))
        lead = min(LEAD_MAX, mine.lead - least + -(-cost // terms.weight(share)))
        others.append(Share(share, lead, mine.grants + 1, mine.amount + amount))
        return tuple(others[-SHARES_MAX:])
