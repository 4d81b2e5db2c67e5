"""The OpenAI wire for clients.

A request passes, in this order: key, content type, body within its bound, parse, gate. A streamed answer
begins with its first content: until then failover may still change who serves it, and a failure is a status;
afterwards it is one error event and no [DONE].
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from meshcore.aio.bus import CapabilityBus
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.forced import forcible
from meshcore.aio.gateway.admission import Admission
from meshcore.aio.gateway.answers import Answer, Handler, error_answer, json_answer, mesh_headers, refusal
from meshcore.aio.gateway.detached import HEADER as DETACH
from meshcore.aio.gateway.detached import DetachedCalls
from meshcore.aio.gateway.message import Request as HttpRequest
from meshcore.aio.gateway.requests import caller_of, read_body, require_json
from meshcore.aio.gateway.routes import Route
from meshcore.aio.gateway.streams import answer_stream
from meshcore.api_keys import ApiKeys
from meshcore.bus_wire import error_of
from meshcore.catalogue import aliases_served, can_serve, models_served, wanted
from meshcore.clock import Clock, UtcNow
from meshcore.drain import Work, WorkKind
from meshcore.errors import CallError
from meshcore.openai_upstream import answer_of
from meshcore.openai_wire import Operation, Request, parse_request
from meshcore.traceparent import HEADER, RandomBytes, TraceContext, trace_context

VERSION = (1, 0)  # of the capabilities that clients are given
ROUTES: dict[Operation, str] = {
    Operation.CHAT: "/v1/chat/completions",
    Operation.COMPLETION: "/v1/completions",
    Operation.EMBEDDING: "/v1/embeddings",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientLimits:
    """Bounds of what clients send: a bigger body is answered 413, one stream more 429."""

    max_body_bytes: int = 8 << 20
    max_streams: int = 1000


class ClientRoutes:
    """Chats, completions, embeddings and the list of models, for who has a key."""

    def __init__(
        self,
        *,
        bus: CapabilityBus,
        controller: DrainController,
        api_keys: ApiKeys,
        limits: ClientLimits,
        random: RandomBytes,
        clock: Clock,
        utcnow: UtcNow,
        detached: DetachedCalls | None = None,
    ) -> None:
        self._bus = bus
        self._controller = controller
        self._admission = Admission(bus.node_id_full, controller, max_streams=limits.max_streams)
        self._api_keys = api_keys
        self._limits = limits
        self._random = random
        self._clock = clock
        self._utcnow = utcnow
        self._detached = detached

    def routes(self) -> Iterable[Route]:
        """Return the routes."""
        for operation, path in ROUTES.items():
            yield Route("POST", path, self._serving(operation))
        yield Route("GET", "/v1/models", self._list_models)
        yield Route("GET", "/v1/models/{model+}", self._show_model)

    def _serving(self, operation: Operation) -> Handler:
        async def serve(http: HttpRequest) -> Answer | None:
            caller = caller_of(http, self._api_keys)
            require_json(http)
            request = parse_request(operation, await read_body(http, self._limits.max_body_bytes))
            if http.headers.get(DETACH) == "1" and self._detached is not None:
                return await self._detached.serve(http, request, caller)
            context = trace_context(http.headers.get(HEADER), self._random)
            kind = WorkKind.STREAM if request.stream else WorkKind.CALL
            with (
                self._admission.admitted(kind, context.trace_id) as (work, edge),
                forcible(work, self._bus.node_id_full),
            ):
                call = self._call(request, caller, context, edge)
                return await (
                    self._stream(http, call, work) if request.stream else self._whole(request, call)
                )

        return serve

    def _call(self, request: Request, caller: str, context: TraceContext, edge: bool) -> dict[str, Any]:
        """Return the arguments of the bus."""
        model, provider = wanted(request.model, self._bus.registry.named(request.operation))
        return {
            "capability": request.operation,
            "version": VERSION,
            "body": request.as_bus_body(model, provider),
            "caller": caller,
            "trace_id": context.trace_id,
            "traceparent": context.traceparent,
            "draining": edge,
        }

    async def _whole(self, request: Request, call: dict[str, Any]) -> Answer:
        result = await self._bus.call(**call)
        error = error_of(result)
        headers = mesh_headers(
            trace_id=result["_trace_id"],
            routed_via=result["_routed_via"],
            model=str(result.get("model") or ""),
            attempts=result["_attempts"],
        )
        if error is not None:
            return error_answer(error, headers)
        created = int(self._utcnow().timestamp())
        answer = answer_of(request.operation, result, trace_id=result["_trace_id"], created=created)
        return json_answer(answer, headers=headers)

    async def _stream(self, http: HttpRequest, call: dict[str, Any], work: Work) -> Answer | None:
        async with self._bus.stream(**call) as stream:
            try:
                await stream.start()
            except CallError as exc:
                via, attempts = stream.routed_via, len(exc.attempts)
                headers = mesh_headers(trace_id=stream.trace_id, routed_via=via, attempts=attempts)
                return error_answer(exc, headers)
            work.provider = stream.provider
            headers = mesh_headers(
                trace_id=stream.trace_id,
                routed_via=stream.routed_via,
                model=stream.model,
                attempts=stream.attempts,
            )
            await answer_stream(http, stream, headers, work, self._bus.node_id_full)
        return None

    async def _list_models(self, http: HttpRequest) -> Answer:
        caller_of(http, self._api_keys)
        cards = [_card(model, node) for model, node in self._models().items()]
        return json_answer({"object": "list", "data": cards})

    async def _show_model(self, http: HttpRequest) -> Answer:
        caller_of(http, self._api_keys)
        model, models = http.parts["model"], self._models()
        if model not in models:
            return refusal(404, "not_found", f"model: nobody serves {model!r} now", param="model")
        return json_answer(_card(model, models[model]))

    def _models(self) -> dict[str, str]:
        """Return model or alias -> the node that serves it, of what can be served now."""
        draining = self._controller.draining
        heard_since = self._clock() - self._bus.settings.freshness_seconds
        is_healthy = self._bus.health.is_healthy
        serving = [
            entry
            for entry in self._bus.registry.all()
            if can_serve(entry, draining=draining, heard_since=heard_since, is_healthy=is_healthy)
        ]
        aliases = aliases_served(self._bus.aliases, serving)
        return models_served(serving) | dict.fromkeys(aliases, self._bus.node_id_full)


def _card(model: str, node: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": node}
