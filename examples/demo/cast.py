"""The agents' processes: started, listened to, struck, and ended by their ids."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from screen import Screen

HERE = Path(__file__).parent
STOP_S = 5.0
POLL_S = 0.05


class CastError(Exception):
    """An agent that did not do its part."""


class Cast:
    """The running agents; leaving the context ends those that are left.

    Args:
        environment: what every agent gets: where the broker is, the hotel, the model.
    """

    def __init__(self, screen: Screen, environment: Mapping[str, str]) -> None:
        self._screen = screen
        self._environment = {**os.environ, **environment}
        self._processes: dict[str, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._ready: dict[str, threading.Event] = {}
        self._killed: set[str] = set()

    def start(self, agent: str, program: str, *arguments: str) -> None:
        """Starts an agent as a process of its own; what it prints appears under its name."""
        self._processes[agent] = process = subprocess.Popen(
            [sys.executable, "-u", str(HERE / program), *arguments],
            env={**self._environment, "ACCORD_AGENT": agent},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,  # an interrupt at the terminal is for the demo, which then ends them
        )
        self._ready[agent] = threading.Event()
        reader = threading.Thread(target=self._listen, args=(agent, process), daemon=True)
        reader.start()
        self._readers.append(reader)

    def _listen(self, agent: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "ready":
                self._ready[agent].set()
            else:
                self._screen.says(agent, line.rstrip())
        self._ready[agent].set()  # it ended: nothing to wait for

    def wait_ready(self, timeout_s: float) -> None:
        """Waits until every agent takes part. Raises CastError if one does not."""
        deadline = time.monotonic() + timeout_s
        for agent, ready in self._ready.items():
            if not ready.wait(deadline - time.monotonic()):
                raise CastError(f"{agent} is not ready after {timeout_s:g} s.")
        self._check()

    def kill(self, agent: str) -> None:
        self._killed.add(agent)
        self._processes[agent].kill()

    def pause(self, agent: str) -> None:
        self._processes[agent].send_signal(signal.SIGSTOP)

    def resume(self, agent: str) -> None:
        self._processes[agent].send_signal(signal.SIGCONT)

    def wait(self, timeout_s: float) -> None:
        """Waits until all have ended. Raises CastError if one fails, or goes on after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while running := [agent for agent, process in self._processes.items() if process.poll() is None]:
            self._check()
            if time.monotonic() > deadline:
                raise CastError(f"{', '.join(running)} did not come to an end within {timeout_s:g} s.")
            time.sleep(POLL_S)
        for reader in self._readers:
            reader.join(STOP_S)
        self._check()

    def _check(self) -> None:
        """Raises CastError if an agent failed; one that was killed did not."""
        for agent, process in self._processes.items():
            if process.poll() not in (None, 0) and agent not in self._killed:
                for reader in self._readers:
                    reader.join(POLL_S)  # its last words
                raise CastError(f"{agent} failed, exit code {process.returncode}; it says why above.")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        impatient = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave one behind
        try:
            self._end([process for process in self._processes.values() if process.poll() is None])
        finally:
            signal.signal(signal.SIGINT, impatient)

    def _end(self, processes: list[subprocess.Popen[str]]) -> None:
        for process in processes:
            process.terminate()
            process.send_signal(signal.SIGCONT)  # a stopped one ends when it goes on
        deadline = time.monotonic() + STOP_S
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
