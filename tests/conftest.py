"""What every test shares: Hypothesis without a deadline, since the machine may be busy; `--rewrite` for transcripts."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

settings.register_profile("accord", deadline=None)
settings.register_profile("accord-long", deadline=None, max_examples=1_000)
settings.load_profile("accord-long" if os.environ.get("ACCORD_LONG") else "accord")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--rewrite",
        action="store_true",
        help="write what the transcripts in tests/streams bring today into their files",
    )
