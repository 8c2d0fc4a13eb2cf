"""`pytest tests/streams --rewrite` writes what the transcripts bring today into their files; read the difference."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the transcripts' expected output anew")
