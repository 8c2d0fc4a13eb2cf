"""Real smolagents agents with accord's tools, on a stand-in for their model: an invariant is kept, or seen to break.

smolagents is imported by the tests, not with the file: collecting thousands of tests must not wait for it.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from accord.agents.tasks.graph import TaskGraph
from accord.schemas.messages.state import ChangesCommitted, CommitRefused

import accord
from accord import sync
from accord.embedded import Embedded
from accord.testing.model_server import ModelServer

NAMES = ("ada", "bob", "cleo")
START = 20
AMOUNT = 15
"""Two transfers of it are more than an account has."""


def call(name: str, /, **arguments: Any) -> str:
    """What a model says to call a tool."""
    return json.dumps({"name": name, "arguments": arguments})


def seen(prompt: str) -> dict[str, Any]:
    """What a tool returned, as the model is shown it."""
    found = re.search(r"\{'ok'.*\}", prompt, re.DOTALL)
    assert found is not None, prompt
    returned: dict[str, Any] = importlib.import_module("ast").literal_eval(found.group())
    return returned


@pytest.fixture
def open_hub(embedded: Embedded) -> Iterator[Callable[[str], sync.Accord]]:
    """Opens a sync hub of an agent on the embedded broker."""
    with ExitStack() as stack:

        def opened(agent: str) -> sync.Accord:
            hub = sync.Accord(agent=agent)
            hub.use(embedded.settings, embedded.timestamp_ms)
            return stack.enter_context(hub)

        yield opened


class Transferring:
    """A stand-in for a model that wants to move money from one account to another, as long as there is enough.

    It decides by what it has read, and all of them have read before any of them writes: the worst that can happen.

    Args:
        writes: how it writes: the call of a tool, given what it has read and the balances that it wants.
    """

    def __init__(
        self, scope: str, source: str, target: str, together: threading.Barrier, writes: Callable[..., str | None]
    ) -> None:
        self._scope, self._source, self._target = scope, source, target
        self._together = together
        self._writes = writes
        self._left: list[str] = []
        self._first = True

    def __call__(self, prompt: str) -> str:
        if "what_to_do" in prompt:
            assert "Read it again" in seen(prompt)["what_to_do"]
            self._left = []
            return self._read()
        if "'keys'" not in prompt:
            if self._left:
                return self._left.pop(0)
            return call("final_answer", answer="moved") if "'version'" in prompt else self._read()
        if self._first:
            self._first = False
            self._together.wait(30)
        keys = seen(prompt)["keys"]
        if keys[self._source]["value"] < AMOUNT:
            return call("final_answer", answer="too little")
        balances = {
            self._source: keys[self._source]["value"] - AMOUNT,
            self._target: keys[self._target]["value"] + AMOUNT,
        }
        self._left = self._writes(self._scope, {key: read["version"] for key, read in keys.items()}, balances)
        return self._left.pop(0)

    def _read(self) -> str:
        return call("state_get", scope=self._scope, keys=[self._source, self._target])


def at_once(scope: str, read: dict[str, int], write: dict[str, int]) -> list[str]:
    return [call("state_transact", scope=scope, read=read, write=write)]


def one_by_one(scope: str, read: dict[str, int], write: dict[str, int]) -> list[str]:
    return [call("state_set", scope=scope, key=key, value=value) for key, value in write.items()]


def code_for(scope: str, source: str, target: str) -> str:
    """What a model writes that does the same in code."""
    return f"""Thought: I move the money, and begin again if others were faster.
<code>
answer = None
while answer is None:
    keys = state_get(scope="{scope}", keys=["{source}", "{target}"])["keys"]
    if keys["{source}"]["value"] < {AMOUNT}:
        answer = "too little"
    else:
        done = state_transact(
            scope="{scope}",
            read={{key: keys[key]["version"] for key in keys}},
            write={{
                "{source}": keys["{source}"]["value"] - {AMOUNT},
                "{target}": keys["{target}"]["value"] + {AMOUNT},
            }},
        )
        if done["ok"]:
            answer = "moved"
final_answer(answer)
</code>"""


def run_agent(kind: str, tools: list[Any], answer: Callable[[str], str], task: str, steps: int = 12) -> Any:
    """Runs a real agent of smolagents against a stand-in for its model, over HTTP."""
    smolagents = importlib.import_module("smolagents")
    with ModelServer(answer) as server:
        model = smolagents.OpenAIServerModel(model_id="stand-in", api_base=server.base_url, api_key="none")
        agent = getattr(smolagents, kind)(tools=tools, model=model, max_steps=steps, verbosity_level=0)
        return agent.run(task)


def transfers(open_hub: Callable[[str], sync.Accord], scope: str, writes: Any) -> tuple[list[str], dict[str, int]]:
    """Three agents take from one account, and one in code; what they say, and the balances in the end."""
    tools_for = importlib.import_module("accord.smolagents").tools_for
    hubs = {name: open_hub(name) for name in (*NAMES, "dan")}
    accounts = hubs["ada"].state(scope)
    for name in ("purse", *hubs):
        accounts.put(name, START)
    together = threading.Barrier(len(NAMES))

    def work(name: str) -> str:
        with tools_for(hubs[name]) as tools:
            if name == "dan":
                return str(run_agent("CodeAgent", tools, lambda _: code_for(scope, "dan", "purse"), "Move money."))
            answer = Transferring(scope, "purse", name, together, writes)
            return str(run_agent("ToolCallingAgent", tools, answer, "Move money."))

    with ThreadPoolExecutor() as pool:
        said = list(pool.map(work, hubs))
    return said, {key: found.value for key, found in accounts.items().items()}


def test_agents_that_decide_by_what_they_read_keep_the_sum_and_no_debts(
    open_hub: Callable[[str], sync.Accord],
) -> None:
    heard: list[Any] = []
    watcher = open_hub("watcher")
    watcher.connection.watch("state", "bank", lambda answer: heard.extend(answer.events))
    said, balances = transfers(open_hub, "bank", at_once)
    moved = said[: len(NAMES)].count("moved")
    assert said[-1] == "moved" and 1 <= moved <= 2 and moved + said.count("too little") == len(NAMES)
    assert sum(balances.values()) == 5 * START and min(balances.values()) >= 0
    assert balances["purse"] == START + AMOUNT * (1 - moved) and balances["dan"] == START - AMOUNT
    refused = [event.agent for event in heard if isinstance(event, CommitRefused)]
    assert len({*refused} & {*NAMES}) >= 2, "all of them wanted it, and one was first"
    assert {event.agent for event in heard if isinstance(event, ChangesCommitted)} <= {*NAMES, "dan"}


def test_without_the_transaction_the_same_agents_break_it(open_hub: Callable[[str], sync.Accord]) -> None:
    """The control: each writes what it wants, one key after the other."""
    said, balances = transfers(open_hub, "control", one_by_one)
    assert said[: len(NAMES)] == ["moved"] * 3
    assert sum(balances.values()) != 5 * START, "money came from nowhere"


def test_a_model_is_told_what_to_do_about_a_lock_that_others_hold(open_hub: Callable[[str], sync.Accord]) -> None:
    tools_for = importlib.import_module("accord.smolagents").tools_for
    said = []

    def answer(prompt: str) -> str:
        if "'ok'" not in prompt:
            return call("lock_acquire", name="room_12")
        returned = seen(prompt)
        said.append(returned)
        match len(said):
            case 1:
                return call("lock_acquire", name="room_14")
            case 2:
                return call("lock_acquire", name="room_14")
            case 3:
                return call("lock_release", name="room_14")
            case 4:
                return call("lock_release", name="room_14")
        return call("final_answer", answer="done")

    ada, bob = open_hub("ada"), open_hub("bob")
    with tools_for(bob) as tools, ada.lock("room_12"):
        assert run_agent("ToolCallingAgent", tools, answer, "Book a room.") == "done"
    refused = said[0]["what_to_do"]
    assert refused.startswith("room_12 is not free. Held by ada") and refused.endswith(
        "Try another one, or call again later."
    )
    assert [returned["ok"] for returned in said] == [False, True, False, True, False]
    assert "room_14 is yours already" in said[2]["what_to_do"] and "you do not hold room_14" in said[4]["what_to_do"]


def test_what_a_model_has_locked_is_given_back_in_the_end(open_hub: Callable[[str], sync.Accord]) -> None:
    tools_for = importlib.import_module("accord.smolagents").tools_for
    ada = open_hub("ada")
    bob = open_hub("bob")
    with tools_for(ada) as tools, tools_for(bob) as others:
        lock, other = (next(tool for tool in made if tool.name == "lock_acquire") for made in (tools, others))
        assert [lock(name=name)["ok"] for name in ("one", "two")] == [True, True]
        assert "Held by ada" in other(name="one")["what_to_do"], "one thread, and yet two agents"
        assert len(ada.leases.live) == 2
    assert not ada.leases.live and bob.lock("two", wait_ms=0).acquire().valid


def test_what_a_model_writes_is_data(open_hub: Callable[[str], sync.Accord]) -> None:
    """It sets nobody's name, token or weight: there is no argument for it, and one that it makes up is refused."""
    tools_for = importlib.import_module("accord.smolagents").tools_for
    ada, bob = open_hub("ada"), open_hub("bob")
    proposal = ada.propose("Ship it?", voters=["ada", "bob"], weights={"ada": 2})
    attempts = [
        call("vote", proposal=proposal.id, choice="yes", reason="I am ada", voter="ada"),
        call("vote", proposal=proposal.id, choice="yes! weight=9", reason=""),
        call("vote", proposal=proposal.id, choice="no", reason='{"agent": "ada", "weight": 9}'),
        call("vote", proposal=proposal.id, choice="yes", reason="I think again"),
        call("state_set", scope="s", key="k", value={"agent": "ada", "token": 9}),
        call("final_answer", answer="done"),
    ]
    with tools_for(bob) as tools:
        of_models = {name for tool in tools for name in tool.inputs}
        assert not of_models & {"agent", "voter", "token", "weight", "owner", "holder", "position"}
        assert run_agent("ToolCallingAgent", tools, lambda _: attempts.pop(0), "Vote.") == "done"
        look = next(tool for tool in tools if tool.name == "proposal_look")
        assert look(proposal=proposal.id) == {
            "ok": True, "proposer": "ada", "content": "Ship it?", "status": "approved", "yes": 2, "no": 1, "abstain": 0,
        }  # fmt: skip
        assert look(proposal="nothing")["ok"] is False
    ballots = {ballot.voter: (ballot.choice, ballot.weight) for ballot in proposal.outcome().ballots}
    assert ballots == {"ada": ("yes", 2), "bob": ("no", 1)}


def test_arguments_that_cannot_be_right_are_instructions(open_hub: Callable[[str], sync.Accord]) -> None:
    tools_for = importlib.import_module("accord.smolagents").tools_for
    graph = TaskGraph("report", team="report")

    @graph.step()
    def write(input: str) -> str:
        return f"about {input}"

    ada = open_hub("ada")
    with tools_for(ada, graphs=[graph]) as made, ada.work(graph):
        tools = {tool.name: tool for tool in made}
        wrong = [
            tools["state_get"](scope="wrong", keys="k"),
            tools["state_get"](scope="wrong", keys=[]),
            tools["state_get"](scope="", keys=["k"]),
            tools["state_set"](scope="wrong", key="k", value=1, if_version="7"),
            tools["state_set"](scope="wrong", key="k", value="x" * 70_000),
            tools["state_transact"](scope="wrong", read=[], write={"k": 1}),
            tools["state_transact"](scope="wrong", read={"k": 3}, write={"k": 1}),
            tools["lock_acquire"](name=""),
            tools["task_submit"](kind="nothing", input=1),
            tools["task_look"](task="nothing"),
        ]
        for returned in wrong:
            assert returned["ok"] is False and len(returned["what_to_do"]) > 20, returned
        assert "k of wrong: version 3 was read, but there is none any more. Read it again" in wrong[6]["what_to_do"]
        assert "There is: report" in wrong[8]["what_to_do"]
        task = tools["task_submit"](kind="report", input="cats")["task"]
        ada.task(task).result(wait_ms=20_000)
        record = tools["task_look"](task=task)["record"]
        assert record["status"] == "completed" and "about cats" in json.dumps(record)


def test_the_example_in_the_documents(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints what it says, with a stand-in for the model."""
    smolagents = importlib.import_module("smolagents")
    text = (Path(__file__).parents[2] / "docs" / "smolagents.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    says = [
        call("lock_acquire", name="room_12"),
        call("state_get", scope="rooms", keys=["12"]),
        call("state_transact", scope="rooms", read={"12": 0}, write={"12": {"guest": "Ada"}}),
        call("final_answer", answer="booked"),
    ]
    with ModelServer(lambda _: says.pop(0)) as server:
        model = smolagents.OpenAIServerModel(model_id="stand-in", api_base=server.base_url, api_key="none")
        exec(snippet, {"accord": accord, "model": model})
    printed = [line for line in capsys.readouterr().out.splitlines() if line in ("booked", "{'guest': 'Ada'}")]
    assert printed == re.findall(r"^ *print\(.*\) +# (.*)$", snippet, re.MULTILINE)


def test_without_smolagents_it_is_said_and_the_rest_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "smolagents", None)
    monkeypatch.delitem(sys.modules, "accord.smolagents", raising=False)
    with pytest.raises(ImportError, match=r"which is not installed: pip install 'accord\[smolagents\]'"):
        importlib.import_module("accord.smolagents")
    assert sync.local
