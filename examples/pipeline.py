"""Data, then analysis: the analyzer starts when the whole dataset is collected, not while pages still come in.

Runs on the Kafka that ACCORD_KAFKA__BOOTSTRAP_SERVERS names (with a worker), else all in this process.
"""

import asyncio

import accord
from accord import coordinate, emit, when

PAGES = [[21.5, 22.0, 19.5], [20.0, 23.5], [18.5, 21.0, 22.0]]


@coordinate("data_collector")
async def collect() -> int:
    """Collects the dataset page by page and emits it whole; returns its size."""
    dataset: list[float] = []
    for page in PAGES:
        await asyncio.sleep(0.1)  # a slow source
        dataset += page
        print("collected:", len(dataset))
    emit("data_collection_complete", {"dataset": dataset})
    return len(dataset)


@when("data_collection_complete")
@coordinate("data_analyzer")
async def analyze(event_data) -> dict[str, float]:
    dataset = event_data["dataset"]
    print("analyzing:", len(dataset))
    return {"count": len(dataset), "mean": sum(dataset) / len(dataset)}


@when("data_analyzer_complete")
def report(event_data):
    print("mean of {count}: {mean}".format(**event_data["result"]))


async def main() -> None:
    on_kafka = accord.Settings.load().kafka.bootstrap_servers
    async with accord.Accord() if on_kafka else accord.local() as hub:
        await collect()
        await hub.drain()


if __name__ == "__main__":
    asyncio.run(main())
