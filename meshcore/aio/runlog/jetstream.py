"""A log in NATS JetStream, one for a whole mesh: replicated, when its servers are (runs.md, engines).

    <PREFIX>_RUNS    <prefix>.run.<id>     the records; the last sequence of the subject is the compare
    <PREFIX>_STATE   <prefix>.open.<id>    hints: runs that may not have ended
                     <prefix>.ended.<id>   where the end of an ended run stands, for its retention
                     <prefix>.beat.<instance>, <prefix>.log_id

The sequence that is compared is the stream's and not ours: it is the token of a head. Reads go to the
stream's leader, for a copy may lag behind. Nothing is buffered while there is no connection: what can't be
sent fails.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Awaitable, Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar

import msgspec
import nats
import nats.errors
import nats.js.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import api

from meshcore.aio.runlog.base import END_KEPT, READ_RECORDS, RETENTION, Conflict, EngineGone, OpenRun, Stored
from meshcore.aio.runlog.hub import Feed, Hub, Tail
from meshcore.aio.runlog.jetstream_url import Place
from meshcore.errors import FrameError
from meshcore.liveness import Beat
from meshcore.run_record import Head, Record, decode, encode, is_plain
from meshcore.runs import Claimed, Created, End

T = TypeVar("T")

ACK_SECONDS = 1.0  # for the answer to one request; half of what a node waits for its engine
CONNECT_SECONDS = 1.0
LOG_ID_BYTES = 16
PLACES_MAX = (
    10_000  # runs whose place in the stream is remembered; of others it is looked for from the beginning
)
TRIM_RUNS = 100  # at once, some 0.1 s
REPLICAS_FROM = (2, 10, 25)  # of earlier servers several concurrent appends could win at once (measured)
CONFLICTS = frozenset({10071, 10164})  # wrong last sequence, said by two parts of the server
EXPECTED = api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value


class JetStreamLog:
    """See the module; made by `open`, closed by `close`, and of one event loop."""

    keeps_records = True

    def __init__(self, connection: Client, place: Place) -> None:
        self.log_id = ""
        self._connection = connection
        self._js = connection.jetstream(timeout=ACK_SECONDS)
        self._place = place
        self._hub = Hub()
        self._seen: dict[
            str, tuple[int, int]
        ] = {}  # run -> (our seq, the stream's) of a record that was read

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect, and make the streams where they aren't there. Raises ConfigError, EngineGone."""
        place = Place.parse(url)
        await _reachable(place)
        try:
            connection = await nats.connect(
                place.server,
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=0.2,
                connect_timeout=CONNECT_SECONDS,
                pending_size=0,
                error_cb=_say_nothing,
            )
        except (nats.errors.Error, OSError, TimeoutError) as exc:
            raise EngineGone(f"{place.server}: {exc}") from exc
        log = cls(connection, place)
        try:
            await _asked(log._set_up())
        except BaseException:
            await connection.close()
            raise
        return log

    async def append(self, run_id: str, head: Head, record: Record) -> Head:
        """Store a record behind `head`."""
        data = encode(record)
        for event in record.events:
            if isinstance(event, Created | Claimed):
                owner = event.instance if isinstance(event, Claimed) else ""
                await self._put("open", run_id, owner.encode())
        headers = {EXPECTED: str(head.token)}
        subject = self._place.subject("run", run_id)
        acknowledged = await _asked(self._js.publish(subject, data, timeout=ACK_SECONDS, headers=headers))
        new = Head(record.last_seq, acknowledged.seq)
        self._remember(run_id, new)
        if any(isinstance(event, End) for event in record.events):
            await self._note_end(run_id, new)
        return new

    async def read(self, run_id: str, after_seq: int = 0, *, limit: int = READ_RECORDS) -> Sequence[Stored]:
        """Return the next records."""
        our_seq, at = self._seen.get(run_id, (0, 0))
        if our_seq > after_seq:
            at = 0
        found: list[Stored] = []
        while len(found) < limit and (message := await self._next(run_id, at + 1)) is not None:
            at = message.seq or 0
            record = decode(message.data or b"")
            if record.last_seq > after_seq:
                found.append((record, Head(record.last_seq, at)))
        if found:
            self._remember(run_id, found[-1][1])
        return found

    def tail(self, run_id: str, after_seq: int = 0, *, is_new: bool = False) -> Tail:
        """Return a reader of what stands there and then of what comes."""
        return Tail(self._hub, run_id, after_seq, self.read, is_new=is_new)

    def feed(self) -> Feed:
        """Return a reader of what all runs have beside chunks, from now on."""
        return Feed(self._hub)

    async def open_runs(self) -> Sequence[OpenRun]:
        """Return the runs that may not have ended; whose they are their logs say."""
        return [OpenRun(run_id) for run_id in await self._names("open")]

    async def beat(self, beat: Beat) -> None:
        """Store a sign of life."""
        await self._put("beat", beat.instance, msgspec.json.encode(beat))

    async def beats(self) -> Sequence[Beat]:
        """Return the last signs of life."""
        found = [await self._last("beat", instance) for instance in await self._names("beat")]
        return [msgspec.json.decode(message.data or b"", type=Beat) for message in found if message]

    async def remove_beat(self, node: str, instance: str) -> None:
        """Forget an instance."""
        await self._drop("beat", instance)

    async def trim(self, now: datetime) -> int:
        """Forget what is past its retention."""
        touched = 0
        for run_id in (await self._names("ended"))[:TRIM_RUNS]:
            message = await self._last("ended", run_id)
            if message is not None:
                touched += await self._trim_one(run_id, message, now)
        return touched

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.close()

    async def _set_up(self) -> None:
        self._check_version()
        await self._make(self._place.runs, [self._place.subject("run", "*")])
        state = [self._place.subject(kind, "*") for kind in ("open", "ended", "beat")]
        await self._make(self._place.state, [*state, self._place.subject("log_id")], max_msgs_per_subject=1)
        self.log_id = await self._shared_id()
        every = self._place.subject("run", "*")
        newest = api.DeliverPolicy.NEW
        await self._js.subscribe(every, cb=self._on_record, ordered_consumer=True, deliver_policy=newest)

    def _check_version(self) -> None:
        version = self._connection.connected_server_version
        found = (version.major, version.minor, version.patch)
        if self._place.replicas > 1 and found < REPLICAS_FROM:
            least, has = (".".join(map(str, each)) for each in (REPLICAS_FROM, found))
            raise EngineGone(f"replicas={self._place.replicas}: expected servers from {least}, found {has}")

    async def _make(self, name: str, subjects: list[str], **settings: Any) -> None:
        config = api.StreamConfig(
            name=name,
            subjects=subjects,
            storage=api.StorageType.FILE,
            discard=api.DiscardPolicy.NEW if not settings else api.DiscardPolicy.OLD,
            num_replicas=self._place.replicas,
            allow_direct=False,
            **settings,
        )
        try:
            await self._js.stream_info(name)
        except nats.js.errors.NotFoundError:
            with contextlib.suppress(nats.js.errors.BadRequestError):  # another node was faster
                await self._js.add_stream(config)

    async def _shared_id(self) -> str:
        subject = self._place.subject("log_id")
        fresh = secrets.token_hex(LOG_ID_BYTES).encode()
        with contextlib.suppress(Conflict):  # somebody gave it one before
            await _asked(self._js.publish(subject, fresh, timeout=ACK_SECONDS, headers={EXPECTED: "0"}))
        message = await self._js.get_last_msg(self._place.state, subject)
        return (message.data or b"").decode()

    async def _on_record(self, message: Msg) -> None:
        run_id = message.subject.rpartition(".")[2]
        with contextlib.suppress(FrameError):  # of a newer version; its readers find out by themselves
            record = decode(message.data)
            self._hub.tell(run_id, record, is_plain=is_plain(record))

    async def _next(self, run_id: str, at: int) -> api.RawStreamMsg | None:
        subject = self._place.subject("run", run_id)
        return await _found(self._js.get_msg(self._place.runs, seq=at, subject=subject, next=True))

    async def _last(self, kind: str, name: str) -> api.RawStreamMsg | None:
        return await _found(self._js.get_last_msg(self._place.state, self._place.subject(kind, name)))

    async def _put(self, kind: str, name: str, data: bytes) -> None:
        await _asked(self._js.publish(self._place.subject(kind, name), data, timeout=ACK_SECONDS))

    async def _drop(self, kind: str, name: str) -> None:
        await _asked(self._js.purge_stream(self._place.state, subject=self._place.subject(kind, name)))

    async def _names(self, kind: str) -> list[str]:
        subject = self._place.subject(kind, "*")
        info = await _asked(self._js.stream_info(self._place.state, subjects_filter=subject))
        subjects: Mapping[str, int] = info.state.subjects or {}
        return [each.rpartition(".")[2] for each in subjects]

    async def _note_end(self, run_id: str, head: Head) -> None:
        """Hints: an end whose note gets lost is found by whoever looks at the run because it seems open."""
        with contextlib.suppress(EngineGone):
            await self._put("ended", run_id, str(head.token).encode())
            await self._drop("open", run_id)

    async def _trim_one(self, run_id: str, ended: api.RawStreamMsg, now: datetime) -> int:
        subject, at = self._place.subject("run", run_id), int(ended.data or b"0")
        message = await _found(self._js.get_msg(self._place.runs, seq=at))
        ended_at = None if message is None else message.time
        if ended_at is None or now - ended_at >= END_KEPT:
            await _asked(self._js.purge_stream(self._place.runs, subject=subject))
            await self._drop("ended", run_id)
            self._seen.pop(run_id, None)
            return 1
        first = await self._next(run_id, 1)
        if now - ended_at < RETENTION or first is None or first.seq == at:
            return 0
        await _asked(self._js.purge_stream(self._place.runs, seq=at, subject=subject))
        self._seen.pop(run_id, None)
        return 1

    def _remember(self, run_id: str, head: Head) -> None:
        self._seen.pop(run_id, None)
        self._seen[run_id] = head.seq, head.token
        if len(self._seen) > PLACES_MAX:
            del self._seen[next(iter(self._seen))]


async def _reachable(place: Place) -> None:
    """The client waits 2 s behind a connection that was refused; this says so at once."""
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            _, writer = await asyncio.open_connection(place.host, place.port)
    except (OSError, TimeoutError) as exc:
        raise EngineGone(f"{place.server}: {exc or 'no answer'}") from exc
    writer.close()


async def _asked(answer: Awaitable[T]) -> T:
    """Return what the server answers; raises Conflict and EngineGone for what it says instead."""
    try:
        return await answer
    except nats.js.errors.APIError as exc:
        if exc.err_code in CONFLICTS:
            raise Conflict(str(exc.description)) from exc
        raise EngineGone(f"JetStream: {exc.description} ({exc.err_code})") from exc
    except (nats.errors.Error, OSError, TimeoutError) as exc:
        raise EngineGone(f"NATS: {exc or type(exc).__name__}") from exc


async def _found(answer: Awaitable[T]) -> T | None:
    """Return a message, None when there is none."""

    async def ask() -> T | None:
        try:
            return await answer
        except nats.js.errors.NotFoundError:
            return None

    return await _asked(ask())


async def _say_nothing(_: Exception) -> None:
    """What goes wrong is said by the request that it concerns."""
