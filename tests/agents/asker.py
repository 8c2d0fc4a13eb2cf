"""A process that asks the stand-in one question and prints what it got: `python -m tests.agents.asker PROMPT`, settings
from the environment."""

from __future__ import annotations

import asyncio
import sys

from accord import Accord


async def main(prompt: str) -> None:
    async with Accord(agent="asker") as hub, hub.model() as model:
        print("ready", flush=True)
        reply = await model.ask(prompt)
        print(reply.text, reply.cached, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
