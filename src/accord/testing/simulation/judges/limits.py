"""Pools of capacity: never more than there is, who is exclusive is alone, tokens grow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from accord.schemas.messages.limits import CapacityGranted, CapacityReleased, LeaseExpired, LeaseRenewed, PoolConfigured
from accord.testing.simulation.judges.seen import Demand, Seen

if TYPE_CHECKING:
    from accord.testing.simulation.cluster import Cluster


@dataclass
class _Pool:
    capacity: int = 1
    grants: dict[tuple[int, str], CapacityGranted] = field(default_factory=dict)
    deadlines: dict[tuple[int, str], int] = field(default_factory=dict)
    last_token: int = 0


def judge(cluster: Cluster, seen: Sequence[Seen], demand: Demand) -> None:
    pools: dict[str, _Pool] = defaultdict(_Pool)
    for one in seen:
        pool, now_ms = pools[one.key], one.decision.now_ms
        for event in one.events:
            match event:
                case PoolConfigured(capacity=capacity):
                    pool.capacity = capacity
                case CapacityGranted(token=token, request=request):
                    pool.grants[token, request], pool.deadlines[token, request] = event, event.deadline_ms
                    in_use = sum(grant.amount for grant in pool.grants.values())
                    demand(in_use <= pool.capacity, f"{in_use} of {one.key} are granted, of {pool.capacity}")
                    alone = len(pool.grants) == 1 or all(grant.mode == "shared" for grant in pool.grants.values())
                    demand(alone, f"{request} of {one.key} is not alone")
                    demand(token >= pool.last_token, f"a token of {one.key} that does not grow")
                    demand(event.deadline_ms > now_ms, f"a grant of {one.key} that is over already")
                    pool.last_token = token
                case CapacityReleased(token=token, request=request):
                    demand((token, request) in pool.grants, f"{request} of {one.key} is released and not held")
                    del pool.grants[token, request]
                case LeaseRenewed(token=token, request=request, deadline_ms=deadline_ms):
                    demand(pool.deadlines.get((token, request), 0) > now_ms, f"{request} of {one.key} is renewed late")
                    pool.deadlines[token, request] = deadline_ms
                case LeaseExpired(token=token, request=request):
                    demand(pool.deadlines.get((token, request), now_ms + 1) <= now_ms, f"{request} expired too early")
                    del pool.grants[token, request]
                case _:
                    pass
