"""Runs for clients: make one, look, watch, cancel; and the same for peers whose clients ask for our log's.

What stands in another log is asked of a peer that has it, signed by the mesh: the client's key never travels,
only its name does.
"""

import os
from collections.abc import Iterable
from contextlib import aclosing
from urllib.parse import parse_qs

import msgspec

from meshcore.aio.bus_endpoint import BusEndpoint
from meshcore.aio.gateway.admission import Admission
from meshcore.aio.gateway.answers import Answer, json_answer
from meshcore.aio.gateway.message import Request
from meshcore.aio.gateway.requests import caller_of, read_body, require_json
from meshcore.aio.gateway.routes import Route
from meshcore.aio.gateway.run_proxy import RunProxy
from meshcore.aio.gateway.streams import EventStream
from meshcore.aio.run_desk import Made
from meshcore.aio.run_loading import RunMissing
from meshcore.aio.run_service import RunService
from meshcore.aio.run_viewing import frames
from meshcore.aio.runlog import EngineGone
from meshcore.api_keys import ApiKeys
from meshcore.bus_wire import RUN_PATH
from meshcore.drain import WorkKind
from meshcore.errors import CallError, Code
from meshcore.openai_errors import BadRequest
from meshcore.run_request import KEY_MAX_CHARS, RunRequest, log_of, parse_run
from meshcore.run_view import RunAsk, attach_path, first_seq_wanted, position, summary
from meshcore.runs import RunState
from meshcore.traceparent import HEADER as TRACEPARENT
from meshcore.traceparent import trace_context

RUN_ID = "X-Mesh-Run-Id"
ASK_MAX_BYTES = 16 << 10


class RunRoutes:
    """Serves the runs of `service` to who has a key, at most `max_viewers` of them watching at once."""

    def __init__(
        self,
        service: RunService,
        endpoint: BusEndpoint,
        proxy: RunProxy,
        admission: Admission,
        *,
        api_keys: ApiKeys,
        max_body_bytes: int,
        max_viewers: int,
    ) -> None:
        self._service = service
        self._endpoint = endpoint
        self._proxy = proxy
        self._admission = admission
        self._api_keys = api_keys
        self._max_body_bytes = max_body_bytes
        self._max_viewers = max_viewers
        self._viewers = 0

    def routes(self) -> Iterable[Route]:
        """Return the routes."""
        yield Route("POST", "/v1/runs", self._create)
        yield Route("GET", "/v1/runs/{id}", self._show)
        yield Route("GET", "/v1/runs/{id}/attach", self._attach)
        yield Route("POST", "/v1/runs/{id}/cancel", self._cancel)
        yield Route("POST", RUN_PATH, self._for_peer)

    async def create(
        self, http: Request, request: RunRequest, caller: str, *, stream: bool, watched: bool = False
    ) -> Made:
        """Make the run that a client asks for. Raises CallError."""
        key = http.headers.get("Idempotency-Key")
        if len(key) > KEY_MAX_CHARS:
            raise BadRequest("Idempotency-Key", f"expected at most {KEY_MAX_CHARS} characters")
        trace_id = trace_context(http.headers.get(TRACEPARENT), os.urandom).trace_id
        desk = self._service.runner.desk
        work, edge = self._admission.enter(WorkKind.RUN, "run")
        if edge:  # this node drains: the run is for whoever takes it
            work.close()
        return await desk.create(
            request,
            client=caller,
            idempotency_key=key,
            trace_id=trace_id,
            stream=stream,
            work=None if edge else work,
            watched=watched,
        )

    async def _create(self, http: Request) -> Answer:
        caller = caller_of(http, self._api_keys)
        require_json(http)
        request = parse_run(await read_body(http, self._max_body_bytes))
        run_id = (await self.create(http, request, caller, stream=True)).run_id
        desk = self._service.runner.desk
        state = await desk.load(run_id)
        return json_answer(
            {"id": run_id, "status": desk.status(state), "attach": attach_path(run_id)},
            status=202,
            headers=run_headers(run_id, trace_of(state)) | {"Location": f"/v1/runs/{run_id}"},
        )

    async def _show(self, http: Request) -> Answer | None:
        return await self._asked(http, self._ask(http, "show"))

    async def _attach(self, http: Request) -> Answer | None:
        query = parse_qs(http.query)
        after = position(http.headers.get("Last-Event-ID"), query.get("starting_after", [""])[0])
        history = query.get("history", [""])[0]
        if history not in ("", "all"):
            raise BadRequest("history", f"expected all, got {history[:40]!r}")
        ask = msgspec.structs.replace(self._ask(http, "attach"), after=after, history=bool(history))
        return await self._asked(http, ask)

    async def _cancel(self, http: Request) -> Answer | None:
        return await self._asked(http, self._ask(http, "cancel"))

    def _ask(self, http: Request, what: str) -> RunAsk:
        return RunAsk(run_id=http.parts["id"], what=what, caller=caller_of(http, self._api_keys))

    async def _asked(self, http: Request, ask: RunAsk) -> Answer | None:
        """Answer a client, by the run's log, be it ours or a peer's."""
        log = log_of(ask.run_id)
        if log is None:
            raise RunMissing(ask.run_id)
        if self._service.log_id.startswith(log):
            return await self._answer(http, ask)
        return await self._proxy.answer(http, ask, log)

    async def _for_peer(self, http: Request) -> Answer | None:
        """Answer a client of a peer, which says who it is."""
        body = await read_body(http, ASK_MAX_BYTES)
        refusal = self._endpoint.refusal(http.method, http.path, http.headers, body)
        if refusal is not None:
            return Answer(refusal.body, refusal.status, refusal.headers, refusal.content_type)
        try:
            return await self._answer(http, msgspec.json.decode(body, type=RunAsk))
        except msgspec.MsgspecError as exc:
            raise BadRequest("body", str(exc)) from exc

    async def _answer(self, http: Request, ask: RunAsk) -> Answer | None:
        runner = self._service.runner
        state = await runner.desk.load(ask.run_id)
        if ask.caller and state.created is not None and state.created.key != ask.caller:
            raise RunMissing(ask.run_id)
        match ask.what:
            case "show":
                status = runner.desk.status(state)
                return json_answer(summary(ask.run_id, state, status, log_id=runner.log.log_id))
            case "cancel":
                return await self._end(ask)
            case "attach":
                await self._watch(http, ask, state)
                return None
            case _:
                raise BadRequest("what", f"expected show, attach or cancel, got {ask.what[:40]!r}")

    async def _end(self, ask: RunAsk) -> Answer:
        desk = self._service.runner.desk
        cancelled = await desk.cancel(ask.run_id, ask.caller or "mesh")
        status = desk.status(await desk.load(ask.run_id))
        body = {"id": ask.run_id, "cancelled": cancelled, "status": status}
        return json_answer(body, status=202 if cancelled else 200)

    async def _watch(self, http: Request, ask: RunAsk, state: RunState) -> None:
        if self._viewers >= self._max_viewers:
            raise CallError(Code.CAPACITY_EXCEEDED, f"{self._max_viewers} runs are being watched here")
        self._viewers += 1
        stream = EventStream(http, run_headers(ask.run_id, trace_of(state)))
        found = frames(self._service.runner.log, ask.run_id, first_seq_wanted(ask, state))
        try:
            async with aclosing(found):
                async for events in found:
                    await stream.send(events)
        except EngineGone as exc:
            raise ConnectionResetError("the run log is gone: to be taken up again") from exc
        finally:
            self._viewers -= 1
        await stream.send(b"", last=True)


def run_headers(run_id: str, trace_id: str) -> dict[str, str]:
    """Return the headers that say which run an answer is about, and of which trace, unless that is ""."""
    return {RUN_ID: run_id} | ({"X-Mesh-Trace-Id": trace_id} if trace_id else {})


def trace_of(state: RunState) -> str:
    """Return the trace of a run, "" when only its end is left."""
    return state.created.trace_id if state.created else ""
