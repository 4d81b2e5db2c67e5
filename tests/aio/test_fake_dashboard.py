"""The stand-in keeps the rules itself, else what is tested against it proves nothing."""

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.frames import Inbound
from meshcore.link import CloseCode

HELLO = (
    '{"type":"hello","node_id":"a","instance_id":"i","spool_id":"s",'
    '"clock":"2026-01-01T00:00:00Z","manifest":{"node_id":"a"}}'
)


async def test_it_commits_each_item_once_and_rewinds_over_a_gap() -> None:
    async with FakeDashboard() as dashboard, connect(dashboard.url) as socket:
        await socket.send(HELLO)
        descriptor = await socket.recv()
        answers = []
        for frame in (
            '{"type":"telemetry","after":0,"to":2,"items":[{"seq":1},{"seq":2}],"dropped":{"trace":1}}',
            '{"type":"telemetry","after":1,"to":2,"items":[{"seq":2}]}',
            '{"type":"telemetry","after":5,"to":6,"items":[{"seq":6}]}',
        ):
            await socket.send(frame)
            answers.append(await socket.recv())

    assert '"resume_from":0' in str(descriptor)
    assert ["rewind" in str(answer) for answer in answers] == [False, False, True]
    assert [item["seq"] for item in dashboard.items] == [1, 2]
    assert dashboard.dropped == {"trace": 1}


async def test_it_closes_for_what_breaks_the_rules() -> None:
    async with FakeDashboard() as dashboard, connect(dashboard.url) as socket:
        await socket.send('{"type":"going_idle"}')
        with pytest.raises(ConnectionClosed) as closed:
            await socket.recv()

    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == CloseCode.PROTOCOL_ERROR


async def test_it_says_when_it_is_used_too_early() -> None:
    dashboard = FakeDashboard()

    with pytest.raises(RuntimeError, match="not listening"):
        _ = dashboard.url
    with pytest.raises(RuntimeError, match="no node"):
        await dashboard.say(Inbound(event={}))
