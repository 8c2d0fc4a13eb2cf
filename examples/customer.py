"""Two agents change one customer's record: each reads it, thinks, and writes it back. Both changes are kept.

Without the lock the second to write would undo the first one's change. Another customer's record waits for nobody.
Runs on the Kafka that ACCORD_KAFKA__BOOTSTRAP_SERVERS names (with a worker), else all in this process.
"""

import asyncio
import time

import accord
from accord import coordinate

records: dict[str, dict[str, str]] = {"456": {}, "457": {}}


async def change(customer_id: str, field: str, value: str) -> dict[str, str]:
    record = dict(records[customer_id])  # reads it
    await asyncio.sleep(0.3)  # a model thinks
    record[field] = value
    records[customer_id] = record  # writes all of it
    return record


@coordinate("profile_updater", lock_name="customer_{customer_id}")
async def update_profile(customer_id: str, address: str) -> dict[str, str]:
    return await change(customer_id, "address", address)


@coordinate("preference_updater", lock_name="customer_{customer_id}")
async def update_preferences(customer_id: str, language: str) -> dict[str, str]:
    return await change(customer_id, "language", language)


async def main() -> None:
    on_kafka = accord.Settings.load().kafka.bootstrap_servers
    began_s = time.monotonic()

    async def timed(update) -> float:
        await update
        return time.monotonic() - began_s

    async with accord.Accord() if on_kafka else accord.local():
        await update_profile("457", "Main Street 1")  # so that connecting counts for nobody
        began_s = time.monotonic()
        *both, other = await asyncio.gather(
            timed(update_profile("456", "River Road 2")),
            timed(update_preferences("456", "French")),
            timed(update_preferences("457", "Dutch")),
        )
    for customer_id, record in records.items():
        print(customer_id, record)
    print("457 was done before the second change of 456:", other < max(both))


if __name__ == "__main__":
    asyncio.run(main())
