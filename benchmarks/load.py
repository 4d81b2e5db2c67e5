"""The clients: keep-alive connections on raw asyncio, each asking again as soon as it was answered.

A process of its own, which reads one `Target` from its standard input and prints one `Tally`. Plain on
purpose: what it spends on a request is taken from the same two cores as what it measures.
"""

import asyncio
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import msgspec

END_OF_HEAD = b"\r\n\r\n"
END_OF_CHUNKS = b"0\r\n\r\n"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked how: an answer is right when it has status 200 and `marker` in its body."""

    url: str
    body: bytes
    headers: dict[str, str]
    marker: bytes
    connections: int = 16
    seconds: float = 1.0

    def request(self) -> bytes:
        """Return the request as it is sent."""
        parts = urlsplit(self.url)
        headers = {"Host": parts.netloc, **self.headers, "Content-Length": str(len(self.body))}
        lines = [f"POST {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode() + END_OF_HEAD + self.body


class Tally(msgspec.Struct, kw_only=True):
    """What came back: `seconds` is what it really took."""

    count: int = 0
    errors: int = 0
    seconds: float = 0.0
    p50_ms: float | None = None
    p99_ms: float | None = None


class _Client(asyncio.Protocol):
    """One connection."""

    def __init__(self, crowd: "Crowd") -> None:
        self._crowd = crowd
        self._answer = bytearray()
        self._asked_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            self._ask()

    def data_received(self, data: bytes) -> None:
        self._answer += data
        if is_whole(self._answer):
            self._crowd.answered(self._answer, time.perf_counter() - self._asked_at)
            self._answer.clear()
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._crowd.lost()

    def _ask(self) -> None:
        if self._transport is None:
            return
        if self._crowd.is_over():
            self._transport.close()
            return
        self._asked_at = time.perf_counter()
        self._transport.write(self._crowd.request)


class Crowd:
    """All connections of a turn."""

    def __init__(self, target: Target) -> None:
        self.request = target.request()
        self.tally = Tally()
        self._target = target
        self._left = target.connections
        self._over = asyncio.Event()
        self._latencies: list[float] = []
        self._until = 0.0

    async def ask(self) -> Tally:
        """Ask for the target's seconds; a connection that breaks counts as an error and is not replaced."""
        parts = urlsplit(self._target.url)
        loop = asyncio.get_running_loop()
        begin = time.perf_counter()
        self._until = begin + self._target.seconds
        for _ in range(self._target.connections):
            await loop.create_connection(lambda: _Client(self), parts.hostname or "", parts.port or 80)
        await self._over.wait()
        self.tally.seconds = time.perf_counter() - begin
        if self._latencies:
            self.tally.p50_ms, self.tally.p99_ms = in_ms(self._latencies)
        return self.tally

    def is_over(self) -> bool:
        """Return whether no more is to be asked."""
        return time.perf_counter() >= self._until

    def answered(self, answer: bytearray, seconds: float) -> None:
        """Count an answer, right or wrong."""
        self.tally.count += 1
        self._latencies.append(seconds)
        if not answer.startswith(b"HTTP/1.1 200") or self._target.marker not in answer:
            self.tally.errors += 1

    def lost(self) -> None:
        """Count a connection out; before the end that is an error."""
        self._left -= 1
        if not self.is_over():
            self.tally.errors += 1
        if not self._left:
            self._over.set()


def in_ms(latencies: Sequence[float]) -> tuple[float, float]:
    """Return what half and 99 of 100 stay within, of at least one number of seconds."""
    ordered = sorted(latencies)
    return ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000


def is_whole(answer: bytearray) -> bool:
    """Return whether an answer has come to its end, by its length or by its last chunk."""
    head = answer.find(END_OF_HEAD)
    if head < 0:
        return False
    _, name, rest = bytes(answer[:head]).lower().partition(b"\r\ncontent-length:")
    if name:
        return len(answer) >= head + len(END_OF_HEAD) + int(rest.partition(b"\r\n")[0])
    return answer.endswith(END_OF_CHUNKS)


async def _ask(target: Target) -> Tally:
    return await Crowd(target).ask()


if __name__ == "__main__":
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=Target)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_ask(asked))))
