"""The trickle: whom it asks, and what it counts."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from meshcore.aio.demo import traffic as traffic_module
from meshcore.aio.demo.traffic import LONG_SAYING, Traffic
from meshcore.aio.testing import wait_until

WHOLE = b"data: {}\n\ndata: [DONE]\n\n"


class FakeNode:
    """Answers every call the same way and remembers what it was asked."""

    def __init__(self, *, status: int = 200, text: bytes = WHOLE, routed_via: str = "local") -> None:
        self.status = status
        self.text = text
        self.routed_via = routed_via
        self.asked: list[dict[str, object]] = []
        self.looks = 0  # at its readiness; it is ready from the second one on

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/readyz", self._ready)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        await runner.cleanup()

    async def _ready(self, _: web.Request) -> web.Response:
        self.looks += 1
        return web.Response(status=200 if self.looks > 1 else 503)

    async def _answer(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        return web.Response(
            body=self.text, status=self.status, headers={"X-Mesh-Routed-Via": self.routed_via}
        )


async def call_once(traffic: Traffic, first: str = "a") -> None:
    async with aiohttp.ClientSession() as session:
        await traffic.call(session, first, 0)


async def test_an_answer_is_counted_with_who_gave_it() -> None:
    node = FakeNode(routed_via="node-b")
    async with node.serve() as url:
        traffic = Traffic({"a": url})

        await call_once(traffic)

    assert traffic.counts == {"calls": 1, "answered": 1}
    (answer,) = traffic.recent
    assert (answer.asked, answer.answered_by, answer.routed_via, answer.status) == ("a", "a", "node-b", 200)
    assert node.asked[0]["messages"] == [{"role": "user", "content": LONG_SAYING}]


@pytest.mark.parametrize("first", ["dead", "draining"])
async def test_an_application_goes_on_to_the_next_node(first: str) -> None:
    async with FakeNode(status=503).serve() as draining, FakeNode().serve() as good:
        traffic = Traffic({"dead": "http://127.0.0.1:1", "draining": draining, "good": good})

        await call_once(traffic, first)

    assert traffic.counts == {"calls": 1, "answered": 1, "moved_on": 1}
    assert traffic.recent[0].answered_by == "good"


async def test_another_error_is_a_failed_call() -> None:
    async with FakeNode(status=502).serve() as url, FakeNode().serve() as other:
        traffic = Traffic({"a": url, "b": other})

        await call_once(traffic)

    assert traffic.counts == {"calls": 1, "failed": 1}
    assert (traffic.recent[0].answered_by, traffic.recent[0].status) == ("", 502)


async def test_a_stream_without_its_end_is_no_answer() -> None:
    async with FakeNode(text=b"data: {}\n\n").serve() as url:
        traffic = Traffic({"a": url}, chance=random.Random(1))  # its first draw streams

        await call_once(traffic)

    assert traffic.recent[0].stream
    assert traffic.counts == {"calls": 1, "failed": 1}


async def test_the_trickle_asks_all_nodes_in_turn() -> None:
    first, second = FakeNode(), FakeNode()
    async with first.serve() as one, second.serve() as two:
        traffic = Traffic({"a": one, "b": two}, calls_per_second=100, sayings=str)
        running = asyncio.create_task(traffic.run())
        await wait_until(lambda: bool(first.asked) and len(second.asked) >= 2)
        assert first.looks == second.looks == 2
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    assert traffic.counts["failed"] == 0


async def test_calls_beyond_the_bound_are_skipped_and_counted() -> None:
    async with FakeNode().serve() as url:
        traffic = Traffic({"a": url}, calls_per_second=1000, open_max=0)
        running = asyncio.create_task(traffic.run())

        await wait_until(lambda: traffic.counts["skipped"] > 0)

        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert traffic.counts["calls"] == 0


async def test_the_trickle_begins_in_the_end_though_nobody_is_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_module, "READY_EVERY_SECONDS", 0)
    traffic = Traffic({"dead": "http://127.0.0.1:1"}, calls_per_second=1000)
    running = asyncio.create_task(traffic.run())

    await wait_until(lambda: traffic.counts["failed"] > 0)

    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert traffic.counts["answered"] == 0
