"""Ten agents share an API that takes two calls at a time and so many tokens a minute: no call is refused.

The limit is set once; who has twice the weight gets twice as many turns while others wait. The API is a stand-in that
speaks OpenAI's protocol and answers 429 to a third call. Runs on the Kafka that ACCORD_KAFKA__BOOTSTRAP_SERVERS names
(with a worker), else all in this process.
"""

import asyncio

import accord
from accord.settings import LlmSettings
from accord.testing.model_server import MODEL, ModelServer


async def research(hub: accord.Accord, model: accord.Model, agent: str) -> str:
    async with hub.limit("openai_api", tokens=200, role="editor" if agent == "agent-0" else "researcher") as slot:
        reply = await model.ask(f"What does {agent} need to know?")
        slot.used(reply.input_tokens + reply.output_tokens)
    return reply.text


async def main() -> None:
    on_kafka = accord.Settings.load().kafka.bootstrap_servers
    with ModelServer(delay_ms=30, limit=2) as server:
        llm = LlmSettings(base_url=server.base_url, model=MODEL)
        async with accord.Accord() if on_kafka else accord.local() as hub, accord.Model(llm) as model:
            await hub.pool("openai_api").configure(capacity=2, tokens_per_minute=60_000, weights={"editor": 2})
            agents = [f"agent-{number}" for number in range(10)]
            answers = await asyncio.gather(*[research(hub, model, agent) for agent in agents])
        seen = server.counts
    print(f"{len(answers)} answers; calls at a time: {seen.running_most}, refused: {seen.refused}")


if __name__ == "__main__":
    asyncio.run(main())
