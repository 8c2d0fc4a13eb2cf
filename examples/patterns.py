"""Sixteen ways to have several agents work together: which pattern fits, and all that has to be written for it.

    python examples/patterns.py [NAME...]

The agents ask a stand-in for a model, which judges nothing: what is shown is who is asked, and when. Runs on the Kafka
that ACCORD_KAFKA__BOOTSTRAP_SERVERS names (with a worker), else all in this process.
"""

import asyncio
import sys
from typing import Any

from accord.agents.patterns import (
    Pattern,
    asks,
    best_of,
    consensus,
    event_driven,
    hierarchical,
    parallel,
    sequential,
)

import accord
from accord.testing.model_server import MODEL, ModelServer


def agent(name: str, does: str, *, simple: bool = False) -> accord.Agent:
    """One who asks the model."""
    return accord.Agent(name, asks(f"You are {name}. {does}"), simple=simple)


def chain(name: str, **steps: str) -> Pattern:
    """One after the other; each step asks the model to do what it says."""
    return sequential(*[agent(step, does) for step, does in steps.items()], name=name)


def notice(channel: str) -> accord.Agent:
    """One who sends what it is given."""

    async def send(task: str) -> str:
        return f"sent by {channel}: {len(task)} characters"

    return accord.Agent(channel, send)


def manager(name: str, *members: accord.Agent | Pattern) -> Pattern:
    """One who gives the same task to all members, and joins what they bring."""
    split = accord.Agent(f"{name} splits", lambda task: dict.fromkeys(task["members"], task["task"]))
    merge = accord.Agent(f"{name} merges", lambda task: "\n".join(map(str, task["results"].values())))
    return hierarchical(*members, split=split, merge=merge, name=name)


def examples() -> dict[str, tuple[Pattern, Any]]:
    """Each with the input that it is given."""
    moderate = "Answer with one of the lines.\n- allow\n- block\n\n"
    return {
        "code": (
            chain("code", plan="Plan.", implement="Write the code.", test="Write tests.", deploy="Say how to deploy."),
            "a function that sorts by two keys",
        ),
        "report": (
            chain("report", collect="Collect.", analyse="Analyse.", visualise="Describe charts.", summarise="Sum up."),
            "sales of last year",
        ),
        "documents": (
            sequential(
                agent("classify", "Name the kind of document in a word.", simple=True),
                agent("route", "Name the department in a word.", simple=True),
                agent("process", "Extract what matters."),
                notice("archive"),
                name="documents",
            ),
            "Invoice 12: 3 chairs, 240 EUR",
        ),
        "data": (
            chain("data", ingest="Read.", clean="Clean.", transform="Convert.", analyse="Analyse.", report="Report."),
            "17; 19; n/a; 23",
        ),
        "project": (
            chain("project", plan="Plan.", allocate="Name who does what.", execute="Do it.", monitor="What is late?"),
            "a move to a new office",
        ),
        "translation": (
            sequential(
                parallel(*[agent(language, "Translate into it.") for language in ("french", "german", "polish")]),
                agent("proofread", "Correct the translations."),
                name="translation",
            ),
            "The rooms are taken.",
        ),
        "sources": (
            sequential(
                parallel(*[agent(source, "What do you know of it?") for source in ("web", "papers", "news", "forums")]),
                agent("merge", "Put the answers together."),
                name="sources",
            ),
            "log-structured storage",
        ),
        "competition": (
            sequential(
                parallel(*[agent(field, "Compare by it.", simple=True) for field in ("prices", "products", "reviews")]),
                agent("strategist", "What follows for us?"),
                name="competition",
            ),
            "coffee machines",
        ),
        "research and content": (
            manager(
                "master",
                manager("research", agent("web scraper", "Find pages."), agent("paper analyzer", "Read papers.")),
                manager("content", agent("writer", "Write."), agent("editor", "Edit.")),
            ),
            "whales",
        ),
        "alerts": (
            event_driven(
                agent("monitor", "What is unusual in it?"),
                {"monitor": [notice("alerts"), notice("dashboards"), notice("logs")]},
                name="alerts",
            ),
            "cpu 97%, disk 20%",
        ),
        "notices": (
            event_driven(
                agent("order", "Write a notice to the customer."),
                {"order": [notice("email"), notice("sms"), notice("push"), notice("slack")]},
                name="notices",
            ),
            "order 7 was shipped",
        ),
        "analysis": (
            event_driven(
                agent("collector", "Collect."),
                {
                    "collector": [agent("analyzer", "Analyse."), notice("notifier"), notice("archiver")],
                    "analyzer": [notice("reporter")],
                },
                name="analysis",
            ),
            "visitors a day",
        ),
        "moderation": (
            consensus(
                *[agent(name, "You moderate a forum.") for name in ("strict", "mild", "fair")],
                judge=agent("head", "The moderators differ. Decide."),
                name="moderation",
            ),
            f"{moderate}You are all wrong!",
        ),
        "review": (
            best_of(
                *[agent(name, "Review the code.") for name in ("security", "style", "speed")],
                score=lambda review: review.count(" "),
                name="review",
            ),
            "def f(x): return eval(x)",
        ),
        "diagnosis": (
            consensus(
                *[agent(name, "Name the likeliest cause.") for name in ("first", "second", "third")],
                expert=accord.Agent("doctor", lambda task: bool(task["answer"])),
                name="diagnosis",
            ),
            "It does not start.\n- the battery\n- the fuse",
        ),
        "slogan": (
            best_of(agent("ada", "Write a slogan."), agent("bob", "Write another."), score=len, name="slogan"),
            "tea",
        ),
    }


async def main(names: list[str]) -> None:
    settings = accord.Settings.load()
    with ModelServer() as server:
        llm = settings.llm.model_copy(update={"base_url": server.base_url, "model": MODEL})
        settings = settings.model_copy(update={"llm": llm})
        on_kafka = settings.kafka.bootstrap_servers
        async with accord.Accord(settings=settings) if on_kafka else accord.local(settings=settings) as hub:
            for name, (pattern, task) in examples().items():
                if not names or name in names:
                    result = await pattern.run(task, hub=hub)
                    print(f"{name} ({type(pattern).__name__}): {str(result)[:70]}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1:]))
