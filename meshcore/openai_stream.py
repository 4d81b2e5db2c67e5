"""A streamed answer of an OpenAI-compatible upstream: bytes in, chunks out, and a verdict at its end."""

from collections.abc import Iterable
from operator import attrgetter

from meshcore.errors import CallError, FrameError
from meshcore.openai_wire import DONE, Chunk, parse_chunk
from meshcore.sse import SseDecoder

_FINISH_REASON = attrgetter("finish_reason")


class StreamReader:
    """Reads one answer; `failure` is what is wrong behind the chunks that were given out, and ends it.

    A FrameError for what is no chunk or no event stream, a CallError for an error that the upstream reports.
    """

    def __init__(self) -> None:
        self._decoder = SseDecoder()
        self._finished = False
        self.done = False  # [DONE] was seen: what follows is ignored
        self.failure: FrameError | CallError | None = None

    def feed(self, data: bytes) -> list[Chunk]:
        """Take the next bytes and return the chunks that they finish."""
        try:
            payloads = self._decoder.feed(data)
        except FrameError as exc:
            self.failure = exc
            return []
        return self._chunks(payloads)

    def close(self) -> list[Chunk]:
        """Take the end of the bytes and return what was unfinished.

        An answer was cut off when neither [DONE] nor a finish_reason was seen: that is a failure, too.
        """
        chunks = self._chunks(self._decoder.close())
        if not (self.done or self._finished or self.failure):
            self.failure = FrameError("stream: expected [DONE] or a finish_reason before its end")
        return chunks

    def _chunks(self, payloads: list[bytes]) -> list[Chunk]:
        if self.done:
            return []
        if DONE in payloads:
            self.done = True
            del payloads[payloads.index(DONE) :]
        chunks, self.failure = parse_chunks(payloads)
        if not self._finished and any(map(_FINISH_REASON, chunks)):
            self._finished = True
        return chunks


def parse_chunks(payloads: Iterable[bytes]) -> tuple[list[Chunk], FrameError | CallError | None]:
    """Return the chunks in the data of events, and what is wrong with the first that is none."""
    chunks: list[Chunk] = []
    try:
        for data in payloads:
            chunks.append(parse_chunk(data))
    except (FrameError, CallError) as exc:
        return chunks, exc
    return chunks, None
