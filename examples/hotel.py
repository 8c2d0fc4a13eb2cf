"""Research, then a booking: the booking starts when the research is recorded as complete, with its result.

Without coordination the booker would start while the slow comparison still runs, and book nothing or the wrong hotel.
Runs on the Kafka that ACCORD_KAFKA__BOOTSTRAP_SERVERS names (with a worker), else all in this process.
"""

import asyncio

import accord
from accord import Event, coordinate, when

HOTELS = {
    "Bonn": [{"name": "Astoria", "price": 140}, {"name": "Europa", "price": 90}, {"name": "Rheinblick", "price": 110}],
}
bookings: dict[str, str] = {}


@coordinate("hotel_researcher")
async def research(city: str) -> dict[str, object]:
    """Compares the hotels of a city, slowly, and returns the cheapest."""
    await asyncio.sleep(0.3)  # a model reads their reviews
    if city not in HOTELS:
        raise LookupError(f"no hotels in {city}")
    return min(HOTELS[city], key=lambda hotel: hotel["price"])


@coordinate("hotel_booker", lock_name="hotel_{hotel}")
async def book(hotel: str, booking: str) -> str:
    """Books a hotel, once a booking."""
    bookings.setdefault(booking, hotel)
    return hotel


@when("hotel_researcher_complete")
async def book_what_was_found(event_data, event: Event):
    print("researched:", event_data["result"]["name"])
    await book(event_data["result"]["name"], booking=event.id)  # delivered again, it is the same booking


@when("hotel_researcher_failed")
async def say_why(event_data):
    print("not booked:", event_data["error"])


async def main() -> None:
    on_kafka = accord.Settings.load().kafka.bootstrap_servers
    async with accord.Accord() if on_kafka else accord.local() as hub:
        await asyncio.gather(research("Bonn"), research("Atlantis"), return_exceptions=True)
        await hub.drain()
    print("booked:", ", ".join(bookings.values()))


if __name__ == "__main__":
    asyncio.run(main())
