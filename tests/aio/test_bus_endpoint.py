"""The inbound side of the bus, without a web framework."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshcore import sse
from meshcore.aio.bus import CapabilityBus
from meshcore.aio.bus_endpoint import Answer, BusEndpoint
from meshcore.bus_wire import ACCEPTED, CALL_PATH, MANIFEST_PATH, encode_call
from meshcore.capability import RouteRequest
from meshcore.signing import TIME_HEADER, epoch_ms, sign
from meshcore.testing import ManualClock
from tests.aio.bus_mesh import BODY, CHAT, ROLE, SECRET, STOP, Script, fails, is_at_rest, make_bus, says

REQUEST = RouteRequest(*CHAT, BODY, "node-a", "t1")
STREAM = RouteRequest(*CHAT, BODY, "node-a", "t1", stream=True)


class Peer:
    """A node-b and somebody who knows how to sign."""

    def __init__(self, *steps: Any) -> None:
        self.clock = ManualClock()
        self.bus: CapabilityBus = make_bus("node-b", clock=self.clock)
        self.script = Script(*steps).offer_to(self.bus)
        self.endpoint = BusEndpoint(
            self.bus, SECRET, clock=self.clock, utcnow=self.clock.utcnow, url="http://b", log_id="log-1"
        )
        self._nonce = 0

    async def ask(
        self, body: bytes, *, method: str = "POST", path: str = CALL_PATH, off_seconds: float = 0.0
    ) -> Answer:
        self._nonce += 1
        headers = sign(
            SECRET.encode(),
            at_ms=epoch_ms(self.clock.utcnow() + timedelta(seconds=off_seconds)),
            nonce=f"{self._nonce:016}",
            method=method,
            path=path,
            target="node-b",
            body=body,
        )
        return await self.endpoint.handle(method, path, headers, body)


def said(answer: Answer) -> dict[str, Any]:
    return msgspec.json.decode(answer.body, type=dict[str, Any])


async def events(answer: Answer) -> list[bytes]:
    assert answer.events is not None
    return [event async for event in answer.events]


async def test_a_signed_call_is_served_without_a_stamp() -> None:
    peer = Peer(says("hi"))

    answer = await peer.ask(encode_call(REQUEST, now=0.0))

    assert (answer.status, answer.content_type, answer.events) == (200, "application/json", None)
    assert said(answer)["output"]["message"]["content"] == "hi"
    assert "_routed_via" not in said(answer)


async def test_an_error_result_is_an_answer() -> None:
    answer = await Peer(fails("unavailable")).ask(encode_call(REQUEST, now=0.0))

    assert (answer.status, said(answer)["error"]) == (200, "unavailable")


async def test_an_unsigned_call_runs_nothing() -> None:
    peer = Peer(says("hi"))

    answer = await peer.endpoint.handle("POST", CALL_PATH, {}, encode_call(REQUEST, now=0.0))

    assert (answer.status, said(answer)["error"], answer.headers) == (401, "unauthorized", {})
    assert peer.script.calls == 0


async def test_a_clock_that_is_off_is_told_the_time() -> None:
    peer = Peer(says("hi"))

    answer = await peer.ask(encode_call(REQUEST, now=0.0), off_seconds=301.0)

    assert (answer.status, said(answer)["error"]) == (401, "clock_skew")
    assert answer.headers == {TIME_HEADER: str(epoch_ms(peer.clock.utcnow()))}
    assert peer.script.calls == 0


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"capability": 7}', b"\xff"])
async def test_a_malformed_call_is_a_bad_request(body: bytes) -> None:
    peer = Peer(says("hi"))

    answer = await peer.ask(body)

    assert (answer.status, said(answer)["error"]) == (400, "bad_request")
    assert peer.script.calls == 0


@pytest.mark.parametrize(
    ("method", "path"), [("GET", CALL_PATH), ("POST", MANIFEST_PATH), ("POST", "/bus/v1/else")]
)
async def test_another_path_is_not_found(method: str, path: str) -> None:
    answer = await Peer().ask(b"", method=method, path=path)

    assert (answer.status, said(answer)["error"]) == (404, "not_found")


async def test_the_manifest_tells_url_log_and_drain() -> None:
    peer = Peer()
    peer.bus.draining = lambda: True

    answer = await peer.ask(b"", method="GET", path=MANIFEST_PATH)

    assert said(answer)["draining"] is True
    assert (said(answer)["url"], said(answer)["log_id"]) == ("http://b", "log-1")


async def test_a_stream_is_accepted_at_once_and_ends_with_done() -> None:
    peer = Peer(ROLE, says("hi"), STOP)

    answer = await peer.ask(encode_call(STREAM, now=0.0))
    calls_before = peer.script.calls

    assert answer.content_type == "text/event-stream"
    assert calls_before == 0
    accepted, *sent = await events(answer)
    assert accepted == ACCEPTED
    assert b"".join(sent) == sse.encode_all([ROLE, says("hi"), STOP]) + b"event: done\ndata: {}\n\n"
    assert is_at_rest(peer.bus)


@pytest.mark.parametrize("steps", [(fails("unavailable"),), (says("halb"), fails("unavailable"))])
async def test_a_stream_that_fails_ends_with_one_error(steps: tuple[Any, ...]) -> None:
    peer = Peer(*steps)

    sent = await events(await peer.ask(encode_call(STREAM, now=0.0)))

    assert sent[-1].startswith(b"event: error\ndata: ")
    assert b'"error":"unavailable"' in sent[-1]
    assert sum(event.startswith(b"event: ") for event in sent) == 1
    assert is_at_rest(peer.bus)


async def test_closing_the_events_closes_the_stream() -> None:
    peer = Peer(says("begun"), says("more"))
    answer = await peer.ask(encode_call(STREAM, now=0.0))
    assert answer.events is not None

    await anext(answer.events)
    await anext(answer.events)
    await answer.events.aclose()

    assert peer.script.running == 0
    assert is_at_rest(peer.bus)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
CALLS = st.fixed_dictionaries(
    {"capability": st.just("llm.chat"), "version": st.just([1, 0]), "body": JSON_VALUES},
    optional={
        "trace_id": st.text(),
        "remaining_ms": st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        "stream": st.booleans(),
        "path": st.lists(st.sampled_from(["node-a", "node-b"])),
        "session_id": JSON_VALUES,
    },
) | st.dictionaries(st.sampled_from(["capability", "version", "body"]), JSON_VALUES)


@settings(deadline=None)
@given(body=st.binary(max_size=50) | CALLS.map(msgspec.json.encode))
async def test_whatever_a_signed_body_says_it_is_answered_and_leaves_nothing(body: bytes) -> None:
    peer = Peer(says("hi"), STOP)

    answer = await peer.ask(body)
    sent = await events(answer) if answer.events is not None else []

    assert answer.status in (200, 400)
    if answer.status == 400:
        assert said(answer)["message"].startswith("call: ")
    assert [b"event: " in event for event in sent] == [False] * (len(sent) - 1) + [True] * bool(sent)
    assert is_at_rest(peer.bus)
