"""Calls to peers over HTTP: pooled connections, signed requests, streams, errors as the bus knows them."""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import takewhile
from typing import Any, NamedTuple

from meshcore.aio.chunk_stream import Batch, ChunkStream
from meshcore.aio.http_answer import HttpAnswer
from meshcore.aio.http_client import HttpClient
from meshcore.aio.http_terms import HttpError, TooLarge
from meshcore.bus_wire import (
    ANSWER_MAX_BYTES,
    CALL_PATH,
    DONE_EVENT,
    ERROR_EVENT,
    MANIFEST_MAX_BYTES,
    MANIFEST_PATH,
    RUN_PATH,
    decode_result,
    encode_call,
    error_of,
)
from meshcore.capability import RouteRequest
from meshcore.clock import Clock, UtcNow, monotonic, utcnow
from meshcore.errors import CallError, Code, ExchangeError, FrameError
from meshcore.openai_stream import parse_chunks
from meshcore.openai_wire import Chunk
from meshcore.registry import PeerRecord
from meshcore.signing import TIME_HEADER, epoch_ms, sign
from meshcore.sse import EventDecoder, SseEvent

CONNECT_SECONDS = 3.0  # peers are near; a node that doesn't answer a SYN for so long is not there
FIRST_BYTE_SECONDS = 10.0  # of a stream, whose callee answers with headers before it asks its provider
CONNECTIONS_MAX = 1000  # open at once to all peers; more calls wait within their attempt's time
SKEWS_MAX = 1000  # peers whose clock offset is remembered; beyond it all are learned again
TIME_MAX_DIGITS = 15  # of milliseconds: some 30 000 years
ERROR_BODY_MAX_BYTES = 1 << 16

_EXCHANGE_FAILURES = (HttpError, TimeoutError)


class _Said(NamedTuple):
    """What came together of a peer's stream; `failure` stands behind the chunks."""

    chunks: Sequence[Chunk]
    is_done: bool = False
    failure: Exception | None = None


class HttpTransport:
    """Reaches peers at the first of their endpoints; `secret` is the mesh secret, not empty.

    Raises ExchangeError for everything that is not the peer's own answer.
    """

    def __init__(
        self,
        secret: str,
        *,
        clock: Clock = monotonic,
        utcnow: UtcNow = utcnow,
        nonce: Callable[[], str] = lambda: secrets.token_hex(12),
        connect_seconds: float = CONNECT_SECONDS,
        first_byte_seconds: float = FIRST_BYTE_SECONDS,
    ) -> None:
        if not secret:
            raise ValueError("secret: expected the mesh secret, got an empty text")
        self._secret = secret.encode()
        self._clock = clock
        self._utcnow = utcnow
        self._nonce = nonce
        self._connect_seconds = connect_seconds
        self._first_byte_seconds = first_byte_seconds
        self._skew_ms: dict[str, int] = {}  # node id -> its clock minus ours
        self._http: HttpClient | None = None

    async def call(self, peer: PeerRecord, request: RouteRequest) -> dict[str, Any]:
        """Return the peer's result, an error result included."""
        async with self._exchange(peer, "POST", CALL_PATH, self._encode(request)) as response:
            return await _result(peer, response, ANSWER_MAX_BYTES)

    async def manifest(self, peer: PeerRecord) -> bytes:
        """Return the peer's manifest as it came."""
        async with self._exchange(peer, "GET", MANIFEST_PATH, b"") as response:
            data = await _read(peer, response, MANIFEST_MAX_BYTES)
            if response.status != 200:
                raise ExchangeError(Code.PARTITION, f"{peer.node_id_full} answered HTTP {response.status}")
            return data

    def stream(self, peer: PeerRecord, request: RouteRequest) -> ChunkStream:
        """Return the peer's chunks, exactly as its provider sent them."""
        return ChunkStream(self._batches(peer, request))

    async def _batches(self, peer: PeerRecord, request: RouteRequest) -> AsyncGenerator[Batch, None]:
        body = self._encode(request)
        async with self._exchange(
            peer, "POST", CALL_PATH, body, answer_within_seconds=self._first_byte_seconds
        ) as response:
            if not response.headers.get("Content-Type").startswith("text/event-stream"):
                raise _refusal(peer, await _result(peer, response, ERROR_BODY_MAX_BYTES))
            decoder = EventDecoder()
            while data := await response.read_any():
                said = _said(peer, decoder.feed(data))
                if said.chunks:
                    yield Batch(said.chunks, said.is_done)
                if said.failure is not None:
                    raise said.failure
                if said.is_done:
                    return
        raise ExchangeError(Code.PARTITION, f"the stream from {peer.node_id_full} was cut off")

    @asynccontextmanager
    async def run(self, peer: PeerRecord, ask: bytes) -> AsyncIterator[HttpAnswer]:
        """Give the peer's answer to what is asked of a run that stands in its log."""
        within = self._first_byte_seconds
        async with self._exchange(peer, "POST", RUN_PATH, ask, answer_within_seconds=within) as answer:
            yield answer

    async def close(self) -> None:
        """Close the pooled connections."""
        http, self._http = self._http, None
        if http is not None:
            await http.close()

    def _encode(self, request: RouteRequest) -> bytes:
        return encode_call(request, now=self._clock())

    @asynccontextmanager
    async def _exchange(
        self,
        peer: PeerRecord,
        method: str,
        path: str,
        body: bytes,
        *,
        answer_within_seconds: float | None = None,
    ) -> AsyncIterator[HttpAnswer]:
        """Give the peer's answer; a 401 for a clock that is off is tried once more with the peer's time."""
        try:
            async with asyncio.timeout(answer_within_seconds):
                response = await self._send(peer, method, path, body)
                if response.status == 401 and self._learn_skew(peer, response):
                    response.release()
                    response = await self._send(peer, method, path, body)
                if response.status == 401:
                    response.release()
                    raise ExchangeError(Code.PARTITION, f"{peer.node_id_full} refuses our signature")
            try:
                yield response
            finally:
                response.release()
        except _EXCHANGE_FAILURES as exc:
            late = isinstance(exc, TimeoutError)
            what = "didn't answer in time" if late else f"can't be reached ({type(exc).__name__})"
            raise ExchangeError(
                Code.TIMEOUT if late else Code.PARTITION, f"{peer.node_id_full} {what}"
            ) from exc
        except FrameError as exc:
            raise CallError(
                Code.INTERNAL_ERROR, f"{peer.node_id_full} sent what can't be read: {exc}"
            ) from exc

    async def _send(self, peer: PeerRecord, method: str, path: str, body: bytes) -> HttpAnswer:
        headers = sign(
            self._secret,
            at_ms=epoch_ms(self._utcnow()) + self._skew_ms.get(peer.node_id_full, 0),
            nonce=self._nonce(),
            method=method,
            path=path,
            target=peer.node_id_full,
            body=body,
        )
        return await self._pool().request(method, _base_url(peer) + path, body, headers)

    def _pool(self) -> HttpClient:
        if self._http is None:
            self._http = HttpClient(
                {"Content-Type": "application/json"},
                connect_seconds=self._connect_seconds,
                connections_max=CONNECTIONS_MAX,
            )
        return self._http

    def _learn_skew(self, peer: PeerRecord, response: HttpAnswer) -> bool:
        """Return whether the refusal told the peer's time, which is remembered as an offset."""
        told = response.headers.get(TIME_HEADER)
        if not (told.isascii() and told.isdigit() and len(told) <= TIME_MAX_DIGITS):
            return False
        if len(self._skew_ms) >= SKEWS_MAX:
            self._skew_ms.clear()
        self._skew_ms[peer.node_id_full] = int(told) - epoch_ms(self._utcnow())
        return True


def _base_url(peer: PeerRecord) -> str:
    if not peer.endpoints:
        raise ExchangeError(Code.PARTITION, f"{peer.node_id_full} has no address")
    return peer.endpoints[0].rstrip("/")


async def _read(peer: PeerRecord, response: HttpAnswer, max_bytes: int) -> bytes:
    try:
        return await response.read(max_bytes)
    except TooLarge as exc:
        raise CallError(
            Code.INTERNAL_ERROR, f"{peer.node_id_full} answered more than {max_bytes} bytes"
        ) from exc


async def _result(peer: PeerRecord, response: HttpAnswer, max_bytes: int) -> dict[str, Any]:
    """Return the object that the peer answered; what is no bus answer at all is no answer of a peer."""
    data = await _read(peer, response, max_bytes)
    if response.status == 200:
        return decode_result(data)
    try:
        result = decode_result(data)
    except FrameError:
        result = {}
    if error_of(result) is None:
        raise ExchangeError(Code.PARTITION, f"{peer.node_id_full} answered HTTP {response.status}")
    return result


def _refusal(peer: PeerRecord, result: dict[str, Any]) -> CallError:
    return error_of(result) or CallError(
        Code.INTERNAL_ERROR, f"{peer.node_id_full} answered a stream with a whole result"
    )


def _said(peer: PeerRecord, events: Sequence[SseEvent]) -> _Said:
    """Return what a peer said, up to the first event that isn't a chunk."""
    plain = list(takewhile(lambda event: event.name not in (DONE_EVENT, ERROR_EVENT), events))
    chunks, failure = parse_chunks([event.data for event in plain])
    if failure is not None or len(plain) == len(events):
        return _Said(chunks, failure=failure)
    last = events[len(plain)]
    if last.name == DONE_EVENT:
        return _Said(chunks, is_done=True)
    try:
        return _Said(chunks, failure=_refusal(peer, decode_result(last.data)))
    except FrameError as exc:
        return _Said(chunks, failure=exc)
