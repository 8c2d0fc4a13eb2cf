"""Processes of a fault run: workers and clients, hit by signals through their ids, gone when the run is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0

# Waits for the end of its input, which comes when the run closes it or dies, however it dies.
_WATCHDOG = 'read -r _; kill -KILL "$1"'


class Process:
    """A Python process.

    Args:
        name: what it is called in reports.
        arguments: after the interpreter's name; from its next start on, whatever they are then.
        ready: what it prints once it works.
        log: file that takes what it prints, appended to.
        environment: in addition to ours.
    """

    def __init__(self, name: str, arguments: list[str], ready: str, log: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.log = log
        self._ready = ready.encode()
        self.arguments = arguments
        # Settings come from the environment alone: no file of the working directory may add to them.
        self._environment = os.environ | {"ACCORD_CONFIG": os.devnull, "PYTHONUNBUFFERED": "1"} | environment
        self._process: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """While it is started."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        self._log_start = self.log_bytes
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._watchdog = subprocess.Popen(
            ["sh", "-c", _WATCHDOG, "sh", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def is_ready(self) -> bool:
        """Whether it has said so since its start."""
        return self._ready in self.printed()

    def wait_until_ready(self) -> None:
        """Waits for its word.

        Raises:
            RuntimeError: it ended, or took longer than `START_TIMEOUT_S`.
        """
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_ready:
            if not self.running:
                raise RuntimeError(f"{self.name} ended before it was ready:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} was not ready in {START_TIMEOUT_S} s:\n{self.last_words()}")
            time.sleep(0.05)

    def printed(self, since_bytes: int | None = None) -> bytes:
        """What it has printed since its start, or since its log had so many bytes."""
        with self.log.open("rb") as file:
            file.seek(self._log_start if since_bytes is None else since_bytes)
            return file.read()

    @property
    def log_bytes(self) -> int:
        """How long its log is now."""
        return self.log.stat().st_size if self.log.exists() else 0

    def last_words(self) -> str:
        return "\n".join(self.printed().decode(errors="replace").splitlines()[-30:])

    def kill(self) -> None:
        """kill -9. Does nothing if it has ended."""
        self._release()
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def ask_for_stacks(self) -> None:
        """SIGUSR1: a worker tells its log what it does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    def close_input(self) -> None:
        """Tells a client to finish."""
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.close()

    def ask_to_stop(self) -> None:
        """SIGTERM."""
        assert self._process is not None
        self._process.terminate()

    def terminate(self) -> int:
        """SIGTERM, then waits; returns the exit status."""
        self.ask_to_stop()
        return self.wait(STOP_TIMEOUT_S)

    def wait(self, timeout_s: float) -> int:
        """Waits for its end; returns the exit status.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        assert self._process is not None
        status = self._process.wait(timeout_s)
        self._release()
        return status

    def _release(self) -> None:
        """Ends the watchdog: it must never signal an id that is free again."""
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.communicate()
            self._watchdog = None
