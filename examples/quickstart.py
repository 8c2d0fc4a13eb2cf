"""Two guests want room 12 at the same time; one gets it, and the log can show why."""

import asyncio

import accord
from accord import coordinate, when

rooms: dict[str, str | None] = {"12": None}


@coordinate("hotel_booker", lock_name="room_{room}")
async def book(room: str, guest: str) -> str:
    if rooms[room]:
        return f"{guest}: taken"
    await asyncio.sleep(0.1)  # a slow model call
    rooms[room] = guest
    return f"{guest}: booked"


@when("hotel_booker_complete")
def note(event_data):
    print("recorded:", event_data["result"])


async def main() -> None:
    async with accord.local(keep="hotel.accord") as hub:
        await asyncio.gather(book("12", "ada"), book("12", "bob"))
        await hub.drain()


if __name__ == "__main__":
    asyncio.run(main())
