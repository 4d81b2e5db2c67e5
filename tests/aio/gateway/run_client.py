"""Clients of runs over HTTP: alice, who makes them, and charlie, who has a key of his own."""

from typing import Any

import aiohttp
import msgspec

from tests.aio.gateway.conftest import Node

ALICE = {"Authorization": "Bearer a-key"}
CHARLIE = {"Authorization": "Bearer c-key"}


def chat(content: str = "many:3", **fields: Any) -> dict[str, Any]:
    return {"model": "mock-model", "messages": [{"role": "user", "content": content}], **fields}


async def post(
    http: aiohttp.ClientSession, url: str, body: dict[str, Any], headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    async with http.post(url, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


async def get(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    async with http.get(url, headers=headers) as answer:
        return answer.status, await answer.json()


async def attached(
    http: aiohttp.ClientSession, url: str, headers: dict[str, str] | None = None
) -> list[tuple[str, Any]]:
    """Return (event, data) of a run until its end."""
    async with http.get(url, headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "text/event-stream")
        events = (await answer.text()).split("\n\n")
    fields = [
        dict(line.split(": ", 1) for line in event.split("\n") if line[:1] not in ("", ":"))
        for event in events
    ]
    return [(each["event"], msgspec.json.decode(each["data"])) for each in fields if each]


async def made(http: aiohttp.ClientSession, node: Node, body: dict[str, Any] | None = None) -> str:
    status, answer = await post(http, f"{node.url}/v1/runs", body or chat(), ALICE)
    assert status == 202, answer
    return str(answer["id"])
