"""Server-sent events as bytes: encode one, decode many, however the network cut them.

The rules are those of the HTML standard, "Parsing an event stream": a line ends with CRLF, LF or CR; a line
that begins with a colon is a comment; data lines of one event are joined by LF; an empty line ends the event.
One thing is kinder than the standard: `close` still gives out an event whose empty line never came, because
servers exist that end with `data: [DONE]` and hang up.
"""

from collections.abc import Sequence

import msgspec

from meshcore.errors import FrameError

EVENT_MAX_BYTES = 1 << 20  # a chat chunk has about 300 bytes, one with tool arguments a few thousand
_BOM = b"\xef\xbb\xbf"


class SseEvent(msgspec.Struct, frozen=True, gc=False):
    """One event: its data exactly as received, and its name, "" when the stream gave none."""

    data: bytes
    name: str = ""


class EventDecoder:
    """Turns bytes into events. Feed it what the network gives; it never looks at a byte twice."""

    def __init__(self, *, max_bytes: int = EVENT_MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._tail = bytearray()  # an unfinished line
        self._data: list[bytes] = []  # the data lines of the unfinished event
        self._pending_bytes = 0  # of those data lines
        self._name = ""
        self._after_cr = False  # the last line ended with CR: an LF that follows belongs to it
        self._at_start = True

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take the next bytes and return the events that they finish.

        Raises FrameError when an event exceeds the bound; the decoder is of no use afterwards.
        """
        if (plain := self.feed_plain(data)) is not None:
            return [SseEvent(each) for each in plain]
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        events: list[SseEvent] = []
        for line in data.splitlines(keepends=True):
            self._take(line, events)
        return events

    def feed_plain(self, data: bytes) -> list[bytes] | None:
        """Take the next bytes if they are whole events of one line of data each, and return the data of each.

        Nearly all are: a server that streams tokens sends nothing else. None, and nothing was taken, for any
        other bytes.
        """
        if self._tail or self._data or self._name or self._after_cr or len(data) > self._max_bytes:
            return None
        if not data.startswith(b"data: ") or not data.endswith(b"\n\n") or b"\r" in data:
            return None
        found = data[6:-2].split(b"\n\ndata: ")
        if data.count(b"\n") != 2 * len(found) or b"" in found:
            return None
        self._at_start = False
        return found

    def close(self) -> list[SseEvent]:
        """Take the end of the bytes and return what was unfinished, as at most one event."""
        events: list[SseEvent] = []
        if self._tail:
            self._take(b"\n", events)
        self._dispatch(events)
        return events

    def _take(self, piece: bytes, events: list[SseEvent]) -> None:
        line = piece.rstrip(b"\r\n")
        if self._pending_bytes + len(self._tail) + len(line) > self._max_bytes:
            raise FrameError(f"event: expected at most {self._max_bytes} bytes")
        self._after_cr = piece.endswith(b"\r")
        if len(line) == len(piece):
            self._tail += line
            return
        if self._tail:
            line = bytes(self._tail) + line
            self._tail.clear()
        if self._at_start:
            line = line.removeprefix(_BOM)
            self._at_start = False
        if line:
            self._field(line)
        else:
            self._dispatch(events)

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._pending_bytes += len(value) + 1
        elif name == b"event":
            self._name = value.decode("utf-8", "replace")
        # A comment has an empty name, id and retry are for browsers, and unknown fields are to be ignored.

    def _dispatch(self, events: list[SseEvent]) -> None:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        if data:
            events.append(SseEvent(data, self._name))
        self._data.clear()
        self._pending_bytes = 0
        self._name = ""


class SseDecoder:
    """The same for streams whose events have no names: gives the data of each."""

    def __init__(self, *, max_bytes: int = EVENT_MAX_BYTES) -> None:
        self._events = EventDecoder(max_bytes=max_bytes)

    def feed(self, data: bytes) -> list[bytes]:
        """Take the next bytes and return the data of each event that they finish; FrameError at the bound."""
        plain = self._events.feed_plain(data)
        return [event.data for event in self._events.feed(data)] if plain is None else plain

    def close(self) -> list[bytes]:
        """Take the end of the bytes and return the data of the event that was unfinished, if any."""
        return [event.data for event in self._events.close()]


def encode(data: bytes, name: str = "") -> bytes:
    """Return one event; data of several lines becomes several data lines, which a decoder joins again."""
    head = b"event: " + name.encode() + b"\n" if name else b""
    if b"\n" in data or b"\r" in data:
        data = b"\ndata: ".join(data.splitlines())
    return head + b"data: " + data + b"\n\n"


def encode_all(datas: Sequence[bytes]) -> bytes:
    """Return events without names, one behind the other."""
    events = b"data: " + b"\n\ndata: ".join(datas) + b"\n\n"
    if b"\r" in events or events.count(b"\n") != 2 * len(datas):
        return b"".join(map(encode, datas))
    return events
