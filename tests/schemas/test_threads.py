"""Threads that begin to read at once: each class is known as a whole to all of them."""

from __future__ import annotations

import subprocess
import sys
from typing import Final

import pytest

PROGRAM: Final = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from accord.schemas.codec import events_codec
from accord.schemas.messages.transactions import Participant, TransactionDecided

THREADS = 10
sys.setswitchinterval(1e-6)
told = (TransactionDecided("ada", "committed", "", "", "", (), "", (Participant("state", "a"),) * 5, 1),)
data = events_codec("transactions").encode(told)
together = threading.Barrier(THREADS)

def read(_):
    together.wait()
    return events_codec("transactions").decode(data)

with ThreadPoolExecutor(THREADS) as threads:
    assert list(threads.map(read, range(THREADS))) == [told] * THREADS
"""


@pytest.mark.parametrize("number", range(3))
def test_connections_of_a_process_read_their_first_answers_at_once(number: int) -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
