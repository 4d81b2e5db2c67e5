"""The provider behind everybody: knows two answers by heart and gives them at once, on raw asyncio.

    python -m benchmarks.upstream PORT

A stream is 20 chunks, each written by itself, as servers do that have them one after the other.
"""

import asyncio
import sys

import msgspec

CHUNKS = 20
MODEL = "bench-model"


def _chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    event = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": MODEL,
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}],
    }
    return b"data: " + msgspec.json.encode(event) + b"\n\n"


def _whole() -> bytes:
    message = {"role": "assistant", "content": "All is well, and it was said at once. " * 4}
    body = msgspec.json.encode(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1700000000,
            "model": MODEL,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "completion_tokens": 40, "total_tokens": 49},
        }
    )
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _in_http_chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def _streamed() -> list[bytes]:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    events = [_chunk({"role": "assistant", "content": ""})]
    events += [_chunk({"content": f"word-{number} "}) for number in range(CHUNKS - 2)]
    events += [_chunk({}, "stop"), b"data: [DONE]\n\n"]
    return [head, *map(_in_http_chunk, events), b"0\r\n\r\n"]


class Provider(asyncio.Protocol):
    """One connection; requests come with their length, one after the other."""

    whole = _whole()
    streamed = _streamed()

    def __init__(self) -> None:
        self._asked = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._asked += data
        head, blank, body = bytes(self._asked).partition(b"\r\n\r\n")
        _, _, rest = head.lower().partition(b"\r\ncontent-length:")
        length = int(rest.partition(b"\r\n")[0] or 0)
        if blank and len(body) >= length:
            self._asked.clear()
            self._answer(is_stream=b'"stream":true' in body.replace(b" ", b""))

    def _answer(self, *, is_stream: bool) -> None:
        if self._transport is not None:
            for part in self.streamed if is_stream else (self.whole,):
                self._transport.write(part)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
