"""The bus for other nodes: signed, counted, gated."""

import asyncio
from typing import Any

import aiohttp
import msgspec
import pytest

from meshcore.aio.gateway import ClientLimits
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.mock_ai import MockAi
from meshcore.aio.testing import wait_until
from meshcore.bus_wire import CALL_PATH, MANIFEST_PATH, error_of
from meshcore.capability import Manifest, RouteRequest
from meshcore.clock import monotonic
from meshcore.errors import CallError
from meshcore.mock_script import Faults
from meshcore.registry import PeerRecord


def ask(words: str, *, stream: bool = False) -> RouteRequest:
    body = {"params": {}, "input": {"messages": [{"role": "user", "content": words}]}}
    return RouteRequest("llm.chat", (1, 0), body, "node-x", "t1", None, (monotonic() + 30) * 1000, stream)


def peer_of(node: Any) -> PeerRecord:
    return PeerRecord(node.bus.node_id_full, endpoints=[node.url])


async def test_a_peers_call_is_answered_by_this_nodes_own_provider(
    node: Any, mesh: HttpTransport, mock: MockAi
) -> None:
    result = await mesh.call(peer_of(node), ask("slow:2x0"))

    assert result["output"]["message"]["content"] == "chunk-1 chunk-2 "
    assert "_routed_via" not in result
    assert mock.calls.calls == 1


async def test_a_peers_stream_is_passed_on_chunk_by_chunk(node: Any, mesh: HttpTransport) -> None:
    stream = mesh.stream(peer_of(node), ask("slow:2x0", stream=True))

    assert [chunk.text async for chunk in stream] == ["", "chunk-1 ", "chunk-2 ", ""]


async def test_a_peer_is_told_what_this_node_offers(node: Any, mesh: HttpTransport) -> None:
    manifest = msgspec.json.decode(await mesh.manifest(peer_of(node)), type=Manifest)

    assert manifest.node_id == "node-a"
    assert "llm.chat" in {offer.name for offer in manifest.capabilities}


@pytest.mark.parametrize(("method", "path"), [("POST", CALL_PATH), ("GET", MANIFEST_PATH)])
async def test_who_does_not_know_the_secret_is_refused(
    node: Any, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    async with http.request(method, node.url + path, data=b"{}" if method == "POST" else None) as answer:
        assert answer.status == 401
        assert (await answer.json())["error"] == "unauthorized"


async def test_a_peers_body_may_be_twice_a_clients_and_no_more(
    start_node: Any, http: aiohttp.ClientSession
) -> None:
    node = await start_node("node-a", limits=ClientLimits(max_body_bytes=100_000))

    async with http.post(node.url + CALL_PATH, data=b"x" * 200_000) as fits:
        assert fits.status == 401
    async with http.post(node.url + CALL_PATH, data=b"x" * 300_000) as too_large:
        assert too_large.status == 413


@pytest.mark.parametrize("stream", [False, True])
async def test_a_peers_work_counts_as_this_nodes_own(
    node: Any, mesh: HttpTransport, mock: MockAi, stream: bool
) -> None:
    mock.faults = Faults(hang=True)
    request = ask("hi", stream=stream)
    call: asyncio.Future[Any] = asyncio.ensure_future(
        anext(mesh.stream(peer_of(node), request)) if stream else mesh.call(peer_of(node), request)
    )
    await wait_until(lambda: mock.calls.open == 1)

    in_flight = node.controller.readout().in_flight

    assert (in_flight.streams, in_flight.calls) == ((1, 0) if stream else (0, 1))
    call.cancel()
    await wait_until(lambda: mock.calls.aborts == 1)
    await wait_until(lambda: node.controller.readout().in_flight.total == 0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_draining_node_refuses_peers_and_counts_no_work(
    node: Any, mesh: HttpTransport, mock: MockAi, stream: bool
) -> None:
    node.controller.enter()
    counted_out: list[None] = []
    node.controller.ledger.on_quiet = lambda: counted_out.append(None)
    request = ask("hi", stream=stream)

    with pytest.raises(CallError) as caught:
        await (anext(mesh.stream(peer_of(node), request)) if stream else failing(mesh, node, request))

    assert caught.value.code == "draining"
    assert node.controller.readout().state == "drained"
    assert counted_out == []
    assert mock.calls.calls == 0


async def failing(mesh: HttpTransport, node: Any, request: RouteRequest) -> None:
    error = error_of(await mesh.call(peer_of(node), request))
    assert error is not None
    raise error
