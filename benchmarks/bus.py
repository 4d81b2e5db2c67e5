"""Calls a second over the capability bus, with routing, permit and full trace; and the floor below it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.loops import Loop, Prepare, contestant
from benchmarks.rounds import Contestant, Role
from benchmarks.table import Goal

UNIT = "calls"
LOCAL = "bus, local"
REMOTE = "bus, remote in memory"
FLOOR = "dictionary and await"
GOALS = (Goal(rate=60_000),)
CAPABILITY = "bench.echo"
VERSION = (1, 0)
BODY: dict[str, Any] = {"params": {}, "input": {"messages": [{"role": "user", "content": "Is all well?"}]}}
ANSWER: dict[str, Any] = {"output": {"message": {"role": "assistant", "content": "It is."}}}


async def _answer(request: Any) -> dict[str, Any]:
    return ANSWER


def _local() -> Loop:
    from meshcore.aio.bus import CapabilityBus
    from meshcore.capability import CapabilityDescriptor

    bus = CapabilityBus("here")
    bus.register_capability(CapabilityDescriptor(name=CAPABILITY, max_concurrent=16), _answer)

    async def calls(times: int) -> None:
        for _ in range(times):
            await bus.call(CAPABILITY, VERSION, BODY)

    return calls


def _remote() -> Loop:
    from meshcore.aio.bus import CapabilityBus
    from meshcore.aio.transport import InMemoryTransport
    from meshcore.capability import CapabilityDescriptor
    from meshcore.registry import PeerRecord

    transport = InMemoryTransport()
    here = CapabilityBus("here", transport=transport)
    there = CapabilityBus("there", transport=transport)
    there.register_capability(CapabilityDescriptor(name=CAPABILITY, max_concurrent=16), _answer)
    here.registry.update_from_peer_manifest(PeerRecord("there"), there.manifest())

    async def calls(times: int) -> None:
        for _ in range(times):
            await here.call(CAPABILITY, VERSION, BODY)

    return calls


def _floor() -> Loop:
    handlers = {CAPABILITY: _answer}

    async def calls(times: int) -> None:
        for _ in range(times):
            await handlers[CAPABILITY](BODY)

    return calls


LOOPS: dict[str, Prepare] = {LOCAL: _local, REMOTE: _remote, FLOOR: _floor}


@contextmanager
def contestants(*, with_peers: bool) -> Iterator[list[Contestant]]:
    """Give those that are measured; there is no peer to compare with."""
    yield [
        contestant(LOCAL, Role.OURS, __name__),
        contestant(REMOTE, Role.OURS, __name__),
        contestant(FLOOR, Role.LIMIT, __name__),
    ]
