"""A short soak of some kinds on a real Kafka. `python -m tests.soak` is the long one."""

from __future__ import annotations

import asyncio

import pytest

from tests.counts import only_long
from tests.soak.kinds import kinds
from tests.soak.soak import soak

OPERATIONS = 400
SOME = ("lock", "condition", "signal", "transaction", "task")


@only_long  # a run of its own tells more; this one shows that it works
@pytest.mark.timeout(600)
def test_threads_handles_and_rows_stay_as_they_are() -> None:
    chosen = [kind for kind in kinds() if kind.name in SOME]
    figures = asyncio.run(soak(chosen, OPERATIONS, print, fill=False, rounds=2))
    last = {one.kind: one for one in figures}  # of its rounds
    assert list(last) == list(SOME)
    # So few operations say nothing of memory.
    assert [told for one in last.values() for told in one.grown if "memory" not in told] == []
