"""Strangers, upstreams and peers that send whatever they like, over real sockets.

Whatever comes: a clear error in OpenAI's shape or an answer, never an error of our own (500); nothing stays
in flight; the node goes on.
"""

from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from meshcore.aio.gateway import connection, requests
from meshcore.aio.health import ProviderHealthCache
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.peers import PeerPoller
from meshcore.aio.providers import EchoProvider
from meshcore.aio.testing import STREAM_HEAD, ByteServer, http_answer, wait_until
from meshcore.clock import monotonic
from meshcore.registry import PeerRecord
from meshcore.sse import encode
from tests.aio.gateway.wire import error_in, raw

JSON = {"Content-Type": "application/json"}
PATH = "/v1/chat/completions"
MODEL = "mock-model"
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}

hostile = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return objects with any of these fields, each right or of any kind."""
    return st.fixed_dictionaries({}, optional={name: right | VALUES for name, right in fields.items()})


def as_json(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return values.map(msgspec.json.encode)


def right(value: Any) -> st.SearchStrategy[Any]:
    return st.just(value)


MESSAGES = st.lists(objects(role=st.sampled_from(["user", "assistant"]), content=st.text()), max_size=3)
REQUESTS = objects(
    model=st.sampled_from([MODEL, "alpha/mock-model", "mesh/fast", "a/"]),
    messages=right(ASK["messages"]) | MESSAGES,
    prompt=st.text(),
    input=st.lists(st.text()),
    stream=st.booleans(),
    stream_options=objects(include_usage=st.booleans()),
    n=right(1),
    tools=st.lists(VALUES),
    max_tokens=right(1),
    response_format=VALUES,
)
BODIES = st.binary(max_size=200) | as_json(VALUES) | as_json(REQUESTS)

DELTAS = objects(role=right("assistant"), content=st.text(), tool_calls=right([{"index": 0}]))
CHOICES = objects(
    index=right(0),
    delta=DELTAS,
    text=st.text(),
    message=objects(role=right("assistant"), content=st.text()),
    finish_reason=right("stop"),
)
USAGES = objects(prompt_tokens=right(1), completion_tokens=right(1), total_tokens=right(2))
FRAMES = objects(
    id=right("x"),
    choices=st.lists(CHOICES, max_size=2),
    usage=USAGES,
    error=objects(message=st.text()),
    data=right([{"embedding": [0.5]}]),
)
EVENTS = st.lists(
    as_json(FRAMES).map(encode)
    | as_json(VALUES).map(encode)
    | st.binary(max_size=50)
    | st.sampled_from(
        [encode(b"[DONE]"), b": ping\n\n", b"\r\n", b"data:", b"event: done\n", b"event: error\n"]
    ),
    max_size=6,
).map(b"".join)
RESULTS = objects(
    output=objects(message=VALUES, text=VALUES, data=VALUES, finish_reason=VALUES),
    openai=VALUES,
    usage=USAGES,
    model=st.text(),
    error=st.text(),
    message=st.text(),
    attempts=VALUES,
    refused=VALUES,
    retry_after_ms=VALUES,
)
HTTP_HEADS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 429 No\r\n",
        b"HTTP/1.1 302 Go\r\nLocation: /\r\n",
        b"HTTP/9 200\r\n",
        b"",
    ]
)


@pytest.fixture
def patient() -> ProviderHealthCache:
    """Breakers that stay closed, so that each example reaches the far side."""
    return ProviderHealthCache(failure_threshold=1_000_000, clock=monotonic)


async def ends_well(answer: aiohttp.ClientResponse) -> None:
    """Check that this is an answer, or one clear error."""
    body = await answer.read()
    assert answer.status != 500, body
    assert answer.status == 200 or 400 <= answer.status < 600
    if answer.status != 200:
        error = msgspec.json.decode(body)["error"]
        assert error["message"]
        assert error["code"]
    elif answer.content_type == "text/event-stream":
        assert body.endswith(b"data: [DONE]\n\n") is not (b'data: {"error":' in body.split(b"\n\n")[-2])
    else:
        msgspec.json.decode(body)


async def goes_on(node: Any) -> None:
    """Check that nothing is left of a call."""
    await wait_until(lambda: node.controller.readout().in_flight.total == 0)
    await wait_until(lambda: all(entry.in_flight == 0 for entry in node.bus.registry.all()))
    assert node.bus.health.permits_out == 0


# Clients


@pytest.fixture
async def echo_node(start_node: Any) -> Any:
    return await start_node("node-a", EchoProvider("alpha", (MODEL,)))


@hostile
@given(body=BODIES, path=st.sampled_from([PATH, "/v1/completions", "/v1/embeddings"]))
async def test_any_body_is_answered_or_refused(
    echo_node: Any, http: aiohttp.ClientSession, body: bytes, path: str
) -> None:
    async with http.post(echo_node.url + path, data=body, headers=JSON) as answer:
        await ends_well(answer)

    await goes_on(echo_node)


HEADERS = st.sampled_from(
    [
        *(b"Authorization", b"Content-Type", b"Content-Length", b"Content-Encoding", b"Transfer-Encoding"),
        *(b"Expect", b"Host", b"Accept", b"Upgrade", b"traceparent", b"X-Mesh-Trace-Id", b"Cookie"),
    ]
)
HEADER_VALUES = st.binary(max_size=30).filter(lambda value: b"\n" not in value and b"\r" not in value) | (
    st.sampled_from(
        [
            *(b"Bearer x", b"application/json", b"gzip", b"br", b"deflate", b"chunked", b"100-continue"),
            *(b"0", b"1", b"99999999999999999999", b"-1", b"websocket", b"h2c", b"x" * 20_000),
            *(
                b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-01",
                b"multipart/form-data; boundary=",
                b"text/html",
            ),
        ]
    )
)
TARGETS = st.sampled_from(
    [
        *(b"/v1/chat/completions", b"/v1/models/%ff%00", b"/healthz", b"/bus/v1/call", b"/bus/v1/manifest"),
        *(b"*", b"//", b"http://[::1/", b"/%", b"/../../etc/passwd", b"/v1/models/" + b"a" * 9000, b""),
    ]
)


@hostile
@given(
    method=st.sampled_from([b"GET", b"POST", b"OPTIONS", b"CONNECT", b"HEAD", b"PATCH", b"\xff"]),
    target=TARGETS,
    headers=st.lists(st.tuples(HEADERS, HEADER_VALUES), max_size=5),
    body=st.binary(max_size=50),
)
async def test_any_head_is_answered_or_refused(
    echo_node: Any,
    short_of_time: None,
    method: bytes,
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Connection: close"]
    lines += [b"%s: %s" % header for header in headers]

    answer = await raw(echo_node.url, b"\r\n".join([*lines, b"", body]))

    status = int(answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")[9:12] or 0)
    assert status in (0, 101) or 200 <= status < 500, answer
    if status >= 400 and method != b"HEAD":
        error = error_between_nodes(answer) if target.startswith(b"/bus/") else error_in(answer)
        assert error["message"]
    await goes_on(echo_node)


def error_between_nodes(answer: bytes) -> dict[str, Any]:
    """Return the error of an answer as nodes tell it to each other, or as clients are told."""
    body: dict[str, Any] = msgspec.json.decode(answer.partition(b"\r\n\r\n")[2])
    return body["error"] if isinstance(body["error"], dict) else body


@pytest.fixture
def short_of_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for a body that was announced and never comes."""
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.05)
    monkeypatch.setattr(connection, "LINGER_SECONDS", 0.05)


DEEP = [piece * 50_000 for piece in (b"[", b'{"a":', b'{"messages":', b'{"openai":', b'{"choices":')]
deep = pytest.mark.parametrize("bottomless", DEEP, ids=["list", "object", "request", "result", "answer"])


@deep
async def test_a_body_without_a_bottom_is_refused(
    echo_node: Any, http: aiohttp.ClientSession, bottomless: bytes
) -> None:
    async with http.post(echo_node.url + PATH, data=bottomless, headers=JSON) as answer:
        await ends_well(answer)
    assert answer.status == 400


# Upstreams


@pytest.fixture
def far_side() -> ByteServer:
    """An upstream, or a peer, whose `steps` each example sets."""
    return ByteServer()


@pytest.fixture
async def node(
    stack: AsyncExitStack,
    start_node: Any,
    start_provider: Any,
    far_side: ByteServer,
    patient: ProviderHealthCache,
) -> Any:
    """A node before the hostile upstream."""
    url = await stack.enter_async_context(far_side.serve())
    return await start_node("node-a", await start_provider(url), health=patient)


async def ask(
    node: Any, http: aiohttp.ClientSession, *, stream: bool, path: str = PATH, **fields: Any
) -> None:
    """Make a call and check how it ends."""
    async with http.post(
        node.url + path, json={**ASK, "prompt": "hi", "input": "hi", **fields, "stream": stream}
    ) as answer:
        await ends_well(answer)
    await goes_on(node)


@hostile
@given(events=EVENTS)
async def test_whatever_an_upstream_streams_ends_in_done_or_one_error(
    node: Any, http: aiohttp.ClientSession, far_side: ByteServer, events: bytes
) -> None:
    far_side.steps = (STREAM_HEAD, events)

    await ask(node, http, stream=True)


@hostile
@given(
    body=as_json(FRAMES) | as_json(VALUES) | st.binary(max_size=50),
    path=st.sampled_from([PATH, "/v1/completions"]),
)
async def test_whatever_an_upstream_answers_is_an_answer_or_one_error(
    node: Any, http: aiohttp.ClientSession, far_side: ByteServer, body: bytes, path: str
) -> None:
    far_side.steps = (http_answer(body),)

    await ask(node, http, stream=False, path=path)


@hostile
@given(head=HTTP_HEADS, headers=st.lists(st.tuples(HEADERS, HEADER_VALUES), max_size=3), body=st.binary())
async def test_whatever_an_upstream_sends_instead_of_http_is_one_error(
    node: Any,
    http: aiohttp.ClientSession,
    far_side: ByteServer,
    head: bytes,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    lines = b"".join(b"%s: %s\r\n" % header for header in headers)
    far_side.steps = (head + lines + b"\r\n" + body,)

    await ask(node, http, stream=False)


@deep
async def test_an_upstreams_answer_without_a_bottom_is_one_error(
    node: Any, http: aiohttp.ClientSession, far_side: ByteServer, bottomless: bytes
) -> None:
    far_side.steps = (http_answer(bottomless),)
    await ask(node, http, stream=False)

    far_side.steps = (STREAM_HEAD, encode(bottomless))
    await ask(node, http, stream=True)


# Peers


@pytest.fixture
async def node_with_peer(
    stack: AsyncExitStack, start_node: Any, far_side: ByteServer, patient: ProviderHealthCache
) -> Any:
    """A node whose only provider is at a hostile peer."""
    url = await stack.enter_async_context(far_side.serve())
    node = await start_node("node-a", health=patient)
    record = PeerRecord("node-b", endpoints=[url])
    offer = {"name": "llm.chat", "params": {"model": MODEL}, "max_concurrent": 9}
    node.bus.registry.update_from_peer_manifest(record, {"capabilities": [offer]})
    return node


@hostile
@given(body=as_json(RESULTS) | as_json(VALUES) | st.binary(max_size=50))
async def test_whatever_a_peer_answers_is_an_answer_or_one_error(
    node_with_peer: Any, http: aiohttp.ClientSession, far_side: ByteServer, body: bytes
) -> None:
    far_side.steps = (http_answer(body),)

    await ask(node_with_peer, http, stream=False)


@hostile
@given(events=EVENTS, error=as_json(RESULTS) | as_json(VALUES))
async def test_whatever_a_peer_streams_ends_in_done_or_one_error(
    node_with_peer: Any, http: aiohttp.ClientSession, far_side: ByteServer, events: bytes, error: bytes
) -> None:
    far_side.steps = (STREAM_HEAD, events, encode(error, "error"))

    await ask(node_with_peer, http, stream=True)


OFFERS = st.fixed_dictionaries(
    {"name": st.sampled_from(["llm.chat", "llm.completion", "llm.embedding", "x"])},
    optional={
        "version": st.sampled_from(["1.0", "1.1", "2.0", "1"]),
        "provider": st.sampled_from(["far", "a\nb", "x" * 10_000, 7]),
        "params": objects(
            model=st.sampled_from([MODEL, "a\nb", ""]),
            models=st.lists(right(MODEL)),
            tools=st.booleans(),
            vision=st.booleans(),
            continuation=right("prefill"),
        ),
        "max_concurrent": st.sampled_from([1, 3, 10**12, 10**30, 0, -1, "3"]),
        "available": st.booleans(),
    },
)
MANIFESTS = st.fixed_dictionaries(
    {"node_id": right("node-b"), "capabilities": st.lists(OFFERS, max_size=3)},
    optional={"community": st.sampled_from(["default", "other"]), "draining": st.booleans()},
)


@settings(parent=hostile, max_examples=80)
@given(manifest=as_json(MANIFESTS) | as_json(VALUES) | st.binary(max_size=50))
async def test_whatever_a_peer_says_of_itself_is_taken_or_refused_as_a_whole(
    node_with_peer: Any,
    mesh: HttpTransport,
    http: aiohttp.ClientSession,
    far_side: ByteServer,
    manifest: bytes,
) -> None:
    far_side.steps = (http_answer(manifest),)
    registry = node_with_peer.bus.registry
    before, url = registry.all_remote(), registry.peers()[0].record.endpoints[0]

    taken = await PeerPoller(node_with_peer.bus, mesh, {"node-b": url}).poll("node-b")

    assert taken or registry.all_remote() == before
    async with http.get(f"{node_with_peer.url}/v1/models") as models:
        assert models.status == 200
    async with http.get(f"{node_with_peer.url}/v1/health") as health:
        assert health.status in (200, 503)
    async with http.get(f"{node_with_peer.url}/metrics") as metrics:
        assert metrics.status == 200
    msgspec.json.encode(node_with_peer.bus.topology_snapshot())
    await ask(node_with_peer, http, stream=False)
    await ask(node_with_peer, http, stream=True)


@deep
async def test_what_a_peer_says_without_a_bottom_is_one_error(
    node_with_peer: Any,
    mesh: HttpTransport,
    http: aiohttp.ClientSession,
    far_side: ByteServer,
    bottomless: bytes,
) -> None:
    bus = node_with_peer.bus
    url = bus.registry.peers()[0].record.endpoints[0]

    far_side.steps = (http_answer(bottomless),)
    await ask(node_with_peer, http, stream=False)
    assert not await PeerPoller(bus, mesh, {"node-b": url}).poll("node-b")
    far_side.steps = (STREAM_HEAD, encode(bottomless), encode(bottomless, "error"))
    await ask(node_with_peer, http, stream=True)
