"""A short soak of some kinds on a real Kafka. `python -m tests.soak` is the long one."""

from __future__ import annotations

import asyncio

import pytest

from tests.counts import only_long
from tests.soak.kinds import kinds
from tests.soak.soak import soak

OPERATIONS = 400
SOME = ("lock", "task")


@only_long  # a run of its own tells more; this one shows that it works
@pytest.mark.timeout(600)
def test_threads_handles_and_rows_stay_as_they_are() -> None:
    chosen = [kind for kind in kinds() if kind.name in SOME]
    figures = asyncio.run(soak(chosen, OPERATIONS, print, fill=False, rounds=1))
    assert [one.kind for one in figures] == list(SOME)
    # So few operations say nothing of memory, and a client's pool of threads may not have its size yet.
    unsure = ("memory", "client: threads")
    assert [told for one in figures for told in one.grown if not any(what in told for what in unsure)] == []
