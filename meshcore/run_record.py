"""Records of a run's log: what one append stores, all of it or nothing (runs.md, "The primitive").

    [format, append_id, first_seq, events]      JSON, at most 256 KiB

`append_id` is drawn once for what is to be appended and stays when it is tried again: so a writer finds its
own record, and a lost acknowledgement is told from a lost race.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count
from typing import NamedTuple

import msgspec

from meshcore.errors import FrameError
from meshcore.run_events import AnyEvent, ChunkEvent, End, text_in

FORMAT = 1
RECORD_MAX_BYTES = 256 << 10
ENVELOPE_MAX_BYTES = 256  # format, id, number and brackets of a record
EVENTS_MAX_BYTES = RECORD_MAX_BYTES - ENVELOPE_MAX_BYTES
CUT_CHARACTERS = (
    EVENTS_MAX_BYTES // 16
)  # of the content of one chunk; a character takes at most 12 bytes of JSON
APPEND_ID_BYTES = 12  # that are drawn; a number is behind them


class TooLarge(FrameError):
    """An event that can't be cut doesn't fit a record."""


class Record(msgspec.Struct, frozen=True, array_like=True):
    """One append; its events have the numbers from `first_seq` on."""

    format: int
    append_id: str
    first_seq: int
    events: tuple[AnyEvent, ...]

    @property
    def last_seq(self) -> int:
        """The number of its last event."""
        return self.first_seq + len(self.events) - 1


class Head(NamedTuple):
    """The end of a log: the number of its last event (0: empty) and the engine's own word for that place."""

    seq: int
    token: int = 0


EMPTY = Head(0)
_DECODER = msgspec.json.Decoder(Record)
_PLAIN = {ChunkEvent}
_ENCODER = msgspec.json.Encoder()


def append_ids(token: Callable[[int], str]) -> Iterator[str]:
    """Yield a new id for each append: what `token` draws once, of so many bytes, and a number."""
    drawn = token(APPEND_ID_BYTES)
    for number in count(1):
        yield f"{drawn}{number:08x}"


def encode(record: Record) -> bytes:
    """Return the bytes of a record. Raises TooLarge, and ValueError for one without events."""
    if not record.events:
        raise ValueError("a record without events")
    data = _ENCODER.encode(record)
    if len(data) > RECORD_MAX_BYTES:
        raise TooLarge(f"record: {len(data)} bytes, expected at most {RECORD_MAX_BYTES}")
    return data


def decode(data: bytes) -> Record:
    """Return the record in `data`. Raises FrameError; a newer format is one, for it may mean anything."""
    try:
        record = _DECODER.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameError(f"record: {_format_of(data) or exc}") from exc
    if record.format != FORMAT:
        raise FrameError(f"record: {_format_of(data)}")
    if not record.events or record.first_seq < 1:
        raise FrameError(f"record: {len(record.events)} events from {record.first_seq}, expected some from 1")
    return record


def is_plain(record: Record) -> bool:
    """Return whether a record has nothing but chunks, as nearly all have."""
    return set(map(type, record.events)) == _PLAIN


def end_alone(record: Record) -> Record:
    """Return what stays of the last record of an ended run: its end, and nothing of the answer."""
    ends = [
        (seq, event) for seq, event in enumerate(record.events, record.first_seq) if isinstance(event, End)
    ]
    if not ends:
        return record
    seq, end = ends[0]
    return Record(record.format, record.append_id, seq, (end,))


def _format_of(data: bytes) -> str:
    """Return what is wrong with the format of a record, "" when it is none or ours."""
    try:
        parts = msgspec.json.decode(data, type=list[msgspec.Raw])
        found = msgspec.json.decode(parts[0], type=int)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, IndexError):
        return ""
    return "" if found == FORMAT else f"format {found}, expected {FORMAT}"


def batches(events: Iterable[AnyEvent]) -> Iterator[tuple[AnyEvent, ...]]:
    """Yield events in batches that fit a record each. Raises TooLarge for one that no record holds."""
    events = tuple(events)
    if events and len(_ENCODER.encode(events)) <= EVENTS_MAX_BYTES:
        yield events  # nearly always
        return
    batch: list[AnyEvent] = []
    size = 0
    for event in events:
        length = len(msgspec.json.encode(event)) + 1
        if length > EVENTS_MAX_BYTES:
            raise TooLarge(f"event: {length} bytes, expected at most {EVENTS_MAX_BYTES}")
        if batch and size + length > EVENTS_MAX_BYTES:
            yield tuple(batch)
            batch, size = [], 0
        batch.append(event)
        size += length
    if batch:
        yield tuple(batch)


def cut(chunk: ChunkEvent, *, max_characters: int = CUT_CHARACTERS) -> Sequence[ChunkEvent]:
    """Return a chunk as one or several whose content is at most `max_characters` each.

    What else a delta has goes with the first piece, the finish_reason with the last.
    """
    if (
        memoryview(chunk.delta).nbytes <= max_characters
        or len(text := text_in(chunk.delta)) <= max_characters
    ):
        return [chunk]
    fields = msgspec.json.decode(chunk.delta)
    pieces = [text[at : at + max_characters] for at in range(0, len(text), max_characters)]
    deltas = [{**fields, "content": pieces[0]}, *({"content": piece} for piece in pieces[1:])]
    last = len(pieces) - 1
    return [
        ChunkEvent(
            index=chunk.index + at,
            delta=msgspec.Raw(msgspec.json.encode(delta)),
            finish_reason=chunk.finish_reason if at == last else "",
            frame=chunk.frame if at == 0 else None,
        )
        for at, delta in enumerate(deltas)
    ]
