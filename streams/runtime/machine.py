"""What a worker takes from the machine that it runs on, beside the log: the time that passes, and chance.

Neither decides anything. Both come from here, so that a worker can run where time and chance are made up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import NamedTuple

from uuid_utils import uuid7


def _uuid() -> str:
    return str(uuid7())


class Machine(NamedTuple):
    """`time_s` is monotonic, in s; `uniform` a number between two; `new_id` one that nobody else has."""

    time_s: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform
    new_id: Callable[[], str] = _uuid
