"""The inbound side of a node's bus, without any web framework: checked, decoded, served, encoded.

A web shell hands over method, path, headers and body of what comes to `/bus/v1/…` and sends the `Answer` as
it is.
"""

from collections.abc import AsyncGenerator, Mapping

import msgspec

from meshcore import sse
from meshcore.aio.bus import CapabilityBus
from meshcore.aio.bus_stream import BusStream
from meshcore.bus_wire import (
    ACCEPTED,
    CALL_PATH,
    MANIFEST_PATH,
    decode_call,
    done_event,
    encode_result,
    error_event,
)
from meshcore.clock import Clock, UtcNow, monotonic, utcnow
from meshcore.errors import CallError, Code, FrameError
from meshcore.signing import TIME_HEADER, Verifier

JSON = "application/json"
EVENT_STREAM = "text/event-stream"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What to send: `body`, or `events` when there are any, which must be sent as they come and closed."""

    status: int = 200
    content_type: str = JSON
    headers: dict[str, str] = {}
    body: bytes = b""
    events: AsyncGenerator[bytes, None] | None = None


class BusEndpoint:
    """Serves the peers of `bus`; `secret` is the mesh secret, and without one every request is refused.

    `url` is where peers reach this node and `log_id` its run log, "" until it is open; both are only told in
    its manifest.
    """

    def __init__(
        self,
        bus: CapabilityBus,
        secret: str,
        node_id: str = "",
        *,
        clock: Clock = monotonic,
        utcnow: UtcNow = utcnow,
        url: str = "",
        log_id: str = "",
    ) -> None:
        self.node_id = node_id or bus.node_id_full
        self._bus = bus
        self._clock = clock
        self._verifier = Verifier(secret.encode(), self.node_id, utcnow=utcnow)
        self._url = url
        self.log_id = log_id

    async def handle(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Return the answer to a request; `headers` must look names up whatever their case."""
        refusal = self.refusal(method, path, headers, body)
        if refusal is not None:
            return refusal
        if (method, path) == ("GET", MANIFEST_PATH):
            manifest = self._bus.manifest(url=self._url, log_id=self.log_id)
            return Answer(body=msgspec.json.encode(manifest))
        if (method, path) == ("POST", CALL_PATH):
            return await self._call(body)
        return _error(404, CallError(Code.NOT_FOUND, f"{method} {path}: expected POST {CALL_PATH}"))

    def refusal(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer | None:
        """Return the answer to a request that no peer has signed, None for one that is a peer's."""
        try:
            self._verifier.check(headers, method=method, path=path, body=body)
        except CallError as exc:
            return self._unauthorized(exc)
        return None

    async def _call(self, body: bytes) -> Answer:
        try:
            request = decode_call(body, now=self._clock())
        except FrameError as exc:
            return _error(400, CallError(Code.BAD_REQUEST, str(exc)))
        if request.stream:
            events = _events(self._bus.handle_stream(request, local_only=True))
            return Answer(content_type=EVENT_STREAM, events=events)
        return Answer(body=encode_result(await self._bus.handle_call(request, local_only=True)))

    def _unauthorized(self, error: CallError) -> Answer:
        """Only who knows the secret is told the time."""
        skewed = error.code == Code.CLOCK_SKEW
        return _error(401, error, {TIME_HEADER: str(self._verifier.now_ms())} if skewed else {})


def _error(status: int, error: CallError, headers: dict[str, str] | None = None) -> Answer:
    return Answer(status=status, headers=headers or {}, body=encode_result(error.as_result()))


async def _events(stream: BusStream) -> AsyncGenerator[bytes, None]:
    async with stream:
        yield ACCEPTED
        try:
            while chunks := await stream.read():
                events = sse.encode_all([chunk.data for chunk in chunks])
                if stream.is_over:
                    yield events + done_event()
                    return
                yield events
        except CallError as exc:
            yield error_event(exc)
        else:
            yield done_event()
