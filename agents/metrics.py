"""What a hub counts: the operations of its agent, the steps it runs, model calls, requests of the service.

    hub.count_in(registry)          # before or after it opens; without it nothing is counted

Counted where it happens, at the end of each: beside an operation that waits for the log, two counters cost nothing.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

from accord.metrics import SECONDS, CollectorRegistry


class AgentMetrics:
    """The figures of one hub.

    Args:
        registry: where they are told. Raises ValueError: another hub counts there.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._operations = Histogram(
            "accord_operation_seconds",
            "Calls of agents from beginning to end: acquire, submit, emit, wait, handlers, coordinated functions.",
            ("operation", "status"),
            registry=registry,
            buckets=SECONDS,
        )
        self._steps_started = Counter(
            "accord_steps_started_total",
            "Steps that this process took up.",
            ("agent", "capability"),
            registry=registry,
        )
        self._steps = Histogram(
            "accord_step_seconds",
            "Runs of steps in this process, by their outcome: completed, failed, returned, ended (by the log).",
            ("agent", "capability", "outcome"),
            registry=registry,
            buckets=SECONDS,
        )
        self._running = Gauge(
            "accord_steps_running",
            "Steps that run in this process now.",
            ("agent", "capability"),
            registry=registry,
        )
        self._calls = Histogram(
            "accord_model_call_seconds",
            "Calls of models, tries included; answers that are reused are none.",
            ("model", "status"),
            registry=registry,
            buckets=SECONDS,
        )
        self._requests = Histogram(
            "accord_request_seconds",
            "Requests to the service.",
            ("route", "method", "code"),
            registry=registry,
            buckets=SECONDS,
        )

    def operated(self, operation: str, status: str, seconds: float) -> None:
        """An operation has ended; `status` is success or error."""
        self._operations.labels(operation, status).observe(seconds)

    def step_started(self, agent: str, capability: str) -> None:
        self._steps_started.labels(agent, capability).inc()
        self._running.labels(agent, capability).inc()

    def step_ended(self, agent: str, capability: str, outcome: str, seconds: float) -> None:
        self._running.labels(agent, capability).dec()
        self._steps.labels(agent, capability, outcome).observe(seconds)

    def model_called(self, model: str, status: str, seconds: float) -> None:
        self._calls.labels(model, status).observe(seconds)

    def answered(self, route: str, method: str, code: int, seconds: float) -> None:
        self._requests.labels(route, method, str(code)).observe(seconds)
