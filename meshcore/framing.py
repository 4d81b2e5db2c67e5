"""Messages to frames and back (link-and-telemetry, "Frames").

A message is JSON text, one object a line; its `type` is the frame's name. Unknown types are ignored, so that
an older side understands a newer one; a malformed line is skipped and counted, so that one bad line costs
nothing but itself.
"""

from typing import Any, Generic, TypeVar

import msgspec

from meshcore.errors import FrameError
from meshcore.frames import (
    FRAME_MAX_BYTES,
    MESSAGE_MAX_BYTES,
    Frame,
    FromDashboard,
    FromNode,
    Item,
    PushedTelemetry,
)

F = TypeVar("F", bound=Frame)

# Beside its own errors the decoder raises RecursionError for what is nested deeper than the interpreter's
# stack.
_UNREADABLE = (msgspec.DecodeError, RecursionError, UnicodeDecodeError)


class _Named(msgspec.Struct):
    """Of a frame only its name."""

    type: str


class _Numbered(msgspec.Struct):
    """Of an item only its number."""

    seq: int = 0


class FrameReader(Generic[F]):
    """Reads the messages of one direction of one connection.

    `malformed` counts the lines that were skipped, `last_error` says why the last of them was.
    """

    def __init__(self, frames: Any) -> None:
        self._decoder: msgspec.json.Decoder[F] = msgspec.json.Decoder(frames)
        self._names = frozenset(kind.__struct_config__.tag for kind in frames.__args__)
        self.malformed = 0
        self.last_error = ""

    def read(self, message: str | bytes) -> list[F]:
        """Return the frames of a message, in order.

        Raises FrameError when the message is beyond its bound.
        """
        data = message.encode("utf-8", "replace") if isinstance(message, str) else message
        if len(data) > MESSAGE_MAX_BYTES:
            raise FrameError(f"message of {len(data)} bytes: expected at most {MESSAGE_MAX_BYTES}")
        lines = (line for line in data.split(b"\n") if line.strip())
        return [frame for frame in map(self._read_line, lines) if frame is not None]

    def _read_line(self, line: bytes) -> F | None:
        if len(line) > FRAME_MAX_BYTES:
            self._skip(f"frame of {len(line)} bytes: expected at most {FRAME_MAX_BYTES}")
            return None
        try:
            return self._decoder.decode(line)
        except _UNREADABLE as exc:
            if not self._is_of_another_time(line):
                self._skip(_sentence(exc))
            return None

    def _is_of_another_time(self, line: bytes) -> bool:
        try:
            return _NAMED.decode(line).type not in self._names
        except _UNREADABLE:
            return False

    def _skip(self, error: str) -> None:
        self.malformed += 1
        self.last_error = error


_NAMED = msgspec.json.Decoder(_Named)
_NUMBERED = msgspec.json.Decoder(_Numbered)
_ITEM: msgspec.json.Decoder[Item] = msgspec.json.Decoder(Item)
_PUSHED = msgspec.json.Decoder(PushedTelemetry)
_ENCODER = msgspec.json.Encoder()


def reader_from_node() -> FrameReader[Any]:
    """Return a reader of what nodes say."""
    return FrameReader(FromNode)


def reader_from_dashboard() -> FrameReader[Any]:
    """Return a reader of what the dashboard says."""
    return FrameReader(FromDashboard)


def encode(frame: Frame) -> bytes:
    """Return the line of a frame, without a line end; raises FrameError when it is beyond its bound."""
    line = _ENCODER.encode(frame)
    if len(line) > FRAME_MAX_BYTES:
        raise FrameError(f"frame of {len(line)} bytes: expected at most {FRAME_MAX_BYTES}")
    return line


def encode_item(item: Item) -> bytes:
    """Return an item as it stands in `Telemetry.items`."""
    return _ENCODER.encode(item)


def decode_item(raw: msgspec.Raw | bytes) -> Item:
    """Return the item; raises FrameError that names the field."""
    try:
        return _ITEM.decode(raw)
    except _UNREADABLE as exc:
        raise FrameError(_sentence(exc)) from exc


def decode_pushed(body: bytes) -> PushedTelemetry:
    """Return the telemetry of an HTTP body; raises FrameError that names the field."""
    try:
        pushed = _PUSHED.decode(body)
    except _UNREADABLE as exc:
        raise FrameError(_sentence(exc)) from exc
    if pushed.to <= pushed.after:
        raise FrameError(f"to={pushed.to}: expected above after={pushed.after}")
    return pushed


def number_of(raw: msgspec.Raw | bytes) -> int:
    """Return the number of an item that may be unreadable otherwise, 0 when even that can't be read."""
    try:
        return _NUMBERED.decode(raw).seq
    except _UNREADABLE:
        return 0


def _sentence(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    return str(error)
