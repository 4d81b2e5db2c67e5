"""A log in NATS JetStream, one for a whole mesh: replicated, when its servers are (runs.md, engines).

    <PREFIX>_RUNS    <prefix>.run.<id>     the records; the last sequence of the subject is the compare
    <PREFIX>_STATE   <prefix>.open.<id>    hints: runs that may not have ended
                     <prefix>.ended.<id>   where the end of an ended run stands, for its retention
                     <prefix>.beat.<instance>, <prefix>.log_id

The sequence that is compared is the stream's and not ours: it is the token of a head. Reads go to the
stream's leader, for a copy may lag behind.
"""

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Self

import msgspec
import nats.js.errors
from nats.aio.msg import Msg
from nats.js import api

from meshcore.aio.runlog.base import END_KEPT, READ_RECORDS, RETENTION, Conflict, EngineGone, OpenRun, Stored
from meshcore.aio.runlog.hub import Feed, Hub, Tail
from meshcore.aio.runlog.jetstream_link import ACK_SECONDS, Link, asked_of, found_by
from meshcore.aio.runlog.jetstream_url import Place
from meshcore.errors import FrameError
from meshcore.liveness import Beat
from meshcore.run_events import Claimed, Created, End
from meshcore.run_record import Head, Record, decode, encode, is_plain

LOG_ID_BYTES = 16
PLACES_MAX = (
    10_000  # runs whose place in the stream is remembered; of others it is looked for from the beginning
)
TRIM_RUNS = 100  # at once, some 0.1 s
REPLICAS_FROM = (2, 10, 25)  # of earlier servers several concurrent appends could win at once (measured)
EXPECTED = api.Header.EXPECTED_LAST_SUBJECT_SEQUENCE.value


class JetStreamLog:
    """See the module; made by `open`, closed by `close`, and of one event loop."""

    keeps_records = True

    def __init__(self, place: Place) -> None:
        self.log_id = ""
        self._place = place
        self._hub = Hub()
        self._link = Link(place, on_record=self._on_record, on_lost=self._hub.lose)
        self._seen: dict[
            str, tuple[int, int]
        ] = {}  # run -> (our seq, the stream's) of a record that was read
        self._trimmed_to = 0  # the sequence of a note that a run ended: all before it were trimmed

    @classmethod
    async def open(cls, url: str) -> Self:
        """Connect, and make the streams where they aren't there. Raises ConfigError, EngineGone."""
        log = cls(Place.parse(url))
        await log._link.connect()
        try:
            await asked_of(log._set_up())
        except BaseException:
            await log._link.close()
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
        acknowledged = await asked_of(
            self._link.js.publish(subject, data, timeout=ACK_SECONDS, headers=headers)
        )
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

    async def amend(self, run_id: str, end: Head | None) -> None:
        """Correct the hint that a run is open."""
        if end is not None:
            await self._put("ended", run_id, str(end.token).encode())
        await self._drop("open", run_id)

    async def trim(self, now: datetime) -> int:
        """Forget what is past its retention, those first that ended first."""
        touched = 0
        while touched < TRIM_RUNS and (note := await self._note_behind(0)) and _is_over(note, now, END_KEPT):
            await self._forget(_name_in(note))
            touched += 1
        while touched < TRIM_RUNS and (note := await self._note_behind(self._trimmed_to)):
            if not _is_over(note, now, RETENTION):
                break
            touched += await self._cut(_name_in(note), note)
            self._trimmed_to = note.seq or 0
        return touched

    async def close(self) -> None:
        """Close the connection."""
        await self._link.close()

    async def _set_up(self) -> None:
        self._check_version()
        await self._make(self._place.runs, [self._place.subject("run", "*")])
        state = [self._place.subject(kind, "*") for kind in ("open", "ended", "beat")]
        await self._make(self._place.state, [*state, self._place.subject("log_id")], max_msgs_per_subject=1)
        self.log_id = await self._shared_id()
        await self._link.listen()

    def _check_version(self) -> None:
        found = self._link.version
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
            await self._link.js.stream_info(name)
        except nats.js.errors.NotFoundError:
            with contextlib.suppress(nats.js.errors.BadRequestError):  # another node was faster
                await self._link.js.add_stream(config)

    async def _shared_id(self) -> str:
        subject = self._place.subject("log_id")
        fresh = secrets.token_hex(LOG_ID_BYTES).encode()
        with contextlib.suppress(Conflict):  # somebody gave it one before
            await asked_of(
                self._link.js.publish(subject, fresh, timeout=ACK_SECONDS, headers={EXPECTED: "0"})
            )
        message = await self._link.js.get_last_msg(self._place.state, subject)
        return (message.data or b"").decode()

    async def _on_record(self, message: Msg) -> None:
        run_id = message.subject.rpartition(".")[2]
        with contextlib.suppress(FrameError):  # of a newer version; its readers find out by themselves
            record = decode(message.data)
            self._hub.tell(run_id, record, is_plain=is_plain(record))

    async def _next(self, run_id: str, at: int) -> api.RawStreamMsg | None:
        subject = self._place.subject("run", run_id)
        return await found_by(self._link.js.get_msg(self._place.runs, seq=at, subject=subject, next=True))

    async def _last(self, kind: str, name: str) -> api.RawStreamMsg | None:
        return await found_by(self._link.js.get_last_msg(self._place.state, self._place.subject(kind, name)))

    async def _put(self, kind: str, name: str, data: bytes) -> None:
        await asked_of(self._link.js.publish(self._place.subject(kind, name), data, timeout=ACK_SECONDS))

    async def _drop(self, kind: str, name: str) -> None:
        await asked_of(self._link.js.purge_stream(self._place.state, subject=self._place.subject(kind, name)))

    async def _names(self, kind: str) -> list[str]:
        subject = self._place.subject(kind, "*")
        info = await asked_of(self._link.js.stream_info(self._place.state, subjects_filter=subject))
        subjects: Mapping[str, int] = info.state.subjects or {}
        return [each.rpartition(".")[2] for each in subjects]

    async def _note_end(self, run_id: str, head: Head) -> None:
        """Hints: an end whose note gets lost is found by whoever looks at the run because it seems open."""
        with contextlib.suppress(EngineGone):
            await self.amend(run_id, head)

    async def _note_behind(self, at: int) -> api.RawStreamMsg | None:
        """Return the next note that a run ended; its time is that of the end, or a little later."""
        subject = self._place.subject("ended", "*")
        return await found_by(
            self._link.js.get_msg(self._place.state, seq=at + 1, subject=subject, next=True)
        )

    async def _forget(self, run_id: str) -> None:
        subject = self._place.subject("run", run_id)
        await asked_of(self._link.js.purge_stream(self._place.runs, subject=subject))
        await self._drop("ended", run_id)
        self._seen.pop(run_id, None)

    async def _cut(self, run_id: str, note: api.RawStreamMsg) -> int:
        """Leave the end alone of a run; return 0 when no more was there."""
        at, first = int(note.data or b"0"), await self._next(run_id, 1)
        if first is None or (first.seq or 0) >= at:
            return 0
        subject = self._place.subject("run", run_id)
        await asked_of(self._link.js.purge_stream(self._place.runs, seq=at, subject=subject))
        self._seen.pop(run_id, None)
        return 1

    def _remember(self, run_id: str, head: Head) -> None:
        self._seen.pop(run_id, None)
        self._seen[run_id] = head.seq, head.token
        if len(self._seen) > PLACES_MAX:
            del self._seen[next(iter(self._seen))]


def _is_over(note: api.RawStreamMsg, now: datetime, kept: timedelta) -> bool:
    return note.time is not None and now - note.time >= kept


def _name_in(note: api.RawStreamMsg) -> str:
    return (note.subject or "").rpartition(".")[2]
