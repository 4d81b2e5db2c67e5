"""Runs that are watched over the link: each a task that reads the log and sends as far as credits go.

Any run of this node's log, whoever owns it. A stream belongs to the connection that it was asked on.
"""

import asyncio
import logging
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec

from meshcore.aio.relay_session import LinkLost, RelaySession
from meshcore.aio.run_service import RunService
from meshcore.aio.run_viewing import batches
from meshcore.aio.runlog import EngineGone
from meshcore.errors import CallError, Code, IllegalMove
from meshcore.frames import FromDashboard, Inbound
from meshcore.run_request import log_of
from meshcore.run_view import RunAsk, first_seq_wanted
from meshcore.stream_frames import (
    STREAMS_MAX,
    Stream,
    StreamCredit,
    StreamEnd,
    StreamEndReason,
    WatchRun,
)
from meshcore.watching import pieces

logger = logging.getLogger(__name__)

_ASKED: msgspec.json.Decoder[WatchRun] = msgspec.json.Decoder(WatchRun)


@dataclass(eq=False, slots=True)
class _Watched:
    """One stream; `room` is set when there may be credit again."""

    session: RelaySession
    watch: WatchRun
    room: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None


class RunStreams:
    """The streams of one node, at most `max_streams`."""

    def __init__(self, service: RunService, *, max_streams: int = STREAMS_MAX) -> None:
        self._service = service
        self._max_streams = max_streams
        self._open: list[_Watched] = []

    def heard(self, session: RelaySession, frame: FromDashboard) -> bool:
        """Take a frame if it is about streams, and return whether it was."""
        match frame:
            case Inbound(bufferId=None, event={"type": "watch_run"}):
                self._asked(session, frame.event)
            case StreamCredit(id=stream):
                for each in self._of(session, stream):
                    each.room.set()
            case StreamEnd(id=stream):
                for each in self._of(session, stream):
                    self._cancel(each)
            case _:
                return False
        return True

    def lost(self, session: RelaySession) -> None:
        """End what was watched over a connection that is gone."""
        for each in self._of(session):
            self._cancel(each)

    async def close(self) -> None:
        """End all, and return when they have ended."""
        tasks = [each.task for each in self._open if each.task is not None]
        for each in tuple(self._open):
            self._cancel(each)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _of(self, session: RelaySession, stream: str | None = None) -> list[_Watched]:
        mine = [each for each in self._open if each.session is session]
        return [each for each in mine if stream in (None, each.watch.stream)]

    def _asked(self, session: RelaySession, event: dict[str, Any]) -> None:
        try:
            watch = _ASKED.decode(msgspec.json.encode(event))
            session.streams.open(watch)
        except (msgspec.MsgspecError, IllegalMove) as exc:
            logger.warning("a run can't be watched: %s", exc)
            return
        watched = _Watched(session, watch)
        too_many = len(self._open) >= self._max_streams
        self._open.append(watched)
        watched.task = asyncio.create_task(self._serve(watched, too_many=too_many))
        watched.task.add_done_callback(lambda _: self._open.remove(watched))  # even if it never began

    def _cancel(self, watched: _Watched) -> None:
        if watched.task is not None:
            watched.task.cancel()

    async def _serve(self, watched: _Watched, *, too_many: bool) -> None:
        reason = StreamEndReason.CANCELLED
        try:
            reason = StreamEndReason.TOO_MANY if too_many else await self._send(watched)
        except EngineGone:
            reason = StreamEndReason.ENGINE_GONE
        except CallError as exc:
            unknown = exc.code == Code.NOT_FOUND
            reason = StreamEndReason.UNKNOWN_RUN if unknown else StreamEndReason.LOG_UNREACHABLE
        except LinkLost:
            return
        except Exception:
            logger.exception("a run that is watched was not sent")
            reason = StreamEndReason.LOG_UNREACHABLE
        finally:
            with suppress(LinkLost):
                await watched.session.end_stream(watched.watch.stream, reason)

    async def _send(self, watched: _Watched) -> StreamEndReason:
        """Send a run to its end. Raises CallError, EngineGone, LinkLost."""
        watch, log_id = watched.watch, self._service.log_id
        runner = self._service.runner
        if not log_id.startswith(log_of(watch.run_id) or log_id):
            return StreamEndReason.LOG_UNREACHABLE
        state = await runner.desk.load(watch.run_id)
        ask = RunAsk(run_id=watch.run_id, what="attach", after=watch.after, history=watch.history)
        after = first_seq_wanted(ask, state)
        await self._piece(watched, Stream(id=watch.stream, after=after, to=after))
        async with aclosing(batches(runner.log, watch.run_id, after)) as found:
            async for events in found:
                for piece in pieces(watch.stream, after, events) if events else ():
                    await self._piece(watched, piece)
                    after = piece.to
        return StreamEndReason.ENDED

    async def _piece(self, watched: _Watched, piece: Stream) -> None:
        while not watched.session.streams.credit_left(piece.id):
            watched.room.clear()
            await watched.room.wait()
        await watched.session.send_piece(piece)
