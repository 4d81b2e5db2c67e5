"""Aliases as clients see them: over real HTTP, with the official client."""

from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import openai
import pytest

from meshcore.aio.mock_ai import MockAi
from meshcore.aio.providers import EchoProvider

ClientOf = Callable[..., openai.AsyncOpenAI]
TABLE = {"mesh/fast": ("alpha/mock-model", "beta/echo-1"), "mesh/gone": ("nobody/m",)}


@pytest.fixture
async def node(mock: MockAi, stack: AsyncExitStack, start_node: Any, start_provider: Any) -> Any:
    """A node with an upstream that takes no tools, an echo, and aliases."""
    url = await stack.enter_async_context(mock.serve())
    node = await start_node("node-a", await start_provider(url, tools=False), EchoProvider("beta"))
    node.bus.aliases.load(TABLE)
    return node


def user(text: str) -> Any:
    return [{"role": "user", "content": text}]


async def test_an_alias_is_served_by_the_first_of_its_chain(
    node: Any, mock: MockAi, client_of: ClientOf
) -> None:
    raw = await client_of(node).chat.completions.with_raw_response.create(
        model="mesh/fast", messages=user("slow:1x0")
    )

    assert raw.parse().choices[0].message.content == "chunk-1 "
    assert raw.headers["X-Mesh-Model"] == "mock-model"
    assert mock.calls.last is not None
    assert mock.calls.last["body"]["model"] == "mock-model"
    assert (node.traces[-1].alias, node.traces[-1].why) == ("mesh/fast", "alias")


async def test_a_stream_by_alias_goes_to_the_next_entry_when_the_first_is_broken(
    node: Any, client_of: ClientOf
) -> None:
    stream = await client_of(node).chat.completions.create(
        model="mesh/fast", messages=user("fail:http=503"), stream=True
    )

    said = "".join([chunk.choices[0].delta.content or "" async for chunk in stream])
    assert said.strip() == "[echo-1] fail:http=503"


async def test_completions_may_be_asked_by_alias_too(node: Any, client_of: ClientOf) -> None:
    answer = await client_of(node).completions.create(model="mesh/fast", prompt="slow:1x0")

    assert answer.choices[0].text == "chunk-1 "


async def test_case_35_tools_go_to_the_entry_that_takes_them(
    node: Any, mock: MockAi, client_of: ClientOf
) -> None:
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {}}}]

    answer = await client_of(node).chat.completions.create(
        model="mesh/fast", messages=user("hi"), tools=tools
    )

    assert answer.choices[0].message.content == "[echo-1] hi"
    assert mock.calls.calls == 0


async def test_case_35_when_no_entry_takes_tools_the_request_is_a_bad_one(
    node: Any, client_of: ClientOf
) -> None:
    tools: Any = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    node.bus.aliases.load({"mesh/fast": ("alpha/mock-model",)})

    with pytest.raises(openai.BadRequestError, match="takes no tools"):
        await client_of(node).chat.completions.create(model="mesh/fast", messages=user("hi"), tools=tools)


async def test_an_unknown_alias_is_404_with_the_known_ones(node: Any, client_of: ClientOf) -> None:
    with pytest.raises(openai.NotFoundError, match="known are mesh/fast, mesh/gone"):
        await client_of(node).chat.completions.create(model="mesh/nope", messages=user("hi"))


async def test_an_alias_of_which_nothing_is_offered_is_503(node: Any, client_of: ClientOf) -> None:
    with pytest.raises(openai.InternalServerError, match="nobody offers any entry of mesh/gone") as caught:
        await client_of(node).chat.completions.create(model="mesh/gone", messages=user("hi"))

    assert caught.value.status_code == 503


async def test_models_list_the_aliases_that_can_be_served_now(node: Any, client_of: ClientOf) -> None:
    client = client_of(node)

    listed = {model.id async for model in client.models.list()}
    shown = await client.models.retrieve("mesh/fast")
    for _ in range(2):
        for name in ("alpha", "beta"):
            node.bus.health.mark_unhealthy(name, "down")
    later = [model.id async for model in client.models.list()]

    assert listed == {"mock-model", "echo-1", "mesh/fast"}
    assert (shown.id, shown.owned_by) == ("mesh/fast", "node-a")
    assert later == []


async def test_aliases_are_shown_with_their_chains_and_what_was_refused(
    node: Any, http: aiohttp.ClientSession
) -> None:
    node.bus.aliases.refuse_file("node.toml: not TOML")

    async with http.get(f"{node.url}/v1/aliases") as answer:
        shown = await answer.json()

    assert shown == {
        "source": "file",
        "problems": {"file": "node.toml: not TOML"},
        "aliases": [
            {"name": "mesh/fast", "chain": ["alpha/mock-model", "beta/echo-1"]},
            {"name": "mesh/gone", "chain": ["nobody/m"]},
        ],
    }


async def test_aliases_are_for_who_has_a_key(start_node: Any, http: aiohttp.ClientSession) -> None:
    node = await start_node("node-a", api_keys=("alice:secret",))

    async with http.get(f"{node.url}/v1/aliases") as answer:
        assert answer.status == 401
