"""How much is done: a little in the run that a person waits for, the full counts with `script/test --long`.

A test with more to do when there is time is marked `long`, one that only repeats on another broker or at another size
what a test beside it shows is marked `only_long`. Tests of Hypothesis are longer of themselves: their counts come from
`examples` or from the profile in `conftest.py`.
"""

from __future__ import annotations

import os
from typing import Any, Final

import pytest
from hypothesis import settings

LONG: Final = os.environ.get("ACCORD_LONG") == "1"
FULL: Final = 4
"""So many times the examples are tried in the long run."""

long = pytest.mark.long
only_long = pytest.mark.only_long


def examples(count: int, **more: Any) -> settings:
    """Settings with so many examples, and more of them in the long run.

    Args:
        more: further settings of Hypothesis.
    """
    return settings(max_examples=count * (FULL if LONG else 1), **more)
