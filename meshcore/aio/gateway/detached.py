"""Plain calls that are executed as runs: the answer is plain, its chunks come from the log.

Whoever asked for it may leave: the run goes on, and can be watched by its id.
"""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from meshcore.aio.gateway.answers import Answer, error_answer, json_answer
from meshcore.aio.gateway.message import Request as HttpRequest
from meshcore.aio.gateway.run_routes import RUN_ID, RunRoutes, run_headers, trace_of
from meshcore.aio.gateway.streams import EventStream
from meshcore.aio.run_desk import log_unreachable
from meshcore.aio.run_service import RunService
from meshcore.aio.run_viewing import Watch
from meshcore.aio.runlog import EngineGone
from meshcore.clock import UtcNow
from meshcore.errors import CallError, Code
from meshcore.openai_errors import call_error_body
from meshcore.openai_upstream import answer_of
from meshcore.openai_wire import DONE, Operation, Request
from meshcore.run_events import AnyEvent, ChunkEvent, Claimed, ClaimReason, End, RunStatus, chunks_in
from meshcore.run_request import run_of
from meshcore.run_view import PlainAnswer, RunAsk, first_seq_wanted
from meshcore.sse import encode_all

HEADER = "X-Mesh-Detach"
_COMMENT = b": \n\n"


class DetachedCalls:
    """Answers plain calls by runs."""

    def __init__(self, runs: RunRoutes, service: RunService, *, utcnow: UtcNow) -> None:
        self._runs = runs
        self._service = service
        self._utcnow = utcnow

    async def serve(self, http: HttpRequest, request: Request, caller: str) -> Answer | None:
        """Make the run of a call and answer by it. Raises CallError."""
        run_id, trace_id, tail = await self._runs.create(
            http, run_of(request), caller, stream=request.stream, watched=True
        )
        created = int(self._utcnow().timestamp())
        plain = PlainAnswer(request.operation, run_id=run_id, model=request.model, created=created)
        after_seq = 0
        if tail is None:  # it was there before
            runner = self._service.runner
            ask = RunAsk(run_id=run_id, what="attach", caller=caller)
            state = await runner.desk.load(run_id)
            trace_id, after_seq = trace_of(state), first_seq_wanted(ask, state)
            tail = runner.log.tail(run_id, after_seq)
        headers = run_headers(run_id, trace_id)
        try:
            async with aclosing(tail):
                watch = Watch(tail, after_seq)
                if request.stream:
                    return await self._stream(http, watch, plain, request, headers)
                return await self._whole(watch, plain, request, headers)
        except EngineGone as exc:
            if http.begun:
                raise ConnectionResetError("the run log is gone") from exc
            raise log_unreachable(self._service.log_id) from exc

    async def _whole(
        self, watch: Watch, plain: PlainAnswer, request: Request, headers: dict[str, str]
    ) -> Answer:
        chunks: list[ChunkEvent] = []
        run_id = headers[RUN_ID]
        while not watch.is_over:
            for event in (await watch.next()).events:
                if isinstance(event, ChunkEvent):
                    chunks.append(event)
                elif isinstance(event, Claimed) and event.reason is ClaimReason.RESTARTED:
                    chunks.clear()
                elif isinstance(event, End):
                    error = _error_of(run_id, event)
                    if error is not None:
                        return error_answer(error, headers)
                    if request.operation is Operation.EMBEDDING:
                        return json_answer(self._embedding(chunks, run_id), headers=headers)
                    return Answer(plain.whole(chunks, event.usage), headers=headers)
        raise ConnectionResetError("the run has no end")

    def _embedding(self, chunks: list[ChunkEvent], run_id: str) -> Any:
        result = msgspec.json.decode(chunks[0].delta) if chunks else {}
        created = int(self._utcnow().timestamp())
        return answer_of(Operation.EMBEDDING, result, trace_id=run_id, created=created)

    async def _stream(
        self,
        http: HttpRequest,
        watch: Watch,
        plain: PlainAnswer,
        request: Request,
        headers: dict[str, str],
    ) -> Answer | None:
        """Send the answer as it comes; until its first chunk a failure is a status."""
        run_id = headers[RUN_ID]
        stream: EventStream | None = None
        while not watch.is_over:
            events = (await watch.next()).events
            datas, error = _pieces(run_id, events, plain, request, begun=stream is not None)
            if stream is None:
                if error is not None and not datas:
                    return error_answer(error, headers)
                if not datas:
                    continue
                stream = EventStream(http, headers)
            if error is not None:
                datas.append(msgspec.json.encode(call_error_body(error)))
            is_last = error is not None or (bool(events) and isinstance(events[-1], End))
            await stream.send(encode_all(datas) if datas else _COMMENT, last=is_last)
            if is_last:
                return None
        return None


def _pieces(
    run_id: str, events: Sequence[AnyEvent], plain: PlainAnswer, request: Request, *, begun: bool
) -> tuple[list[bytes], CallError | None]:
    """Return what a client is sent for events, and the error that ends its stream."""
    events, error = _until_restart(run_id, events, begun=begun)
    datas = plain.chunks(chunks_in(events))
    if events and isinstance(end := events[-1], End):
        error = _error_of(run_id, end)
        if error is None:
            datas += _last(end, plain, request)
    return datas, error


def _until_restart(
    run_id: str, events: Sequence[AnyEvent], *, begun: bool
) -> tuple[Sequence[AnyEvent], CallError | None]:
    """Return the events that go on with what a client has, and the error where others begin anew."""
    if Claimed not in set(map(type, events)):
        return events, None
    for at, event in enumerate(events):
        if isinstance(event, ChunkEvent):
            begun = True
        elif isinstance(event, Claimed) and event.reason is ClaimReason.RESTARTED and begun:
            message = f"the answer begins anew, which this stream can't say: watch /v1/runs/{run_id}/attach"
            return events[:at], CallError(Code.PARTITION, message)
    return events, None


def _last(end: End, plain: PlainAnswer, request: Request) -> list[bytes]:
    options = request.body.get("stream_options") or {}
    usage = [plain.usage(end.usage)] if options.get("include_usage") and end.usage else []
    return [*usage, DONE]


def _error_of(run_id: str, end: End) -> CallError | None:
    """Return a run's end as the error of a call, None when it went well."""
    if end.status is RunStatus.COMPLETED:
        return None
    code = Code.CANCELLED if end.status is RunStatus.CANCELLED else end.reason
    return CallError(code, f"{run_id} {end.status}: {end.reason}")
