"""An agent: asked for a trip, it has a language model choose the hotel.

Started by the demo; finds broker and model in its environment (ACCORD_KAFKA__..., ACCORD_LLM__... or OPENAI_API_KEY).
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import accord
from accord import coordinate, when

ATTEMPTS = 2

OFFERS = {
    "Astoria": "Astoria: by the station, 118 EUR, breakfast, some noise from the street",
    "Belvedere": "Belvedere: on the hill, 131 EUR, quiet, 20 minutes from the centre",
    "Carlton": "Carlton: old town, 124 EUR, quiet court, no lift",
}
"""Invented hotels; each has the two rooms that the race is about."""


@coordinate("hotel_researcher")
async def research(hub: accord.Accord, city: str) -> dict[str, str]:
    """Chooses a hotel in a city. Its result is what the bookers wait for.

    Whoever asks the model holds `language_model`, so that agents who share a quota ask one after the other.
    """
    question = "\n".join(
        [
            f"Two colleagues stay one night in {city}, for a meeting the next morning. Which of these hotels?",
            *[f"- {offer}" for offer in OFFERS.values()],
            "Answer with the name of one hotel and nothing else.",
        ]
    )
    async with hub.lock("language_model", lease_ms=10_000), accord.Model() as model:
        for _ in range(ATTEMPTS):
            reply = await model.ask(question, max_tokens=200)
            for name in OFFERS:
                if name.lower() in reply.text.lower():
                    return {"hotel": name, "model": reply.model}
    raise ValueError(f"{reply.model} named none of the hotels: {reply.text[:80]!r}")


async def main() -> int:
    over: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    hub = accord.Accord()

    @when("trip_requested", retries=0)
    async def on_trip(event_data: Any) -> None:
        say(f"compares {len(OFFERS)} hotels in {event_data['city']}")
        try:
            found = await research(hub, event_data["city"])
        except Exception as error:
            say(f"{type(error).__name__}: {error}")  # and it is on the log, as hotel_researcher_failed
            over.set_result(1)
        else:
            say(f"chose the {found['hotel']} (model: {found['model']})")
            over.set_result(0)

    async with hub:
        say("ready")
        code = await over
        await hub.drain()
    return code


def say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except accord.AccordError as error:
        sys.exit(f"{error.code}: {error}")
