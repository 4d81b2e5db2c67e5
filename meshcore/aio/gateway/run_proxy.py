"""Runs of other logs: a peer that has the log is asked in the client's place."""

import msgspec

from meshcore.aio.gateway.answers import Answer
from meshcore.aio.gateway.message import Request
from meshcore.aio.gateway.streams import EventStream
from meshcore.aio.http_answer import HttpAnswer
from meshcore.aio.http_transport import HttpTransport
from meshcore.aio.run_desk import log_unreachable
from meshcore.errors import ExchangeError
from meshcore.registry import PeerRecord, Registry
from meshcore.run_view import RunAsk

ANSWER_MAX_BYTES = 80 << 20  # a run's text has at most 64 MiB


class RunProxy:
    """See the module; without a transport there are no peers."""

    def __init__(self, registry: Registry, transport: HttpTransport | None) -> None:
        self._registry = registry
        self._transport = transport

    async def answer(self, http: Request, ask: RunAsk, log: str) -> Answer | None:
        """Return a peer's answer, None when it was streamed. Raises CallError(log_unreachable)."""
        body = msgspec.json.encode(ask)
        transport = self._transport
        if transport is None:
            raise log_unreachable(log)
        for peer in self._having(log):
            try:
                return await self._ask(http, transport, peer, body)
            except ExchangeError:
                if http.begun:
                    raise
        raise log_unreachable(log)

    def _having(self, log: str) -> list[PeerRecord]:
        """Return the peers with a log, the one that was heard of last first."""
        having = [peer for peer in self._registry.peers() if peer.log_id.startswith(log)]
        return [peer.record for peer in sorted(having, key=lambda peer: -peer.heard_at)]

    async def _ask(
        self, http: Request, transport: HttpTransport, peer: PeerRecord, body: bytes
    ) -> Answer | None:
        async with transport.run(peer, body) as answer:
            kind = answer.headers.get("Content-Type")
            if kind.startswith("text/event-stream"):
                await _pass_on(http, answer)
                return None
            return Answer(await answer.read(ANSWER_MAX_BYTES), answer.status, content_type=kind)


async def _pass_on(http: Request, answer: HttpAnswer) -> None:
    stream = EventStream(http, {"X-Mesh-Run-Id": answer.headers.get("X-Mesh-Run-Id")})
    while data := await answer.read_any():
        await stream.send(data)
    await stream.send(b"", last=True)
