"""One attempt: what is told to providers and peers, and what an exception means."""

from typing import Any

import pytest

from meshcore.aio.dispatch import BusSettings, Dispatcher, Lease
from meshcore.aio.exchange import Exchange
from meshcore.aio.health import ProviderHealthCache
from meshcore.capability import CapabilityDescriptor, RouteRequest
from meshcore.errors import CallError, ExchangeError
from meshcore.journey import Journey
from meshcore.openai_wire import Chunk
from meshcore.registry import PeerRecord, Registry
from meshcore.testing import START, ManualClock
from tests.aio.bus_mesh import BODY, CHAT, Script, says


class Recorder:
    """A transport that notes requests and answers nothing of interest."""

    def __init__(self) -> None:
        self.requests: list[RouteRequest] = []

    async def call(self, peer: PeerRecord, request: RouteRequest) -> dict[str, Any]:
        self.requests.append(request)
        return {}

    async def stream(self, peer: PeerRecord, request: RouteRequest) -> Any:
        self.requests.append(request)
        yield Chunk(b"", None)  # type: ignore[arg-type]

    async def close(self) -> None:
        """Nothing is open."""


class Scene:
    """A lease on node-a, of a local provider or of node-b."""

    def __init__(self, *, remote: bool, stream: bool = False, timeout_seconds: float = 60.0) -> None:
        clock = ManualClock(1000.0)
        registry = Registry("node-a", clock=clock)
        self.script = Script(says("hi"))
        if remote:
            registry.update_from_peer_manifest(PeerRecord("node-b"), {"capabilities": [{"name": "llm.chat"}]})
        else:
            descriptor = CapabilityDescriptor(name="llm.chat", timeout_seconds=timeout_seconds)
            registry.register_local(descriptor, self.script.call, stream=self.script.stream)
        request = RouteRequest(*CHAT, BODY, "key-1", "t1", stream=stream, traceparent="00-1-2-01")
        self.journey = Journey(
            request,
            node_id="node-a",
            started=1000.0,
            started_at=START,
            deadline=1100.0,
            local_only=False,
            params=BODY["params"],
            model_asked="",
        )
        dispatcher = Dispatcher(registry, ProviderHealthCache(clock=clock), BusSettings(), clock=clock)
        lease = dispatcher.next(self.journey, draining=False)
        assert lease is not None
        self.lease: Lease = lease
        self.recorder = Recorder()
        self.exchange = Exchange("node-a", self.recorder)


async def test_a_provider_is_told_of_its_attempt() -> None:
    scene = Scene(remote=False, timeout_seconds=30.0)

    await scene.exchange.call(scene.lease, scene.journey)

    info = scene.script.infos[0]
    assert (info.trace_id, info.capability, info.caller, info.traceparent) == (
        "t1",
        "llm.chat",
        "key-1",
        "00-1-2-01",
    )
    assert (info.deadline, info.timeout_seconds, info.stream) == (1100.0, 30.0, False)


async def test_a_peer_is_told_who_calls_by_which_path_and_to_answer_a_little_earlier() -> None:
    scene = Scene(remote=True)

    await scene.exchange.call(scene.lease, scene.journey)

    request = scene.recorder.requests[0]
    assert (request.caller, request.path, request.trace_id) == ("node-a", ("node-a",), "t1")
    assert request.deadline_ms == pytest.approx(1_059_000.0)


async def test_a_peers_stream_has_the_whole_deadline() -> None:
    scene = Scene(remote=True, stream=True)

    assert [chunk async for chunk in scene.exchange.open(scene.lease, scene.journey)]

    assert scene.recorder.requests[0].deadline_ms == 1_100_000.0
    assert scene.recorder.requests[0].stream


@pytest.mark.parametrize(
    ("remote", "stream", "kind"),
    [(True, False, ExchangeError), (True, True, CallError), (False, False, CallError)],
)
def test_our_own_timeout_strikes_a_peer_only_when_it_said_nothing(
    remote: bool, stream: bool, kind: type[CallError]
) -> None:
    scene = Scene(remote=remote, stream=stream)

    error = scene.exchange.failure(scene.lease, scene.journey, TimeoutError())

    assert (type(error), error.code) == (kind, "timeout")


def test_an_error_of_the_call_stays_itself() -> None:
    scene = Scene(remote=True)
    error = CallError("draining", "not now")

    assert scene.exchange.failure(scene.lease, scene.journey, error) is error


async def test_an_entry_that_nobody_serves_is_not_implemented() -> None:
    scene = Scene(remote=False)
    scene.lease.entry.handler = None
    scene.lease.entry.stream = None

    with pytest.raises(CallError) as of_call:
        await scene.exchange.call(scene.lease, scene.journey)
    with pytest.raises(CallError) as of_stream:
        scene.exchange.open(scene.lease, scene.journey)

    assert (of_call.value.code, of_stream.value.code) == ("not_implemented", "not_implemented")
