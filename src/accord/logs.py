"""Logging: structured lines through the standard library's loggers.

A library stays quiet: below WARNING nothing is seen unless the program says so, by `logging` as for any other library
(`logging.getLogger("accord").setLevel(logging.INFO)`), or by `show`, as the command line does.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog


def get(name: str) -> Any:
    """A structured logger on top of the standard library's of this name: `log.info("worker ready", name="w1")`."""
    return structlog.wrap_logger(
        logging.getLogger(name),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.processors.format_exc_info,
            structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0),
        ],
    )


def show(level: int = logging.INFO) -> None:
    """Shows accord's own log on stderr, a line an entry."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s"))
    root = logging.getLogger("accord")
    root.addHandler(handler)
    root.setLevel(level)
    root.propagate = False
    logging.getLogger("accord.streams.runtime").setLevel(logging.WARNING)  # Faust's life cycle, class by class
