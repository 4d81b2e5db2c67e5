"""Sessions through a whole bus: they stay, they move after a failover, they end when idle."""

from typing import Any

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.transport import InMemoryTransport
from meshcore.alias import AliasBook
from meshcore.testing import ManualClock
from meshcore.trace import Why
from tests.aio.bus_mesh import BODY, CHAT, Script, content, fails, introduce, make_bus, says


class Scene:
    """A bus with two peers that offer the same; `fast` has the better score until something changes."""

    def __init__(self, **fields: Any) -> None:
        self.clock = ManualClock()
        transport = InMemoryTransport()
        self.a = make_bus("node-a", transport, clock=self.clock, **fields)
        self.scripts = {name: Script(says(name)) for name in ("fast", "slow")}
        self.peers = {name: make_bus(name, transport, clock=self.clock) for name in self.scripts}
        for name, script in self.scripts.items():
            script.offer_to(self.peers[name])
            introduce(self.a, self.peers[name])
        self.speed(fast=10.0, slow=100.0)

    def speed(self, **p50_ms: float) -> None:
        """Set how fast each peer seems."""
        for name, speed in p50_ms.items():
            window = self.a.registry.of_peer(name)[0].window
            for _ in range(100):
                window.succeeded(speed)

    async def ask(self, session: str | None = "s1") -> str:
        """Return who answers a call of a session."""
        return content(await self.a.call(*CHAT, BODY, session_id=session))

    def why(self) -> Why:
        """Return why the last call went where it went."""
        return self.a.traces.last(1)[0].why


async def test_a_session_stays_where_it_was_though_another_has_become_faster() -> None:
    scene = Scene()
    first = await scene.ask()
    scene.speed(fast=1000.0)

    assert (first, await scene.ask(), scene.why()) == ("fast", "fast", Why.STICKY)
    assert (await scene.ask("s2"), scene.why()) == ("slow", Why.SCORE)
    assert (await scene.ask(None), scene.why()) == ("slow", Why.SCORE)
    assert await scene.ask("") == "slow"


async def test_a_session_stays_with_the_one_that_took_over() -> None:
    scene = Scene()
    await scene.ask()
    scene.scripts["fast"].steps = (fails("unavailable"),)
    over = await scene.ask()
    moved = scene.why()
    scene.scripts["fast"].steps = (says("fast"),)

    assert (over, moved) == ("slow", Why.FAILOVER)
    assert (await scene.ask(), scene.why()) == ("slow", Why.STICKY)


async def test_a_session_whose_place_is_refused_finds_another_and_stays_there() -> None:
    scene = Scene()
    await scene.ask()
    for _ in range(2):
        scene.a.health.mark_unhealthy("node:fast", "partition")

    elsewhere = await scene.ask()
    scene.a.health.mark_healthy("node:fast")

    assert (elsewhere, await scene.ask()) == ("slow", "slow")


async def test_a_failed_call_binds_no_session() -> None:
    scene = Scene()
    for script in scene.scripts.values():
        script.steps = (fails("bad_request"),)
    await scene.a.call(*CHAT, BODY, session_id="s1")

    assert scene.a.topology_snapshot()["sessions"] == 0


async def test_a_session_ends_after_ten_idle_minutes() -> None:
    scene = Scene()
    await scene.ask()
    scene.speed(fast=1000.0)
    scene.clock.advance(600.0)
    for peer in scene.peers.values():
        introduce(scene.a, peer)

    assert (await scene.ask(), scene.why()) == ("slow", Why.SCORE)


async def test_case_31_a_session_outlives_a_manifest() -> None:
    scene = Scene()
    await scene.ask()
    scene.speed(fast=1000.0)
    for peer in scene.peers.values():
        introduce(scene.a, peer)

    assert (await scene.ask(), scene.why()) == ("fast", Why.STICKY)


async def test_a_stream_binds_its_session_with_its_first_content() -> None:
    scene = Scene()
    async with scene.a.stream(*CHAT, BODY, session_id="s1") as stream:
        await stream.start()
        bound = scene.a.topology_snapshot()["sessions"]
    scene.speed(fast=1000.0)

    assert (bound, await scene.ask()) == (1, "fast")


async def test_a_session_of_an_alias_stays_at_the_entry_that_took_over() -> None:
    alpha = Script(fails("unavailable"), provider="alpha", model="m1")
    beta = Script(says("beta"), provider="beta", model="m2")
    bus: CapabilityBus = make_bus("node-a", aliases=AliasBook({"mesh/two": ("alpha/m1", "beta/m2")}))
    for script in (alpha, beta):
        script.offer_to(bus)
    body = {**BODY, "params": {"model": "mesh/two"}}

    await bus.call(*CHAT, body, session_id="s1")
    await bus.call(*CHAT, body, session_id="s1")

    assert (alpha.calls, beta.calls) == (1, 2)
    assert bus.traces.last(1)[0].why is Why.STICKY
