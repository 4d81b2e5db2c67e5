"""Any upstream that speaks the OpenAI wire over HTTP: Ollama, vLLM, llama.cpp, a hosted one, another node.

The HTTP library's errors end here and become codes. Connections are pooled; one whose answer was not read to
its end is closed, at once, and never reused.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

import aiohttp

from meshcore.capability import CallInfo, CapabilityDescriptor
from meshcore.clock import Clock, UtcNow
from meshcore.config_sections import Continuation, ProviderSection
from meshcore.errors import CallError, Code, FrameError
from meshcore.openai_errors import upstream_error
from meshcore.openai_upstream import models_of, result_of, upstream_request
from meshcore.openai_wire import COMMITTING, UPSTREAM_PATH, Chunk, Operation, StreamReader
from meshcore.splice import CONTINUATION

ANSWER_MAX_BYTES = 32 << 20  # four times the biggest request
ERROR_MAX_BYTES = 64 << 10  # of an error's body; only its message is read
MODELS_SECONDS = 5.0  # for the first list of models, while the node starts
REUSE_SECONDS = 0.05  # behind [DONE], for the end of the body that lets the connection be used again

BORDER = (TimeoutError, aiohttp.ClientError, FrameError)
"""What may come out of the library, and out of the parsers of what it read."""

logger = logging.getLogger(__name__)


class OpenAiProvider:
    """One upstream. `section` gives its address, models and timeouts; `api_key` "" sends none."""

    def __init__(self, section: ProviderSection, api_key: str = "", *, clock: Clock, utcnow: UtcNow) -> None:
        self.name = section.name
        self.on_change: Callable[[], None] | None = None
        self._section = section
        self._base_url = section.base_url.rstrip("/")
        self._headers = {"User-Agent": "meshboard", "Content-Type": "application/json"}
        if api_key:
            self._headers["Authorization"] = f"Bearer {api_key}"
        self._models = section.models
        self._clock = clock
        self._utcnow = utcnow
        self._http: aiohttp.ClientSession | None = None

    def descriptors(self) -> list[CapabilityDescriptor]:
        """Return every operation with the models that are known; none before an upstream's list was read."""
        section = self._section
        params: dict[str, Any] = {
            "model": self._models[0] if self._models else "",
            "models": list(self._models),
            "tools": section.tools,
            "vision": section.vision,
            **({"context_tokens": section.context_tokens} if section.context_tokens else {}),
        }
        if section.continuation is not Continuation.NONE:
            params[CONTINUATION] = section.continuation
        return [
            CapabilityDescriptor(
                name=operation,
                provider=self.name,
                params=params,
                max_concurrent=section.max_concurrent,
                timeout_seconds=section.first_token_seconds,
            )
            for operation in Operation
        ]

    async def start(self) -> None:
        """Open the pool, and ask for the models unless they are configured; a failure of that is logged."""
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the bus bounds the calls in flight
            cookie_jar=aiohttp.DummyCookieJar(),  # one client's cookies are no other's business
            timeout=aiohttp.ClientTimeout(sock_connect=self._section.connect_seconds),
            headers=self._headers,
            auto_decompress=True,
        )
        if self._section.models:
            return
        try:
            async with asyncio.timeout(MODELS_SECONDS):
                await self.probe()
        except (CallError, TimeoutError) as exc:
            logger.warning("provider %s: no list of models yet: %s", self.name, exc)

    async def close(self) -> None:
        """Close the pool."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def probe(self) -> bool:
        """Return whether it answers below 500 when asked for its models; CallError when out of reach."""
        try:
            response = await self._pool().get(f"{self._base_url}/models", allow_redirects=False)
            try:
                if response.status == 200 and not self._section.models:
                    self._learn(models_of(await _read(response, ANSWER_MAX_BYTES)))
            finally:
                response.release()
        except BORDER as exc:
            raise self._failure(exc) from exc
        return response.status < 500

    async def call(self, capability: str, body: dict[str, Any], call: CallInfo) -> dict[str, Any]:
        """Return the upstream's whole answer as a bus result; whoever calls bounds how long that may take."""
        operation = _operation(capability)
        model = self._model(call)
        data = upstream_request(operation, body, model, stream=False)
        try:
            response = await self._post(operation, data, call)
            try:
                raw = await _read(response, ANSWER_MAX_BYTES)
            finally:
                response.release()
            result = result_of(operation, raw)
        except BORDER as exc:
            raise self._failure(exc) from exc
        return {**result, "model": model}

    async def stream(
        self, capability: str, body: dict[str, Any], call: CallInfo
    ) -> AsyncGenerator[Chunk, None]:
        """Yield the upstream's chunks as they come; closing early closes the upstream request at once."""
        operation = _operation(capability)
        data = upstream_request(operation, body, self._model(call), stream=True)
        patience = _Patience(self._section, left_seconds=call.deadline - self._clock())
        reader = StreamReader()
        try:
            async with asyncio.timeout_at(patience.until):
                response = await self._post(operation, data, call)
            try:
                while not reader.done:
                    async with asyncio.timeout_at(patience.until):
                        data = await response.content.readany()
                    for chunk in reader.feed(data) if data else reader.close():
                        yield chunk
                        patience.saw(chunk)
                    if not data:
                        break
                await _reach_end(response)
            finally:
                response.release()
        except BORDER as exc:
            raise self._failure(exc) from exc

    async def _post(self, operation: Operation, data: bytes, call: CallInfo) -> aiohttp.ClientResponse:
        """Return an answer with status 200, its body unread; raises CallError for any other status."""
        headers = {"traceparent": call.traceparent} if call.traceparent else None
        url = self._base_url + UPSTREAM_PATH[operation]
        response = await self._pool().post(url, data=data, headers=headers, allow_redirects=False)
        if response.status == 200:
            return response
        try:
            body = await _read(response, ERROR_MAX_BYTES)
        finally:
            response.release()
        retry_after = response.headers.get("Retry-After", "")
        raise upstream_error(response.status, body, retry_after, now=self._utcnow())

    def _pool(self) -> aiohttp.ClientSession:
        if self._http is None:
            raise CallError(Code.UNAVAILABLE, f"provider {self.name} is not started")
        return self._http

    def _model(self, call: CallInfo) -> str:
        return call.model or (self._models[0] if self._models else "")

    def _learn(self, models: tuple[str, ...]) -> None:
        if models == self._models:
            return
        self._models = models
        if self.on_change is not None:
            self.on_change()

    def _failure(self, exc: Exception) -> CallError:
        """Return what an error of a library means; its own words stay in the cause."""
        if isinstance(exc, TimeoutError):
            return CallError(Code.TIMEOUT, f"provider {self.name} gave no answer in time")
        if isinstance(exc, FrameError):
            return CallError(Code.INTERNAL_ERROR, f"provider {self.name} sent what is no answer: {exc}")
        if isinstance(exc, aiohttp.ClientSSLError):
            return CallError(Code.UNAVAILABLE, f"provider {self.name} can't be trusted: TLS failed")
        if isinstance(exc, aiohttp.ClientConnectorError):
            # The library's text names the upstream's address, which is none of the client's business.
            reason = os.strerror(exc.errno) if exc.errno else "no connection"
            return CallError(Code.UNAVAILABLE, f"provider {self.name} can't be reached: {reason}")
        if isinstance(exc, aiohttp.ClientConnectionError | aiohttp.ClientPayloadError):
            return CallError(Code.UNAVAILABLE, f"provider {self.name} broke the connection")
        return CallError(Code.INTERNAL_ERROR, f"provider {self.name} doesn't speak HTTP as expected")


class _Patience:
    """How long to wait for the next token: `until` by the loop, for the first one and for each next."""

    def __init__(self, section: ProviderSection, *, left_seconds: float) -> None:
        self._now = asyncio.get_running_loop().time
        self._between_seconds = section.between_tokens_seconds
        now = self._now()
        self._end = now + left_seconds
        self._begun = False
        self.until = min(now + section.first_token_seconds, self._end)

    def saw(self, chunk: Chunk) -> None:
        """Start the wait for the next token; before the first one, neither role nor comment buys time."""
        self._begun = self._begun or chunk.kind in COMMITTING
        if self._begun and not chunk.more:
            self.until = min(self._now() + self._between_seconds, self._end)


async def _reach_end(response: aiohttp.ClientResponse) -> None:
    """Let the body end, which is due now, so that the connection can be used again."""
    if response.content.is_eof():
        return
    with suppress(TimeoutError):
        async with asyncio.timeout(REUSE_SECONDS):
            while await response.content.readany():
                pass


async def _read(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the whole body; raises FrameError when it has more than `max_bytes`."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > max_bytes:
            raise FrameError(f"answer: expected at most {max_bytes} bytes")
    return bytes(body)


def _operation(capability: str) -> Operation:
    try:
        return Operation(capability)
    except ValueError as exc:
        raise CallError(Code.NOT_IMPLEMENTED, f"an OpenAI upstream can't do {capability}") from exc
