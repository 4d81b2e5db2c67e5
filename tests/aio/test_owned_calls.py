"""Calls for runs that a node owns."""

from meshcore.aio.owned_calls import Resumption
from meshcore.capability import RouteRequest
from meshcore.openai_wire import Chunk, ChunkKind
from meshcore.splice import Begun
from tests.aio.bus_mesh import BODY, CHAT, Script, fails, make_bus, says
from tests.aio.run_mesh import answer

OPENAI = {**BODY, "params": {"model": "m"}}
PREFILL = {"model": "m", "continuation": "prefill"}


def request(*, stream: bool = True) -> RouteRequest:
    return RouteRequest(*CHAT, OPENAI, stream=stream)


def begun() -> Begun:
    begun = Begun()
    begun.saw(Chunk(b'{"id":"c1","model":"m"}', ChunkKind.CONTENT, "one "))
    return begun


async def test_owned_calls_pass_a_closed_gate() -> None:
    bus = make_bus("a")
    Script(*answer("one ")).offer_to(bus)
    bus.draining = lambda: True

    async with bus.owned.stream(request(), continues=True) as stream:
        said = "".join([chunk.text async for chunk in stream])

    assert (said, bus.owned.obstacle(request())) == ("one ", None)


async def test_it_is_known_before_whether_anybody_could_serve() -> None:
    bus = make_bus("a")
    nobody = bus.owned.obstacle(request())
    Script(*answer("x"), max_concurrent=1).offer_to(bus)
    async with bus.owned.stream(request(), continues=True) as stream:
        await stream.start()
        busy = bus.owned.obstacle(request())

    assert nobody is not None and nobody.code == "not_found"
    assert busy is not None and busy.code == "capacity_exceeded"


async def test_the_rest_of_an_answer_is_asked_of_who_can_go_on() -> None:
    bus = make_bus("a")
    cannot = Script(*answer("anew"), provider="cannot").offer_to(bus)
    can = Script(says("two"), provider="can", params=PREFILL).offer_to(bus)
    rest = Resumption(begun(), "m", "node-b")

    assert bus.owned.obstacle(request(), rest) is None
    async with bus.owned.stream(request(), rest, continues=True) as stream:
        chunks = [chunk async for chunk in stream]

    assert (cannot.calls, can.calls) == (0, 1)
    assert can.requests[0].body["openai"]["messages"][-1] == {"role": "assistant", "content": "one "}
    assert [b'"id":"c1"' in chunk.data for chunk in chunks] == [True]
    (trace,) = bus.traces.last(1)
    assert trace.splices[0].from_node == "node-b"


async def test_nobody_who_can_go_on_is_an_obstacle() -> None:
    bus = make_bus("a")
    Script(*answer("anew")).offer_to(bus)

    why_not = bus.owned.obstacle(request(), Resumption(begun(), "m", "node-b"))

    assert why_not is not None and "node-b" in why_not.message


async def test_a_whole_answer_comes_with_its_error() -> None:
    bus = make_bus("a")
    Script(fails("unavailable")).offer_to(bus)

    result = await bus.owned.call(request(stream=False))

    assert result["error"] == "unavailable"
