"""An article in four steps, each by whoever is able to; what was recorded of it can be read afterwards.

Runs on the Kafka that ACCORD_KAFKA__BOOTSTRAP_SERVERS names (with a worker), else all in this process.
"""

import asyncio

import accord

graph = accord.TaskGraph("article", team="newsroom")


@graph.step(capability="research")
async def research(input: dict[str, str]) -> list[str]:
    await asyncio.sleep(0.1)  # a slow source
    return [f"{input['topic']} are old", f"{input['topic']} are many"]


@graph.step(after=[research], capability="write")
async def write(research: list[str]) -> str:
    return "; ".join(research) + "."


@graph.step(after=[write], capability="edit")
def edit(write: str) -> str:
    return write.capitalize()


@graph.step(after=[edit, research], capability="edit")
def publish(edit: str, research: list[str], step: accord.Run) -> str:
    print("publishing once:", step.key.rpartition("/")[2])
    return f"{edit} ({len(research)} facts)"


async def main() -> None:
    on_kafka = accord.Settings.load().kafka.bootstrap_servers
    async with accord.Accord() if on_kafka else accord.local() as hub:
        researcher = hub.work(graph, capabilities=["research"])
        writer, editor = (hub.work(graph, capabilities=[one]) for one in ("write", "edit"))
        async with researcher, writer, editor:
            task = await hub.submit(graph, {"topic": "cats"})
            print(await task.result())
            print("recorded:", *[step["name"] for step in (await task.record())["steps"]])


if __name__ == "__main__":
    asyncio.run(main())
