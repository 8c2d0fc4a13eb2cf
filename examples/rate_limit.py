"""Two agents share an API that takes one call at a time: they queue for it, so no call is refused and none is lost.

The API is a stand-in that speaks OpenAI's protocol and answers 429 to a second call while one runs. Runs on the Kafka
that ACCORD_KAFKA__BOOTSTRAP_SERVERS names (with a worker), else all in this process.
"""

import asyncio

import accord
from accord import coordinate
from accord.settings import LlmSettings
from accord.testing.model_server import MODEL, ModelServer

QUESTIONS = ["prices", "trends", "customers", "regions"]


@coordinate("market_researcher", lock_name="openai_api")
async def research_market(model: accord.Model, topic: str) -> str:
    return (await model.ask(f"What is known about {topic} in our market?")).text


@coordinate("competitor_researcher", lock_name="openai_api")
async def research_competitors(model: accord.Model, topic: str) -> str:
    return (await model.ask(f"What is known about {topic} of our competitors?")).text


async def main() -> None:
    on_kafka = accord.Settings.load().kafka.bootstrap_servers
    with ModelServer(delay_ms=50, limit=1) as server:
        llm = LlmSettings(base_url=server.base_url, model=MODEL)
        async with accord.Accord() if on_kafka else accord.local(), accord.Model(llm) as model:
            calls = [agent(model, topic) for topic in QUESTIONS for agent in (research_market, research_competitors)]
            answers = await asyncio.gather(*calls)
        seen = server.counts
    print(f"{len(answers)} answers; calls at a time: {seen.running_most}, refused: {seen.refused}")


if __name__ == "__main__":
    asyncio.run(main())
