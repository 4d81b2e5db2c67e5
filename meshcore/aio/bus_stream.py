"""A streamed call: fails over until the first content, then belongs to whoever sent it (bus-and-breaker §1).

                   ┌─────────────────────────┐ another goes on with the answer
                   ▼                         │
NEW ──── start ────► COMMITTED ── broke: a strike ── nobody can: CallError ──► ENDED
 │                       └────────────── last chunk ─────────────────────────► ENDED
 └── nobody answered: CallError ─────────────────────────────────────────────► ENDED
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from itertools import filterfalse
from types import TracebackType
from typing import Final, NamedTuple, Self

from meshcore.aio.chunk_stream import ChunkStream
from meshcore.aio.dispatch import Dispatcher, Lease
from meshcore.aio.exchange import Exchange
from meshcore.clock import Clock
from meshcore.errors import CallError, Code, is_retryable
from meshcore.journey import Journey
from meshcore.openai_wire import COMMITTING, IS_TEXT, Chunk, ChunkKind
from meshcore.splice import Begun, Seam, is_used_up, length_reached, obstacle

_FINISH: Final = ChunkKind.FINISH  # looked up once, which in Python 3.11 is slow
UNCOMMITTED_MAX = 256  # chunks without content that are held back; beyond it the stream is committed as it is


class _Committed(NamedTuple):
    """Who serves the stream."""

    lease: Lease
    chunks: AsyncIterator[Chunk]


class BusStream:
    """The chunks of one call, in order, as their provider sent them; for one task at a time.

    Iterate it inside `async with`, or call `aclose`, which closes what is open upstream. After `start`,
    `routed_via`, `provider`, `model` and `attempts` say who serves it; a break after that raises CallError
    with everything that was tried.
    """

    def __init__(
        self,
        journey: Journey,
        dispatcher: Dispatcher,
        exchange: Exchange,
        *,
        clock: Clock,
        draining: bool,
        refusal: CallError | None,
        finished: Callable[[Journey, CallError | None], object],
        continues: bool = False,
        begun: Begun | None = None,
    ) -> None:
        self.trace_id = journey.request.trace_id
        self.routed_via = "local"
        self.provider = ""
        self.model = ""
        self._journey = journey
        self._dispatcher = dispatcher
        self._exchange = exchange
        self._limits = exchange.limits
        self._clock = clock
        self._draining = draining
        self._refusal = refusal
        self._finished = finished
        self._started = False
        self._ended = False
        self._committed: _Committed | None = None
        self._held: deque[Chunk] = deque()  # came before the first content, and that itself
        self._complete = False  # the end, or the finish reason, was seen
        self._is_at_end = False  # no chunk is left upstream
        self._begun = (begun or Begun()) if continues else None
        # Set as soon as others go on with what was begun, here or, as `begun` says, elsewhere.
        self._seam = Seam(begun) if begun is not None else None

    @property
    def is_over(self) -> bool:
        """Return whether the last chunk was read, as far as it is known without reading on."""
        return not self._held and (self._committed is None or self._is_at_end)

    @property
    def attempts(self) -> int:
        """Attempts made so far, the present one included."""
        return len(self._journey.tried)

    async def start(self) -> None:
        """Return at the first content; raises CallError when nobody gave any. A second call does nothing."""
        if self._started:
            return
        self._started = True
        if self._refusal is not None:
            self._end(self._refusal)
            raise self._refusal
        if not await self._is_served():
            raise self._give_up()

    async def aclose(self) -> None:
        """Stop: close what is open upstream and give back slot and permit. Fine at any time and twice."""
        if self._committed is not None:
            await _close(self._committed.chunks)
            self._settle(self._committed.lease, None if self._complete else self._journey.cancelled())
        elif not self._ended:
            self._started = True
            self._end(self._journey.cancelled())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        if not self._started:
            await self.start()
        if not (self._held or await self._have_more()):
            raise StopAsyncIteration
        chunk = self._held.popleft()
        if self._begun is not None:
            self._begun.saw(chunk)
        return chunk

    async def read(self) -> Sequence[Chunk]:
        """Return the next chunk and those that came with it, none at the end; else like iterating."""
        if not self._started:
            await self.start()
        if not (self._held or await self._have_more()):
            return ()
        chunks = list(self._held)
        self._held.clear()
        if self._begun is not None:
            self._begun.saw_all(chunks)
        return chunks

    async def _have_more(self) -> bool:
        """Hold what comes next, of whoever goes on with it; False at the end."""
        while not self._held and self._committed is not None:
            await self._read(*self._committed)
        return bool(self._held)

    async def _read(self, lease: Lease, chunks: AsyncIterator[Chunk]) -> None:
        """Hold the next chunks, or let somebody else go on, or see the end."""
        in_time = self._limits.within(self._journey.deadline - self._clock())
        try:
            with in_time:
                chunk = await anext(chunks)
            self._hold(chunk, chunks)
        except StopAsyncIteration:
            self._settle(lease, None)
        except asyncio.CancelledError:
            await self.aclose()
            raise
        except Exception as exc:
            await _close(chunks)
            if in_time.expired:
                late = CallError(Code.TIMEOUT, "the call's deadline passed before the stream's end")
                self._settle(lease, late)
                raise self._journey.broken(late) from exc
            await self._recover(lease, exc)

    def _hold(self, chunk: Chunk, chunks: AsyncIterator[Chunk]) -> None:
        """Hold a chunk and what came with it; what happens behind them is for the next reading."""
        came: Sequence[Chunk] = (chunk,)
        if isinstance(chunks, ChunkStream):
            came = (chunk, *chunks.at_hand())
            self._is_at_end = chunks.is_over
        if self._seam is not None:
            came = [joined for each in came if (joined := self._seam.join(each)) is not None]
        for each in filterfalse(IS_TEXT, came):
            if each.usage is not None:
                self._journey.count_tokens(each.usage)
            if each.kind is _FINISH:
                self._complete = True
        self._complete = self._complete or self._is_at_end
        self._held.extend(came)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _is_served(self) -> bool:
        """Return whether one of the candidates gave content."""
        while (lease := self._dispatcher.next(self._journey, draining=self._draining)) is not None:
            if await self._try(lease):
                return True
        return False

    async def _try(self, lease: Lease) -> bool:
        """Return whether this attempt gave content; raises CallError when no other may be made."""
        chunks: AsyncIterator[Chunk] | None = None
        try:
            with self._limits.within(lease.timeout_seconds):
                chunks = self._exchange.open(lease, self._journey)
                await self._hold_until_content(chunks)
        except asyncio.CancelledError:
            await _close(chunks)
            self._settle(lease, self._journey.cancelled())
            raise
        except Exception as exc:
            await _close(chunks)
            self._held.clear()
            error = self._exchange.failure(lease, self._journey, exc)
            if self._dispatcher.failed(lease, self._journey, error):
                return False
            raise self._give_up() from exc
        self._dispatcher.committed(lease, self._journey)
        self._committed = _Committed(lease, chunks)
        self._journey.goes_on_with(lease.entry, now=self._clock())
        self.routed_via = lease.entry.via
        self.provider = lease.entry.descriptor.provider
        self.model = lease.model
        return True

    async def _hold_until_content(self, chunks: AsyncIterator[Chunk]) -> None:
        async for chunk in chunks:
            self._hold(chunk, chunks)
            if len(self._held) >= UNCOMMITTED_MAX or any(each.kind in COMMITTING for each in self._held):
                return
        self._complete = True  # an answer without content is an answer, and was paid for

    def _give_up(self) -> CallError:
        """End before any content; return the error to raise."""
        error = self._journey.surfaced(self._journey.question(draining=self._draining))
        self._end(error)
        return error

    async def _recover(self, lease: Lease, exc: Exception) -> None:
        """Strike who broke the committed stream, and let another go on; raises CallError when none can."""
        error = self._exchange.failure(lease, self._journey, exc)
        self._committed = None
        self._dispatcher.failed(lease, self._journey, error)
        begun, request = self._begun, self._journey.request
        why_not = obstacle(request, begun) if begun is not None else ""
        if begun is None or why_not or not is_retryable(error.code):
            error = self._journey.broken(error, why_not)
            self._end(error)
            raise error from exc
        if is_used_up(request, begun):
            self._end(None)
            self._held.append(length_reached(begun))
            return
        self._seam = Seam(begun)
        self._journey.broke_off(begun, error)
        if not await self._is_served():
            raise self._give_up() from exc

    def _settle(self, lease: Lease, error: CallError | None) -> None:
        """End an attempt without blame: it went well, or the caller left or ran out of time."""
        if error is None:
            self._dispatcher.succeeded(lease, self._journey)
        else:
            self._dispatcher.abandoned(lease, self._journey, error)
        self._end(error)

    def _end(self, error: CallError | None) -> None:
        self._ended = True
        self._committed = None
        self._held.clear()
        self._finished(self._journey, error)


async def _close(chunks: AsyncIterator[Chunk] | None) -> None:
    if isinstance(chunks, AsyncGenerator | ChunkStream):
        await chunks.aclose()
