"""The in-memory transport."""

import pytest

from meshcore.aio.transport import InMemoryTransport
from meshcore.capability import RouteRequest
from meshcore.errors import ExchangeError
from meshcore.registry import PeerRecord
from tests.aio.bus_mesh import BODY, CHAT, Script, content, make_bus, says

REQUEST = RouteRequest(*CHAT, BODY, "node-a", "t1")


async def test_a_bus_that_is_given_the_transport_can_be_reached() -> None:
    transport = InMemoryTransport()
    Script(says("hi")).offer_to(make_bus("node-b", transport))

    result = await transport.call(PeerRecord("node-b"), REQUEST)
    chunks = [chunk.text async for chunk in transport.stream(PeerRecord("node-b"), REQUEST)]

    assert (content(result), chunks) == ("hi", ["hi"])
    assert "_routed_via" not in result


async def test_who_is_not_there_or_was_cut_off_is_a_partition() -> None:
    transport = InMemoryTransport()
    make_bus("node-b", transport)
    transport.detach("node-b")
    transport.detach("node-b")

    with pytest.raises(ExchangeError, match="node-b can't be reached"):
        await transport.call(PeerRecord("node-b"), REQUEST)
    await transport.close()
