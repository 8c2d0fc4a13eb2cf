"""The requests in docs/service.md are answered as it says."""

from __future__ import annotations

import json
import re
from pathlib import Path

from accord.embedded import Embedded
from tests.agents.service.support import Agents, served
from tests.agents.service.test_app import SettingsWith, hub_on
from tests.agents.test_tasks import in_loop

DOCUMENT = (Path(__file__).resolve().parents[3] / "docs" / "service.md").read_text(encoding="utf-8")
POSTS = re.findall(r"^\$ curl -X POST localhost:8080(\S+) -d '(.+)'\n(.+)$", DOCUMENT, re.MULTILINE)


README = (Path(__file__).resolve().parents[3] / "README.md").read_text(encoding="utf-8")


def test_the_readme_asks_what_is_shown_here() -> None:
    asked = re.findall(r"curl -X POST localhost:8080(\S+) -d '(.+)'", README)
    assert asked and set(asked) <= {(path, body) for path, body, _ in POSTS}


@in_loop
async def test_what_curl_shows(embedded: Embedded, settings_with: SettingsWith) -> None:
    assert len(POSTS) == DOCUMENT.count("curl -X POST")
    async with hub_on(embedded, settings_with()) as hub, Agents(hub, "content", "research", "aggregator"):
        with served(hub) as client:
            for path, body, shown in POSTS:
                told = (await client.post(path, content=body)).json()
                said = json.loads(shown)
                assert told | {"task_id": ""} == said | {"task_id": ""}
                assert list(told) == list(said)
                if "task_id" in told:
                    record = await client.ended(told["task_id"])
                    fields = re.search(rf"`result` is `{{({', '.join(record['result'])})}}`", DOCUMENT)
                    assert record["status"] == "completed" and fields is not None
