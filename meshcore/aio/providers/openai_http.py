"""Any upstream that speaks the OpenAI wire over HTTP: Ollama, vLLM, llama.cpp, a hosted one, another node.

What goes wrong with HTTP ends here and becomes codes. Connections are pooled; one whose answer was not read
to its end is closed, at once, and never reused.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

from meshcore.aio.chunk_stream import Batch, ChunkStream
from meshcore.aio.http_answer import HttpAnswer
from meshcore.aio.http_client import HttpClient
from meshcore.aio.http_terms import Broken, HttpError, NotConnected, NotTrusted, TooLarge
from meshcore.aio.time_limits import TimeLimits
from meshcore.capability import CallInfo, CapabilityDescriptor
from meshcore.clock import Clock, UtcNow
from meshcore.config_sections import Continuation, ProviderSection
from meshcore.errors import CallError, Code, FrameError
from meshcore.openai_errors import upstream_error
from meshcore.openai_stream import StreamReader
from meshcore.openai_upstream import models_of, result_of, upstream_request
from meshcore.openai_wire import COMMITTING, UPSTREAM_PATH, Chunk, Operation
from meshcore.splice import CONTINUATION

ANSWER_MAX_BYTES = 32 << 20  # four times the biggest request
ERROR_MAX_BYTES = 64 << 10  # of an error's body; only its message is read
MODELS_SECONDS = 5.0  # for the first list of models, while the node starts
REUSE_SECONDS = 0.05  # behind [DONE], for the end of the body that lets the connection be used again

BORDER = (TimeoutError, HttpError, FrameError)
"""What may come out of an exchange, and out of the parsers of what was read."""

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
        self._http: HttpClient | None = None
        self._limits = TimeLimits()

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
        # The bus bounds the calls in flight, and so the connections.
        self._http = HttpClient(self._headers, connect_seconds=self._section.connect_seconds)
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
            answer = await self._pool().request("GET", f"{self._base_url}/models")
            try:
                if answer.status == 200 and not self._section.models:
                    self._learn(models_of(await answer.read(ANSWER_MAX_BYTES)))
            finally:
                answer.release()
        except BORDER as exc:
            raise self._failure(exc) from exc
        return answer.status < 500

    async def call(self, capability: str, body: dict[str, Any], call: CallInfo) -> dict[str, Any]:
        """Return the upstream's whole answer as a bus result; whoever calls bounds how long that may take."""
        operation = _operation(capability)
        model = self._model(call)
        data = upstream_request(operation, body, model, stream=False)
        try:
            answer = await self._post(operation, data, call)
            try:
                raw = await answer.read(ANSWER_MAX_BYTES)
            finally:
                answer.release()
            result = result_of(operation, raw)
        except BORDER as exc:
            raise self._failure(exc) from exc
        return {**result, "model": model}

    def stream(self, capability: str, body: dict[str, Any], call: CallInfo) -> ChunkStream:
        """Return the upstream's chunks as they come; closing early closes the upstream request at once."""
        return ChunkStream(self._batches(capability, body, call))

    async def _batches(
        self, capability: str, body: dict[str, Any], call: CallInfo
    ) -> AsyncGenerator[Batch, None]:
        operation = _operation(capability)
        data = upstream_request(operation, body, self._model(call), stream=True)
        patience = _Patience(self._section, self._clock, deadline=call.deadline)
        reader = StreamReader()
        try:
            with self._limits.within(patience.left()):
                answer = await self._post(operation, data, call)
            try:
                while not reader.done:
                    if not (data := answer.read_now()):  # a timer only where something is waited for
                        with self._limits.within(patience.left()):
                            data = await answer.read_any()
                    if chunks := reader.feed(data) if data else reader.close():
                        yield Batch(chunks, reader.done)
                        patience.saw(chunks)
                    if reader.failure is not None:
                        raise reader.failure
                    if not data:
                        break
            finally:
                # Behind [DONE] the end of the body is due now, so that the connection can be used again.
                answer.release(rest_within_seconds=REUSE_SECONDS if reader.done else 0.0)
        except BORDER as exc:
            raise self._failure(exc) from exc

    async def _post(self, operation: Operation, data: bytes, call: CallInfo) -> HttpAnswer:
        """Return an answer with status 200, its body unread; raises CallError for any other status."""
        headers = {"traceparent": call.traceparent} if call.traceparent else None
        url = self._base_url + UPSTREAM_PATH[operation]
        answer = await self._pool().request("POST", url, data, headers)
        if answer.status == 200:
            return answer
        try:
            body = await answer.read(ERROR_MAX_BYTES)
        finally:
            answer.release()
        retry_after = answer.headers.get("Retry-After")
        raise upstream_error(answer.status, body, retry_after, now=self._utcnow())

    def _pool(self) -> HttpClient:
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
        """Return what an error means; the words of the system stay in the cause."""
        match exc:
            case TimeoutError():
                return CallError(Code.TIMEOUT, f"provider {self.name} gave no answer in time")
            case FrameError():
                return CallError(Code.INTERNAL_ERROR, f"provider {self.name} sent what is no answer: {exc}")
            case TooLarge():
                what = f"answer: expected at most {ANSWER_MAX_BYTES} bytes"
                return CallError(Code.INTERNAL_ERROR, f"provider {self.name} sent what is no answer: {what}")
            case NotTrusted():
                return CallError(Code.UNAVAILABLE, f"provider {self.name} can't be trusted: TLS failed")
            case NotConnected(__cause__=cause):
                # The system's text names the upstream's address, which is none of the client's business.
                errno = cause.errno if isinstance(cause, OSError) else None
                reason = os.strerror(errno) if errno else "no connection"
                return CallError(Code.UNAVAILABLE, f"provider {self.name} can't be reached: {reason}")
            case Broken():
                return CallError(Code.UNAVAILABLE, f"provider {self.name} broke the connection")
            case _:
                return CallError(Code.INTERNAL_ERROR, f"provider {self.name} doesn't speak HTTP as expected")


class _Patience:
    """How long to wait for the next token: for the first one, and for each next one."""

    def __init__(self, section: ProviderSection, clock: Clock, *, deadline: float) -> None:
        self._clock = clock
        self._between_seconds = section.between_tokens_seconds
        self._deadline = deadline
        self._begun = False
        self._until = min(clock() + section.first_token_seconds, deadline)

    def left(self) -> float:
        """Return for how many seconds it lasts."""
        return self._until - self._clock()

    def saw(self, chunks: Sequence[Chunk]) -> None:
        """Start the wait for the next token; before the first one, neither role nor comment buys time."""
        self._begun = self._begun or any(chunk.kind in COMMITTING for chunk in chunks)
        if self._begun:
            self._until = min(self._clock() + self._between_seconds, self._deadline)


def _operation(capability: str) -> Operation:
    try:
        return Operation(capability)
    except ValueError as exc:
        raise CallError(Code.NOT_IMPLEMENTED, f"an OpenAI upstream can't do {capability}") from exc
