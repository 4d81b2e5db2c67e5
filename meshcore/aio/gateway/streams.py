"""Event streams to clients and peers; a client's ends with [DONE] or with one error event."""

import msgspec

from meshcore.aio.bus_stream import BusStream
from meshcore.aio.forced import forcible
from meshcore.aio.gateway.answers import Headers, header_lines
from meshcore.aio.gateway.message import Request
from meshcore.drain import Work
from meshcore.errors import CallError
from meshcore.openai_errors import call_error_body
from meshcore.openai_wire import DONE_EVENT
from meshcore.sse import encode, encode_all

END_OF_CHUNKS = b"0\r\n\r\n"
FORCED_SECONDS = 1.0  # for a client to take the end of its stream, where a drain doesn't wait any longer


class EventStream:
    """An answer that goes out as it comes; its head goes with its first events, in one system call."""

    def __init__(self, request: Request, headers: Headers) -> None:
        self._request = request
        self._is_chunked = not request.is_http_1_0  # else the end of the connection is that of the stream
        coding = "Transfer-Encoding: chunked\r\n" if self._is_chunked else ""
        lines = (
            f"Content-Type: text/event-stream\r\nCache-Control: no-store\r\n{coding}{header_lines(headers)}"
        )
        self._head = request.channel.head(request, 200, lines)

    async def send(self, events: bytes, *, last: bool = False, within_seconds: float | None = None) -> None:
        """Send events, with the end of the stream behind the last ones.

        ConnectionError when the client is gone, or is hung up on: because it takes nothing, or hasn't taken
        all `within_seconds`.
        """
        data, self._head = self._head, b""
        if not self._is_chunked:
            data += events
        elif events:
            data += b"%x\r\n%b\r\n" % (len(events), events)
        if last and self._is_chunked:
            data += END_OF_CHUNKS
        await self._request.channel.write(data, within_seconds=within_seconds)


async def answer_stream(
    request: Request, stream: BusStream, headers: Headers, work: Work, node_id: str
) -> None:
    """Send a committed stream to its client, each chunk's data exactly as its provider sent it."""
    answer = EventStream(request, headers)
    events = b""
    seconds: float | None = None
    try:
        with forcible(work, node_id):
            while chunks := await stream.read():
                events = encode_all([chunk.data for chunk in chunks])
                if stream.is_over:
                    break
                sent, events = (
                    events,
                    b"",
                )  # before: what a drain ends in its sending has been sent all the same
                await answer.send(sent)
        events += DONE_EVENT
    except CallError as exc:
        seconds = FORCED_SECONDS if work.forced else None
        events += encode(msgspec.json.encode(call_error_body(exc)))
    await answer.send(events, last=True, within_seconds=seconds)
