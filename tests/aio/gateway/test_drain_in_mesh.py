"""A node drains in the midst of its mesh, with real nodes, sockets and providers."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import openai
import pytest

from meshcore.aio.drain_marker import clear_drain_request, write_drain_request
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.testing import wait_until
from meshcore.drain import NodeState
from meshcore.frames import BreakerReport
from tests.aio.gateway.test_client_routes import texts_of, user

ClientOf = Callable[..., openai.AsyncOpenAI]


@pytest.fixture
async def pair(stack: AsyncExitStack, mock: MockAi, start_node: Any, start_provider: Any) -> tuple[Any, Any]:
    """node-a and node-b, which serve the same."""
    url = await stack.enter_async_context(mock.serve())
    first, second = [await start_node(name, await start_provider(url)) for name in ("node-a", "node-b")]
    first.knows(second)
    watch = asyncio.create_task(first.controller.watch())
    stack.callback(watch.cancel)
    return first, second


def breakers(node: Any) -> list[BreakerReport]:
    return [report for report in node.bus.health.reports() if report.key == "alpha"]


async def ask(client: openai.AsyncOpenAI) -> str:
    """Return who answered a short call."""
    raw = await client.chat.completions.with_raw_response.create(
        model="mock-model", messages=user("slow:1x0")
    )
    return raw.headers["X-Mesh-Routed-Via"]


async def test_drain_case_30_a_draining_node_passes_on_what_comes_and_finishes_what_it_has(
    pair: tuple[Any, Any], client_of: ClientOf
) -> None:
    node, _ = pair
    client = client_of(node)
    stream = await client.chat.completions.create(
        model="mock-model", messages=user("slow:20x100"), stream=True
    )
    await anext(stream)
    before = breakers(node)

    write_drain_request(node.home, principal="nas")
    node.controller.tick()
    during = node.controller.readout()
    via = await ask(client)
    texts = await texts_of(stream)
    await wait_until(lambda: node.controller.readout().safe_to_stop)
    after = node.controller.readout()
    clear_drain_request(node.home)
    await wait_until(node.controller.accepts)
    back = await ask(client)

    assert (during.state, during.in_flight.total) == (NodeState.DRAINING, 1)
    assert (during.active_work[0].kind, during.active_work[0].provider) == ("stream", "alpha")
    assert (via, back) == ("node-b", "local")
    assert "".join(texts).endswith("chunk-20 ")
    assert (after.state, after.in_flight.total) == (NodeState.DRAINED, 0)
    assert [(each.state, each.strikes) for each in breakers(node)] == [
        (each.state, each.strikes) for each in before
    ]
