"""Streams of chunks, as providers give them and as the bus reads them: one by one, or what came together."""

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import NamedTuple, Protocol, Self

from meshcore.openai_wire import Chunk


class Chunks(Protocol):
    """What a provider's `stream` gives: an async generator of chunks is one, a `ChunkStream` another."""

    def __aiter__(self) -> AsyncIterator[Chunk]: ...

    async def __anext__(self) -> Chunk: ...

    async def aclose(self) -> None:
        """Close what was opened for it, within 200 ms."""


class Batch(NamedTuple):
    """Chunks that came together, at least one; `is_last`: the end of the answer came with them."""

    chunks: Sequence[Chunk]
    is_last: bool = False


class ChunkStream:
    """The chunks of `batches`, in order; `at_hand` gives those that nobody has to wait for.

    So whoever sends, stores or counts chunks does so once for all that one reading brought.
    """

    def __init__(self, batches: AsyncGenerator[Batch, None]) -> None:
        self._batches = batches
        self._held: deque[Chunk] = deque()
        self._is_last = False

    @property
    def is_over(self) -> bool:
        """Whether the last chunk was given out, as far as it is known without reading on."""
        return self._is_last and not self._held

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while not self._held:
            chunks, self._is_last = await anext(self._batches)
            self._held.extend(chunks)
        return self._held.popleft()

    def at_hand(self) -> Sequence[Chunk]:
        """Return the rest of what came with the last chunk."""
        chunks = list(self._held)
        self._held.clear()
        return chunks

    async def aclose(self) -> None:
        """Close what was opened for it."""
        self._held.clear()
        await self._batches.aclose()
