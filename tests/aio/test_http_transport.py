"""Calls between nodes over real HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.providers import LlmService
from meshcore.aio.testing import ByteServer, http_answer, wait_until
from meshcore.capability import RouteRequest
from meshcore.errors import CallError, ExchangeError
from meshcore.registry import PeerRecord
from meshcore.testing import ManualClock
from tests.aio.bus_mesh import (
    BODY,
    CHAT,
    ROLE,
    SECRET,
    STOP,
    Script,
    content,
    fails,
    introduce,
    is_at_rest,
    make_bus,
    says,
    serve,
    serve_app,
)

REQUEST = RouteRequest(*CHAT, BODY, "node-a", "t1")
STREAM = RouteRequest(*CHAT, BODY, "node-a", "t1", stream=True)


async def forever() -> None:
    await asyncio.Event().wait()


@pytest.fixture
async def transport() -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(SECRET)
    yield transport
    await transport.close()


def peer(url: str, node_id: str = "node-b") -> PeerRecord:
    return PeerRecord(node_id, endpoints=[url])


async def test_case_24_over_real_http_the_stamp_names_the_remote_and_trace_ids_agree(
    transport: HttpTransport,
) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    a.register_service(LlmService())
    b.register_service(LlmService(model="echo-1"))

    async with serve(b) as url:
        introduce(a, b, url)
        result = await a.call(*CHAT, BODY, trace_id="trace-1", caller="key-1")

    assert (result["_routed_via"], content(result)) == ("node-b", "[echo-1] hi")
    callee = b.traces.last(1)[0]
    assert (callee.trace_id, callee.caller, callee.inbound) == ("trace-1", "node-a", True)
    assert a.traces.last(1)[0].trace_id == "trace-1"
    assert is_at_rest(a, b)


async def test_case_25_two_dead_nodes_that_know_each_other_try_once_each() -> None:
    transports = HttpTransport(SECRET), HttpTransport(SECRET)
    a, b = make_bus("node-a", transports[0]), make_bus("node-b", transports[1])
    dead = [Script(fails("unavailable", bus.node_id_full)).offer_to(bus) for bus in (a, b)]

    async with serve(a) as url_a, serve(b) as url_b:
        introduce(a, b, url_b)
        introduce(b, a, url_a)
        result = await a.call(*CHAT, BODY)
    for transport in transports:
        await transport.close()

    assert [script.calls for script in dead] == [1, 1]
    assert (result["error"], result["message"], result["_routed_via"]) == ("unavailable", "node-a", "local")
    assert is_at_rest(a, b)


async def test_case_27_over_http_a_dead_peer_fails_over_to_another(transport: HttpTransport) -> None:
    a, b, c = make_bus("node-a", transport), make_bus("b"), make_bus("c")
    for bus in (b, c):
        Script(says(bus.node_id_full)).offer_to(bus)

    async with serve(c) as url:
        introduce(a, b, "http://127.0.0.1:1")
        introduce(a, c, url)
        a.registry.of_peer("b")[0].window.succeeded(1.0)
        result = await a.call(*CHAT, BODY)

    assert content(result) == "c"
    assert [attempt.code for attempt in a.traces.last(1)[0].attempts] == ["partition", ""]
    assert a.health.state("node:b") == "suspect"


async def test_a_stream_over_http_has_the_bytes_of_its_provider(transport: HttpTransport) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    odd = b'{"choices":[{"delta":{"content":"x"}}],  "future": [1, 2]}'
    Script(ROLE, odd, STOP).offer_to(b)

    async with serve(b) as url:
        introduce(a, b, url)
        async with a.stream(*CHAT, BODY, trace_id="trace-1") as stream:
            chunks = [chunk.data async for chunk in stream]

    assert chunks == [ROLE, odd, STOP]
    assert stream.routed_via == "node-b"
    assert b.traces.last(1)[0].trace_id == "trace-1"
    assert is_at_rest(a, b)


async def test_a_role_only_first_chunk_over_http_still_fails_over(transport: HttpTransport) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    Script(ROLE, fails("unavailable")).offer_to(a)
    Script(ROLE, says("from b"), STOP).offer_to(b)

    async with serve(b) as url:
        introduce(a, b, url)
        async with a.stream(*CHAT, BODY) as stream:
            assert [chunk.text async for chunk in stream] == ["", "from b", ""]


async def test_a_break_at_the_peer_is_the_peers_own_error(transport: HttpTransport) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    Script(says("halb"), fails("unavailable", "its provider broke")).offer_to(b)

    async with serve(b) as url:
        introduce(a, b, url)
        with pytest.raises(CallError) as caught:
            async with a.stream(*CHAT, BODY) as stream:
                async for _ in stream:
                    pass

    assert caught.value.code == "unavailable"
    assert caught.value.message.startswith("its provider broke; the answer can't be continued")
    assert a.health.state("node:node-b") == "closed"


async def test_leaving_a_stream_stops_the_peers_provider(transport: HttpTransport) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    script = Script(says("begun"), forever).offer_to(b)

    async with serve(b) as url:
        introduce(a, b, url)
        async with a.stream(*CHAT, BODY) as stream:
            await stream.start()
        await wait_until(lambda: script.running == 0)
        await wait_until(lambda: is_at_rest(a, b))

    assert script.closed == 1


async def test_leaving_a_call_stops_the_peers_provider(transport: HttpTransport) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    script = Script(forever).offer_to(b)

    async with serve(b) as url:
        introduce(a, b, url)
        call = asyncio.create_task(a.call(*CHAT, BODY))
        await wait_until(lambda: script.running == 1)
        call.cancel()
        await wait_until(lambda: script.running == 0 and is_at_rest(a, b))


async def test_the_deadline_travels_as_remaining_time() -> None:
    b = make_bus("node-b", clock=ManualClock(5_000.0))
    script = Script(says("hi")).offer_to(b)
    mine = HttpTransport(SECRET, clock=ManualClock(100.0))
    request = RouteRequest(*CHAT, BODY, "node-a", "t1", deadline_ms=107_000.0)

    async with serve(b, clock=ManualClock(5_000.0)) as url:
        await mine.call(peer(url), request)
    await mine.close()

    assert script.infos[0].deadline == pytest.approx(5_007.0)


async def test_a_hung_provider_of_a_peer_answers_timeout_in_time(transport: HttpTransport) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    Script(forever).offer_to(b)

    async with serve(b) as url:
        introduce(a, b, url)
        result = await a.call(*CHAT, BODY, deadline_seconds=2.0)

    assert (result["error"], result["_routed_via"]) == ("timeout", "node-b")
    assert a.health.state("node:node-b") == "closed"


async def test_a_peer_that_hangs_itself_is_a_timeout_and_a_strike(transport: HttpTransport) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    Script().offer_to(b)

    async with ByteServer(...).serve() as url:
        introduce(a, b, url)
        result = await a.call(*CHAT, BODY, deadline_seconds=0.1)

    assert (result["error"], result["_routed_via"]) == ("timeout", "local")
    assert a.health.state("node:node-b") == "suspect"


async def test_a_stream_whose_headers_do_not_come_is_a_timeout_of_the_exchange() -> None:
    transport = HttpTransport(SECRET, first_byte_seconds=0.05)

    async with ByteServer(...).serve() as url:
        with pytest.raises(ExchangeError) as caught:
            await anext(transport.stream(peer(url), STREAM))
    await transport.close()

    assert caught.value.code == "timeout"


async def test_a_wrong_secret_is_a_partition_and_never_the_clients_fault(transport: HttpTransport) -> None:
    a, b = make_bus("node-a", transport), make_bus("node-b")
    Script(says("never")).offer_to(b)

    async with serve(b, secret="another") as url:
        introduce(a, b, url)
        result = await a.call(*CHAT, BODY)

    assert (result["error"], result["_routed_via"]) == ("partition", "local")
    assert SECRET not in str(result)


@pytest.mark.parametrize("off_seconds", [-3600.0, 3600.0])
async def test_a_clock_that_is_off_is_learned_and_costs_no_strike(off_seconds: float) -> None:
    here, there = ManualClock(), ManualClock()
    here.now += max(off_seconds, 0.0)
    there.now += max(-off_seconds, 0.0)
    transport = HttpTransport(SECRET, utcnow=here.utcnow)
    a, b = make_bus("node-a", transport), make_bus("node-b")
    Script(says("hi")).offer_to(b)

    async with serve(b, utcnow=there.utcnow) as url:
        introduce(a, b, url)
        results = [await a.call(*CHAT, BODY) for _ in range(2)]
    await transport.close()

    assert [content(result) for result in results] == ["hi", "hi"]
    assert a.health.state("node:node-b") == "closed"


@pytest.mark.parametrize("told", ["9" * 5000, "9" * 16, "-1", "x"])
async def test_a_time_that_is_none_is_not_learned(transport: HttpTransport, told: str) -> None:
    refusal = http_answer(b"", status="401 No", headers=f"X-Mesh-Time: {told}\r\n")

    async with ByteServer(refusal).serve() as url:
        with pytest.raises(ExchangeError, match="refuses our signature"):
            await transport.call(peer(url), REQUEST)


async def test_a_peer_that_never_likes_the_time_is_a_partition(transport: HttpTransport) -> None:
    calls = []

    async def never(request: web.Request) -> web.Response:
        calls.append(request.path)
        return web.Response(status=401, headers={"X-Mesh-Time": "1000"})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", never)
    async with serve_app(app) as url:
        with pytest.raises(ExchangeError) as caught:
            await transport.call(peer(url), REQUEST)

    assert caught.value.code == "partition"
    assert len(calls) == 2


async def test_the_memory_of_clocks_is_bounded(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshcore.aio.http_transport.SKEWS_MAX", 1)
    there = ManualClock()
    buses: list[CapabilityBus] = [make_bus(node) for node in ("node-b", "node-c")]

    for bus in buses:
        Script(says("hi")).offer_to(bus)
        async with serve(bus, utcnow=there.utcnow) as url:
            assert content(await transport.call(peer(url, bus.node_id_full), REQUEST)) == "hi"


def answer(status: int, body: bytes, content_type: str = "application/json") -> ByteServer:
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return ByteServer(head.encode() + body)


@pytest.mark.parametrize(
    ("server", "code", "is_exchange"),
    [
        (answer(502, b"<html>bad gateway</html>"), "partition", True),
        (answer(404, b"{}"), "partition", True),
        (answer(400, b'{"error":"bad_request","message":"no"}'), "bad_request", False),
        (answer(200, b"[]"), "internal_error", False),
        (answer(307, b""), "partition", True),
        (ByteServer(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"), "partition", True),
        (ByteServer(b"nonsense\r\n\r\n"), "partition", True),
        (ByteServer(), "partition", True),
    ],
)
async def test_what_is_no_answer_of_a_peer_is_no_answer(
    transport: HttpTransport, server: ByteServer, code: str, is_exchange: bool
) -> None:
    failure: dict[str, Any] = {}

    async with server.serve() as url:
        a = make_bus("node-a", transport)
        b = make_bus("node-b")
        Script().offer_to(b)
        introduce(a, b, url)
        failure = await a.call(*CHAT, BODY)

    assert failure["error"] == code
    assert (failure["_routed_via"] == "local") is is_exchange


SSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("server", "code"),
    [
        (ByteServer(SSE_HEAD + b"data: " + says("x") + b"\n\n"), "partition"),
        (ByteServer(SSE_HEAD + b"data: nonsense\n\n"), "internal_error"),
        (ByteServer(SSE_HEAD + b"event: error\ndata: {}\n\n"), "internal_error"),
        (ByteServer(SSE_HEAD + b'event: error\ndata: {"error":"draining"}\n\n'), "draining"),
        (answer(400, b'{"error":"bad_request","message":"no"}'), "bad_request"),
        (answer(200, b'{"output":{}}'), "internal_error"),
        (answer(500, b"oops", "text/plain"), "partition"),
    ],
)
async def test_a_stream_that_is_none_ends_in_an_error(
    transport: HttpTransport, server: ByteServer, code: str
) -> None:
    async with server.serve() as url:
        with pytest.raises(CallError) as caught:
            async for _ in transport.stream(peer(url), STREAM):
                pass

    assert caught.value.code == code


async def test_an_answer_without_end_is_cut_at_the_bound(
    transport: HttpTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshcore.aio.http_transport.ANSWER_MAX_BYTES", 10)

    async with answer(200, b'{"output": "more than ten bytes"}').serve() as url:
        with pytest.raises(CallError, match="more than 10 bytes"):
            await transport.call(peer(url), REQUEST)


async def test_a_manifest_is_fetched_as_it_is(transport: HttpTransport) -> None:
    b = make_bus("node-b")
    Script().offer_to(b)

    async with serve(b, url="http://b", log_id="log") as url:
        data = await transport.manifest(peer(url))

    assert b'"node_id":"node-b"' in data
    assert b'"url":"http://b"' in data


async def test_a_manifest_that_is_not_given_is_a_partition(transport: HttpTransport) -> None:
    async with answer(503, b"{}").serve() as url:
        with pytest.raises(ExchangeError, match="HTTP 503"):
            await transport.manifest(peer(url))


async def test_a_peer_without_an_address_is_a_partition(transport: HttpTransport) -> None:
    with pytest.raises(ExchangeError, match="no address"):
        await transport.call(PeerRecord("node-b"), REQUEST)


def test_a_transport_without_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="mesh secret"):
        HttpTransport("")


async def test_closing_twice_is_fine(transport: HttpTransport) -> None:
    await transport.close()
    await transport.close()


async def test_a_host_name_that_no_dns_could_hold_is_a_peer_that_is_not_there(
    transport: HttpTransport,
) -> None:
    with pytest.raises(ExchangeError, match=r"node-b can't be reached") as caught:
        await transport.manifest(peer("http://ex..ample"))

    assert caught.value.code == "partition"
