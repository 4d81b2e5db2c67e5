"""Chunks one by one, or those that came together."""

from collections.abc import AsyncGenerator

import pytest

from meshcore.aio.chunk_stream import Batch, ChunkStream
from meshcore.errors import CallError, Code
from meshcore.openai_wire import Chunk, parse_chunk
from tests.aio.bus_mesh import says

A, B, C = (parse_chunk(says(text)) for text in "abc")


async def broken() -> AsyncGenerator[Batch, None]:
    yield Batch([A, B])
    raise CallError(Code.UNAVAILABLE, "broken")


async def whole() -> AsyncGenerator[Batch, None]:
    yield Batch([A])
    yield Batch([B, C], is_last=True)


async def test_chunks_come_in_order_one_by_one() -> None:
    assert [chunk async for chunk in ChunkStream(whole())] == [A, B, C]


async def test_what_came_together_is_at_hand_and_what_did_not_is_not() -> None:
    stream = ChunkStream(whole())

    assert (await anext(stream), stream.at_hand(), stream.is_over) == (A, [], False)
    assert (await anext(stream), stream.is_over) == (B, False)
    assert (stream.at_hand(), stream.at_hand(), stream.is_over) == ([C], [], True)
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_an_error_comes_behind_the_chunks_before_it() -> None:
    stream, seen = ChunkStream(broken()), list[Chunk]()

    with pytest.raises(CallError, match="broken"):
        async for chunk in stream:
            seen.append(chunk)

    assert seen == [A, B]


async def test_behind_its_closing_nothing_comes_and_nothing_is_open() -> None:
    closed = []

    async def batches() -> AsyncGenerator[Batch, None]:
        try:
            yield Batch([A, B])
        finally:
            closed.append(True)

    stream = ChunkStream(batches())
    await anext(stream)
    await stream.aclose()

    assert ([chunk async for chunk in stream], closed) == ([], [True])
