"""The bus for other nodes: signed requests in, results and chunks out; `BusEndpoint` does what isn't HTTP."""

from collections.abc import Iterable, Iterator
from contextlib import aclosing, contextmanager
from itertools import count

from meshcore.aio.bus_endpoint import Answer as BusAnswer
from meshcore.aio.bus_endpoint import BusEndpoint
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.forced import forcible
from meshcore.aio.gateway.answers import Answer
from meshcore.aio.gateway.message import Request
from meshcore.aio.gateway.requests import read_body
from meshcore.aio.gateway.routes import Route
from meshcore.aio.gateway.streams import FORCED_SECONDS, EventStream
from meshcore.bus_wire import CALL_PATH, MANIFEST_PATH, encode_result, error_event
from meshcore.drain import Work, WorkKind
from meshcore.errors import DrainForced

BODY_OVERHEAD_BYTES = 64 << 10  # what a node writes around a client's body


class PeerRoutes:
    """Serves what `endpoint` serves. The bus itself must refuse peers' calls while the gate is closed."""

    def __init__(self, endpoint: BusEndpoint, controller: DrainController, *, max_body_bytes: int) -> None:
        self._node_id = endpoint.node_id
        self._endpoint = endpoint
        self._controller = controller
        # A client's body crosses the mesh whole, and what it asks once more under `input`.
        self._max_body_bytes = 2 * max_body_bytes + BODY_OVERHEAD_BYTES
        self._numbers = count(1)

    def routes(self) -> Iterable[Route]:
        """Return the routes."""
        yield Route("POST", CALL_PATH, self._call)
        yield Route("GET", MANIFEST_PATH, self._manifest)

    async def _manifest(self, http: Request) -> Answer:
        return _whole(await self._endpoint.handle(http.method, http.path, http.headers, b""))

    async def _call(self, http: Request) -> Answer | None:
        body = await read_body(http, self._max_body_bytes)
        with self._counted() as work:
            try:
                with forcible(work, self._node_id):
                    answer = await self._endpoint.handle(http.method, http.path, http.headers, body)
            except DrainForced as exc:
                return Answer(encode_result(exc.as_result()))
            if answer.events is None:
                return _whole(answer)
            if work is not None:
                work.kind = WorkKind.STREAM
            stream = EventStream(http, answer.headers)
            seconds: float | None = None
            last = b""
            try:
                with forcible(work, self._node_id):
                    async with aclosing(answer.events) as events:
                        async for event in events:
                            await stream.send(event)
            except DrainForced as exc:
                seconds, last = FORCED_SECONDS, error_event(exc)
            await stream.send(last, last=True, within_seconds=seconds)
        return None

    @contextmanager
    def _counted(self) -> Iterator[Work | None]:
        """Count a call in while the context lasts, unless the gate is closed: then the bus refuses it."""
        accepted = self._controller.accepts()
        name = f"peer-call-{next(self._numbers)}"
        work = self._controller.ledger.admit(WorkKind.CALL, name) if accepted else None
        try:
            yield work
        finally:
            if work is not None:
                work.close()


def _whole(answer: BusAnswer) -> Answer:
    return Answer(answer.body, answer.status, answer.headers, answer.content_type)
