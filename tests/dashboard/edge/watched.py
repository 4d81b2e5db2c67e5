"""Both ends of a watched run, spoken over ASGI: nodes that have its log, viewers that read it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import msgspec
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client

from dashboard.asgi import application
from dashboard.models import Run
from meshcore.capability import Manifest
from meshcore.clock import monotonic
from meshcore.frames import Descriptor, Frame, Hello, Inbound
from meshcore.framing import encode
from meshcore.link import LinkPolicy, NodeSide
from meshcore.stream_frames import Stream, StreamCredit, StreamEnd, StreamEndReason, ViewedEvent, WatchRun

SECONDS = 20.0  # no answer takes this long, however busy the machine
LOG = "abcdef0123456789"
RUN = "run_abcdef_" + "0" * 32
NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
API = f"/api/v1/runs/{RUN}/stream"
PAGE = f"/runs/{RUN}/stream"
Watch = Callable[..., "Viewer"]
NewNode = Callable[..., Awaitable["LogNode"]]


def bearer(secret: str) -> tuple[bytes, bytes]:
    return (b"authorization", f"Bearer {secret}".encode())


def known(status: str = "running") -> None:
    Run.objects.create(run_id=RUN, status=status, first_heard_at=NOW, heard_at=NOW)


def cookie(user: User) -> tuple[bytes, bytes]:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    value = client.cookies[settings.SESSION_COOKIE_NAME].value
    return (b"cookie", f"{settings.SESSION_COOKIE_NAME}={value}".encode())


def event(seq: int, name: Any = "chunk", **data: Any) -> ViewedEvent:
    return ViewedEvent(seq=seq, event=name, data=msgspec.Raw(msgspec.json.encode(data)))


def chunks(first: int, last: int) -> list[ViewedEvent]:
    return [
        event(seq, index=seq, delta={"content": f"w{seq} "}, finish_reason=None)
        for seq in range(first, last + 1)
    ]


def end(seq: int) -> ViewedEvent:
    return event(seq, "end", status="completed", reason="stop", final_seq=seq, usage=None)


class LogNode:
    """A node whose log has one run, sent event by event as far as credits go."""

    def __init__(self, name: str, secret: str, *, log_id: str = LOG) -> None:
        hello = Hello(
            node_id=name,
            instance_id=f"i-{name}",
            spool_id=f"s-{name}",
            clock=NOW,
            manifest=Manifest(node_id=name),
            log_id=log_id,
        )
        self.name = name
        self.events: dict[str, list[ViewedEvent]] = {RUN: []}
        self.refuses: StreamEndReason | None = None
        self.mute = False  # takes wishes and says nothing
        self.begins_at: int | None = None  # else where it is asked to
        self.open: dict[str, tuple[WatchRun, int]] = {}  # with the last event that was sent
        self.asked: list[WatchRun] = []
        self.ended: list[str] = []
        self.side = NodeSide(hello, clock=monotonic, random=lambda: 0.5, policy=LinkPolicy())
        self.asgi = WebsocketCommunicator(application, "/link/v1", headers=[bearer(secret)])
        self.closed: tuple[int, str] | None = None
        self._reader: asyncio.Task[None] | None = None
        self.linked = asyncio.Event()
        self._credited = asyncio.Event()

    async def connect(self) -> "LogNode":
        assert (await self.asgi.connect(SECONDS))[0]
        await self._write()
        self._reader = asyncio.create_task(self._read())
        async with asyncio.timeout(SECONDS):
            await self.linked.wait()
        return self

    async def die(self) -> None:
        """Lose the connection without a word."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            self._reader = None
            await self.asgi.disconnect(timeout=SECONDS)

    async def add(self, *events: ViewedEvent, run: str = RUN) -> None:
        """Let something stand in the log."""
        self.events[run] += events
        await self._send_on()

    async def all_taken(self) -> None:
        """Wait until there is credit again for all that was said."""
        async with asyncio.timeout(SECONDS):
            while any(self._credit_left(name) < watch.credit for name, (watch, _) in self.open.items()):
                self._credited.clear()
                await self._credited.wait()

    def _credit_left(self, stream: str) -> int:
        return self.side.streams.credit_left(stream)

    async def flood(self, *frames: Frame) -> None:
        """Say something whatever the rules are."""
        for frame in frames:
            await self.asgi.send_to(text_data=encode(frame).decode())

    async def _read(self) -> None:
        while True:
            output = await self.asgi.receive_output(3600)
            if output["type"] == "websocket.close":
                self.closed = output["code"], output["reason"]
                return
            for frame in self.side.receive_message(output["text"]):
                await self._take(frame)

    async def _take(self, frame: Any) -> None:
        match frame:
            case Descriptor():
                self.linked.set()
            case Inbound():
                await self._begin(msgspec.convert(frame.event, WatchRun))
            case StreamCredit():
                self._credited.set()
                await self._send_on()
            case StreamEnd():
                self.ended.append(frame.id)
                self.open.pop(frame.id, None)

    async def _begin(self, watch: WatchRun) -> None:
        self.asked.append(watch)
        if self.mute:
            return
        self.side.streams.open(watch)
        unknown = None if watch.run_id in self.events else StreamEndReason.UNKNOWN_RUN
        reason = self.refuses or unknown
        if reason:
            self.side.streams.end(watch.stream, reason)
        else:
            after = (watch.after or 0) if self.begins_at is None else self.begins_at
            self.open[watch.stream] = watch, after
            self.side.streams.send(Stream(id=watch.stream, after=after, to=after))
        await self._send_on()

    async def _send_on(self) -> None:
        for stream, (watch, sent) in list(self.open.items()):
            for each in self.events[watch.run_id]:
                if each.seq > sent and self.side.streams.credit_left(stream):
                    piece = Stream(id=stream, after=sent, to=each.seq, events=(each,))
                    self.side.streams.send(piece)
                    sent = each.seq
                    self.open[stream] = watch, sent
                    if each.event == "end":
                        self.side.streams.end(stream, StreamEndReason.ENDED)
                        del self.open[stream]
        await self._write()

    async def _write(self) -> None:
        for line in self.side.frames_to_send():
            await self.asgi.send_to(text_data=line.decode())


class Viewer:
    """A client of a stream; `body` has what came. With `slow` it takes nothing until it is let go on."""

    def __init__(self, path: str, *headers: tuple[bytes, bytes], method: str = "GET") -> None:
        path, _, query = path.partition("?")
        self.scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query.encode(),
            "headers": [(b"host", b"127.0.0.1:8000"), *headers],
            "client": ["203.0.113.9", 4711],
        }
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.over = False
        self.reads = asyncio.Event()
        self.reads.set()
        self._news = asyncio.Event()
        self._left = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def start(self) -> "Viewer":
        self.task = asyncio.create_task(application(self.scope, self._receive, self._send))
        self.task.add_done_callback(lambda _: self._news.set())
        return self

    async def leave(self) -> None:
        self._left.set()
        if self.task is not None:
            async with asyncio.timeout(SECONDS):
                await asyncio.gather(self.task)

    async def until(self, condition: Callable[["Viewer"], bool]) -> "Viewer":
        async with asyncio.timeout(SECONDS):
            while not condition(self):
                assert self.task is not None
                if self.task.done() and not condition(self):
                    raise AssertionError(f"over: {self.status} {self.body!r}") from self.task.exception()
                self._news.clear()
                await self._news.wait()
        return self

    async def finish(self) -> "Viewer":
        return await self.until(lambda viewer: viewer.over)

    @property
    def events(self) -> list[tuple[int, str, Any]]:
        """(id, name, data) of each event that came."""
        found = []
        for block in self.body.decode().split("\n\n"):
            fields = dict(line.partition(": ")[::2] for line in block.split("\n") if not line.startswith(":"))
            if "data" in fields:
                data = msgspec.json.decode(fields["data"])
                found.append((int(fields.get("id", 0)), fields.get("event", ""), data))
        return found

    @property
    def text(self) -> str:
        return "".join(data["delta"]["content"] for _, name, data in self.events if name == "chunk")

    async def _receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], dict(message["headers"])
        else:
            self.body += message["body"]
            self.over = not message.get("more_body", False)
        self._news.set()
        if message.get("more_body"):
            await self.reads.wait()


@asynccontextmanager
async def watching() -> AsyncIterator[Callable[..., Viewer]]:
    """Give what starts viewers; those that still watch leave at the end."""
    async with AsyncExitStack() as stack:

        def start(path: str, *headers: tuple[bytes, bytes], **more: Any) -> Viewer:
            viewer = Viewer(path, *headers, **more).start()
            stack.push_async_callback(viewer.leave)
            return viewer

        yield start
