"""accord's own log while agents and workers are simulated."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """It says nothing: who is killed and cut off has much to warn of, and here it is no news."""
    logger = logging.getLogger("accord")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(level)
