"""The workflow that `temporal.py` replays. Temporal finds types by name in a module, so this one imports it."""

from temporalio import workflow


@workflow.defn(name="Lock")
class Lock:
    """Who holds it, and under which token. It ends after a number of signals."""

    def __init__(self) -> None:
        self.holder, self.token, self.signals = "", 0, 0

    @workflow.run
    async def run(self, signals: int) -> int:
        await workflow.wait_condition(lambda: self.signals == signals)
        return self.token

    @workflow.signal
    def grant(self, request: str, agent: str, owner: str, token: int, lease_ms: int, deadline_ms: int) -> None:
        self.holder, self.token = agent, token
        self.signals += 1

    @workflow.signal
    def release(self, agent: str, token: int) -> None:
        self.holder = ""
        self.signals += 1
