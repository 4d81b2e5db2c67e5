"""The mock provider as a real server: the OpenAI wire, stream and not, with faults that can be switched.

`POST /_faults` sets faults for all calls, `DELETE` takes them back, `GET` shows them; `GET /_calls` counts
calls and the aborts among them. Faults that stand for a dead provider (`http`, `hang`) hold for the list of
models, too, because that is what probes ask for. See `meshcore.mock_script` for the controls that callers
write into their messages.
"""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from aiohttp import web

from meshcore.clock import UtcNow, utcnow
from meshcore.errors import CallError
from meshcore.mock_script import Ending, Faults, Play, begun_answer, embedding, parse_faults, play
from meshcore.openai_errors import call_error_body, error_body
from meshcore.openai_wire import DONE_EVENT, Operation, Request, last_user_text, parse_request, text_of
from meshcore.sse import encode

BODY_MAX_BYTES = 64 << 20  # a mock behind a gateway should never be the one that says "too large"
STOP_SECONDS = 0.2  # for answers that play while the server stops; then they are cut off

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Calls(msgspec.Struct, kw_only=True):
    """What came in since the start or the last reset; `last` is the newest call, without its credentials."""

    calls: int = 0
    aborts: int = 0  # the client left before the answer's end
    open: int = 0
    last: dict[str, Any] | None = None


class MockAi:
    """One mock provider. `name` tells several apart: it is `system_fingerprint` and `owned_by` of what they
    say."""

    def __init__(
        self, *, name: str = "mock", models: Sequence[str] = ("mock-model",), now: UtcNow = utcnow
    ) -> None:
        self.name = name
        self.models = tuple(models)
        self.faults = Faults()
        self.calls = Calls()
        self._now = now

    @asynccontextmanager
    async def serve(self, host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[str]:
        """Listen while the context lasts and give the URL; port 0 takes a free one. Raises OSError."""
        runner = web.AppRunner(
            self.build(), access_log=None, handler_cancellation=True, shutdown_timeout=STOP_SECONDS
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, host, port)
            await site.start()
            yield f"http://{host}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    def build(self) -> web.Application:
        """Return the routes."""
        app = web.Application(client_max_size=BODY_MAX_BYTES)
        app.add_routes(
            [
                web.get("/health", self._health),
                web.get("/v1/models", self._list_models),
                web.post("/v1/chat/completions", self._answer_to(Operation.CHAT)),
                web.post("/v1/completions", self._answer_to(Operation.COMPLETION)),
                web.post("/v1/embeddings", self._answer_to(Operation.EMBEDDING)),
                web.get("/_faults", self._show_faults),
                web.post("/_faults", self._set_faults),
                web.delete("/_faults", self._clear_faults),
                web.get("/_calls", self._show_calls),
                web.delete("/_calls", self._reset_calls),
            ]
        )
        return app

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _list_models(self, _: web.Request) -> web.StreamResponse:
        if refusal := await self._before_answer(play("", self.faults)):
            return refusal
        models = [{"id": id_, "object": "model", "created": 0, "owned_by": self.name} for id_ in self.models]
        return _json({"object": "list", "data": models})

    async def _show_faults(self, _: web.Request) -> web.Response:
        return _json(self.faults)

    async def _set_faults(self, request: web.Request) -> web.Response:
        try:
            self.faults = parse_faults(await request.read())
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            return _json(error_body("bad_request", f"faults: {exc}", status=400), 400)
        return _json(self.faults)

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self.faults = Faults()
        return _json(self.faults)

    async def _show_calls(self, _: web.Request) -> web.Response:
        return _json(self.calls)

    async def _reset_calls(self, _: web.Request) -> web.Response:
        self.calls = Calls(open=self.calls.open)
        return _json(self.calls)

    def _answer_to(self, operation: Operation) -> Handler:
        async def handle(http: web.Request) -> web.StreamResponse:
            raw = await http.read()
            try:
                request = parse_request(operation, raw)
            except CallError as exc:
                return _json(call_error_body(exc), 400)
            return await self._counted(http, request)

        return handle

    async def _counted(self, http: web.Request, request: Request) -> web.StreamResponse:
        self.calls.calls += 1
        self.calls.open += 1
        traceparent = http.headers.get("traceparent", "")
        self.calls.last = {"path": http.path, "traceparent": traceparent, "body": request.body}
        try:
            return await self._answer(http, request, self._play(request))
        except (asyncio.CancelledError, ConnectionResetError):
            self.calls.aborts += 1
            raise
        finally:
            self.calls.open -= 1

    def _play(self, request: Request) -> Play:
        messages = _as_messages(request)
        return play(
            last_user_text(messages),
            self.faults,
            begun=begun_answer(messages),
            started_ms=int(self._now().timestamp() * 1000),
        )

    async def _answer(self, http: web.Request, request: Request, answer: Play) -> web.StreamResponse:
        if refusal := await self._before_answer(answer):
            return refusal
        if request.operation is Operation.EMBEDDING:
            return _json(self._embeddings(request))
        if request.stream:
            return await _Stream(http, request, answer, self._envelope(request)).run()
        return await self._whole(http, request, answer)

    async def _before_answer(self, answer: Play) -> web.Response | None:
        await asyncio.sleep(answer.delay_seconds)
        if answer.hang:
            await _silence()
        if not answer.http:
            return None
        headers = {} if answer.retry_after is None else {"Retry-After": str(answer.retry_after)}
        body = error_body("mock_fault", f"{self.name} was told to fail", status=answer.http)
        return _json(body, answer.http, headers)

    async def _whole(self, http: web.Request, request: Request, answer: Play) -> web.StreamResponse:
        await asyncio.sleep(answer.pause_seconds * len(answer.texts))
        if answer.ending is Ending.HANG:
            await _silence()
        if answer.ending is Ending.DROP:
            return _dropped(http)
        if answer.ending is Ending.ERROR:
            return _json(error_body("mock_fault", f"{self.name} broke down", status=500), 500)
        text = "".join(answer.texts)
        envelope = self._envelope(request)
        is_chat = request.operation is Operation.CHAT
        said = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        envelope["object"] = "chat.completion" if is_chat else "text_completion"
        envelope["choices"] = [{"index": 0, **said, "finish_reason": "stop"}]
        envelope["usage"] = _usage(request, len(answer.texts))
        return _json(envelope)

    def _embeddings(self, request: Request) -> dict[str, Any]:
        asked = request.body["input"]
        texts = [asked] if isinstance(asked, str) else [str(text) for text in asked]
        as_base64 = request.body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _vector(text, as_base64)}
            for index, text in enumerate(texts)
        ]
        words = sum(len(text.split()) for text in texts)
        usage = {"prompt_tokens": words, "total_tokens": words}
        return {"object": "list", "data": data, "model": request.model, "usage": usage}

    def _envelope(self, request: Request) -> dict[str, Any]:
        is_chat = request.operation is Operation.CHAT
        return {
            "id": f"{'chatcmpl' if is_chat else 'cmpl'}-{self.name}-{self.calls.calls}",
            "object": "chat.completion.chunk" if is_chat else "text_completion",
            "created": int(self._now().timestamp()),
            "model": request.model,
            "system_fingerprint": self.name,
        }


class _Stream:
    """One answer, streamed."""

    def __init__(self, http: web.Request, request: Request, answer: Play, envelope: dict[str, Any]) -> None:
        self._http = http
        self._request = request
        self._answer = answer
        self._envelope = envelope
        self._is_chat = request.operation is Operation.CHAT
        self._response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})

    async def run(self) -> web.StreamResponse:
        await self._response.prepare(self._http)
        if self._is_chat:
            await self._send_choice({"delta": {"role": "assistant", "content": ""}, "finish_reason": None})
        for text in self._answer.texts:
            await asyncio.sleep(self._answer.pause_seconds)
            said = {"delta": {"content": text}} if self._is_chat else {"text": text}
            await self._send_choice({**said, "finish_reason": None})
        return await self._end()

    async def _end(self) -> web.StreamResponse:
        ending = self._answer.ending
        if ending is Ending.HANG:
            await _silence()
        if ending is Ending.DROP:
            return _dropped(self._http, self._response)
        if ending is Ending.ERROR:
            body = error_body("mock_fault", "the mock broke down", status=500)
            await self._response.write(encode(msgspec.json.encode(body)))
            return self._response
        nothing: dict[str, Any] = {"delta": {}} if self._is_chat else {"text": ""}
        await self._send_choice({**nothing, "finish_reason": "stop"})
        if (self._request.body.get("stream_options") or {}).get("include_usage"):
            usage = _usage(self._request, len(self._answer.texts))
            await self._send({"choices": [], "usage": usage})
        await self._response.write(DONE_EVENT)
        return self._response

    async def _send_choice(self, choice: dict[str, Any]) -> None:
        await self._send({"choices": [{"index": 0, **choice}]})

    async def _send(self, fields: dict[str, Any]) -> None:
        await self._response.write(encode(msgspec.json.encode({**self._envelope, **fields})))


def _as_messages(request: Request) -> list[Any]:
    if request.operation is Operation.CHAT:
        messages: list[Any] = request.body["messages"]
        return messages
    asked = request.body["input" if request.operation is Operation.EMBEDDING else "prompt"]
    text = asked if isinstance(asked, str) else " ".join(map(str, asked))
    return [{"role": "user", "content": text}]


def _usage(request: Request, completion_tokens: int) -> dict[str, int]:
    prompt_tokens = sum(len(text_of(message.get("content")).split()) for message in _as_messages(request))
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def _vector(text: str, as_base64: bool) -> list[float] | str:
    vector = embedding(text)
    return base64.b64encode(struct.pack("<8f", *vector)).decode() if as_base64 else vector


def _json(body: object, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    data = msgspec.json.encode(body)
    return web.Response(body=data, status=status, headers=headers, content_type="application/json")


async def _silence() -> None:
    """Say nothing until the client leaves or the server stops: both cancel the handler."""
    await asyncio.Event().wait()


def _dropped(http: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection behind what was sent, in the middle of the answer."""
    if http.transport is not None:
        http.transport.close()
    return response or web.Response()
