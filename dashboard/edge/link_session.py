"""What becomes of what a node says: stored by services, in threads of the runtime; and what it is told, when.

    hello      -> services.link, with others that come at once -> descriptor
    health     -> runtime.writer   the newest; an older one that had to wait is merged into it
    telemetry  -> runtime.writer   -> acknowledged after the commit, at most a window waits
    going_idle -> services.link.go_idle   -> acknowledged after the commit
    an order to this node                 -> the desired state, at once and whole; what waits in the outbox
    other nodes come, go, drain           -> sent as a delta, from the runtime's directory
    stream     -> the broker's feeds: a run that somebody watches

Five tasks: two store, one sends desired state, one says who else is there, one watches the handshake's time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from django.db import Error as DatabaseError

from dashboard.edge import brokerage
from dashboard.edge.link_intake import Intake
from dashboard.edge.link_orders import Orders
from dashboard.edge.refusal_log import RefusalLog
from dashboard.models import Node
from dashboard.runtime import PEERS, ROOM, LaneFull, Runtime
from dashboard.services import link
from dashboard.services.columns import Unfit
from dashboard.services.ingest import Answer, ConnectionLost
from dashboard.services.link import Greeting, HandshakeRefused
from meshcore.clock import Clock, UtcNow, monotonic, utcnow
from meshcore.frames import FromNode, GoingIdle, Health, Hello, InboundAck, Rewind, Telemetry
from meshcore.link import CloseCode, Closing, DashboardSide, LinkPolicy
from meshcore.peers import PeerTeller
from meshcore.stream_frames import Stream, StreamEnd, WatchRun

logger = logging.getLogger(__name__)
crowded = RefusalLog(logger)

SUPERSEDED = Closing(CloseCode.SUPERSEDED, "another connection of this node counts now")
LATER = Closing(CloseCode.TRY_AGAIN_LATER, "the dashboard can't store now")


class LinkSession:
    """The dashboard's end of one connection.

    `send` writes a line, `close` closes the socket; both may come late.
    """

    def __init__(
        self,
        node: Node,
        runtime: Runtime,
        *,
        send: Callable[[bytes], Awaitable[None]],
        close: Callable[[Closing], Awaitable[None]],
        token_id: int | None = None,
        policy: LinkPolicy | None = None,
        clock: Clock = monotonic,
        now: UtcNow = utcnow,
    ) -> None:
        self._node = node
        self._token_id = token_id
        self._runtime = runtime
        self._send = send
        self._close = close
        self._clock = clock
        self._now = now
        self._side = DashboardSide(clock=clock, policy=policy or LinkPolicy())
        self._connection_no = 0  # 0: no handshake yet
        self._intake = Intake(node, runtime, now=now)
        self._orders = Orders(node, runtime, self._side, write=self._write, now=now)
        self.log_id = ""  # of the runs that can be watched and cancelled there
        self._peers = PeerTeller()
        self._met = asyncio.Event()
        self._unsubscribe: list[Callable[[], None]] = []
        self._tasks = [asyncio.create_task(self._watch_handshake())]

    async def receive(self, message: str | bytes) -> None:
        """Take what came; returns soon but for a handshake, which nothing may overtake."""
        for frame in self._side.receive_message(message):
            await self._heard(frame)
        await self._close_if_broken()

    async def end(self) -> None:
        """Stop, and note the connection as closed."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        self._intake.end()
        brokerage.of(self._runtime).leave(self._node.name, self)
        if self._runtime.links.get(self._node.name) == self._orders.wake:
            del self._runtime.links[self._node.name]
        if self._connection_no:
            await self._note_closed()

    async def _note_closed(self) -> None:
        try:
            await self._runtime.in_ingest(
                link.close_connection, node=self._node, connection_no=self._connection_no, now=self._now()
            )
        except (DatabaseError, LaneFull):  # the node's silence says the same a few seconds later
            logger.exception(
                "%s: the end of connection %d was not noted", self._node.name, self._connection_no
            )

    async def _heard(self, frame: FromNode) -> None:
        match frame:
            case Hello():
                await self._guarded(self._greet(frame))
            case Health():
                self._intake.take_health(frame)
            case Telemetry():
                self._intake.take_telemetry(frame)
            case InboundAck(bufferId=buffer_id):
                await self._guarded(self._orders.taken(buffer_id))
            case GoingIdle():
                await self._guarded(self._flip_to_idle())
            case Stream() | StreamEnd():
                brokerage.of(self._runtime).heard(frame)

    async def watch(self, watch: WatchRun) -> None:
        """Ask the node for a run."""
        self._side.streams.watch(watch)
        await self._write()

    async def grant(self, stream: str) -> None:
        """Let the node send one piece more of a run."""
        self._side.streams.grant(stream)
        await self._write()

    async def leave(self, stream: str) -> None:
        """Tell the node that nobody watches a run any more."""
        self._side.streams.end(stream)
        await self._write()

    async def _greet(self, hello: Hello) -> None:
        self._listen()
        self._connection_no, descriptor = await self._runtime.greet(
            Greeting(node=self._node, hello=hello, now=self._now(), token_id=self._token_id)
        )
        logger.info("%s is connected, connection %d", self._node.name, self._connection_no)
        if hello.node_id != self._node.name:
            logger.warning("%s calls itself %r: the token decides", self._node.name, hello.node_id[:63])
        self._intake.connection_no = self._connection_no
        self._side.send_descriptor(self._intake.with_turn(hello, descriptor))
        await self._write()
        self._runtime.links[self._node.name] = self._orders.wake
        self._orders.begin(self._connection_no, hello, descriptor)
        self.log_id = hello.log_id
        if self.log_id:
            brokerage.of(self._runtime).join(self._node.name, self)
        work = (self._store_health_on(), self._store_telemetry_on(), self._steer(), self._acquaint())
        self._tasks += map(asyncio.create_task, work)
        self._met.set()

    def _listen(self) -> None:
        """Hear of changes from now on: before the descriptor is made, so that none falls between."""
        self._unsubscribe = [
            self._runtime.on_change(f"orders:{self._node.name}", lambda ids, keys: self._orders.wake()),
            self._runtime.on_change(PEERS, lambda ids, keys: self._met.set()),
            self._runtime.on_change(ROOM, lambda ids, keys: self._intake.go_on()),
        ]

    async def _flip_to_idle(self) -> None:
        flipped = await self._runtime.in_ingest(
            link.go_idle, node=self._node, connection_no=self._connection_no, now=self._now()
        )
        if not flipped:
            await self._stop(SUPERSEDED)
            return
        self._side.acknowledge_idle()
        await self._write()

    async def _store_health_on(self) -> None:
        while True:
            await self._guarded(self._store_health())

    async def _store_health(self) -> None:
        if not await self._intake.next_health():
            await self._stop(SUPERSEDED)

    async def _store_telemetry_on(self) -> None:
        while True:
            await self._guarded(self._store_telemetry())

    async def _store_telemetry(self) -> None:
        """Store all that waits and answer each frame; behind one that isn't stored none is."""
        for answer in await self._intake.next_telemetry():
            if isinstance(answer, BaseException):
                await self._write()  # what was stored before it is told
                raise answer
            if not await self._answered(answer):
                break
        await self._write()

    async def _answered(self, answer: Answer) -> bool:
        """Answer a frame; return whether the next one counts, too."""
        match answer:
            case ConnectionLost():
                await self._stop(SUPERSEDED)
                return False
            case Rewind(hwm=hwm):
                self._intake.void_telemetry()
                self._side.send_rewind(hwm)
                return False
        self._side.send_ack(answer.to, answer.refused)
        self._intake.acknowledged(answer.to)
        return True

    async def _steer(self) -> None:
        """Send what the node wasn't told: a newer desired state, and what waits in the outbox."""
        await self._guarded(self._orders.note_told())
        await self._guarded(self._orders.send_waiting())
        while True:
            await self._orders.changed()
            await self._guarded(self._orders.send_desired())
            await self._guarded(self._orders.send_waiting())

    async def _acquaint(self) -> None:
        while True:
            await self._met.wait()
            self._met.clear()
            await self._guarded(self._send_peers())

    async def _send_peers(self) -> None:
        """Say who else is there, as far as that is news; to a node that isn't there itself, nothing."""
        known = self._runtime.directory.known_to(self._node.name)
        if known is not None:
            for frame in self._peers.tell(known):
                self._side.send_peers(frame)
            await self._write()

    async def _watch_handshake(self) -> None:
        while (deadline := self._side.next_deadline()) is not None:
            await asyncio.sleep(max(deadline - self._clock(), 0))
            self._side.tick()
        await self._close_if_broken()

    async def _close_if_broken(self) -> None:
        if self._side.closing is not None:
            await self._close(self._side.closing)

    async def _write(self) -> None:
        for line in self._side.frames_to_send():
            await self._send(line)

    async def _guarded(self, step: Awaitable[None]) -> None:
        """Take a step; what goes wrong in it closes the connection, and the node comes again."""
        try:
            await step
        except HandshakeRefused as exc:
            await self._stop(Closing(exc.code, exc.reason))
        except Unfit as exc:
            await self._stop(Closing(CloseCode.PROTOCOL_ERROR, str(exc)))
        except LaneFull as exc:
            crowded.warn("%s: the connection is closed: %s", self._node.name, exc)
            await self._stop(LATER)
        except DatabaseError:
            logger.exception("%s: the connection is closed", self._node.name)
            await self._stop(LATER)
        except Exception:
            logger.exception("%s: the connection is closed", self._node.name)
            await self._stop(Closing(CloseCode.INTERNAL_ERROR, "internal error"))

    async def _stop(self, closing: Closing) -> None:
        """Close the socket and forget what waits: the node sends it again."""
        self._intake.forget()
        await self._close(closing)
