"""Between the chunks of a provider and those of a run's log, both ways."""

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Any

import msgspec

from meshcore.openai_wire import IS_TEXT, Chunk, ChunkKind
from meshcore.run_events import ChunkEvent
from meshcore.run_record import CUT_CHARACTERS, cut
from meshcore.runs import RunState
from meshcore.splice import Begun

_CONTENT, _FINISH = ChunkKind.CONTENT, ChunkKind.FINISH  # looked up once, which in Python 3.11 is slow
_TEXT = attrgetter("text")
_NOTHING, _NONE = msgspec.Raw(b"{}"), msgspec.Raw(b"null")


class _Choice(msgspec.Struct):
    delta: msgspec.Raw = _NONE
    text: str | None = None
    finish_reason: str | None = None


class _Frame(msgspec.Struct):
    choices: list[_Choice] = []
    id: Any = None
    created: Any = None
    usage: dict[str, Any] | None = None


_FRAME = msgspec.json.Decoder(_Frame)
_ENCODE = msgspec.json.Encoder().encode


class Chunking:
    """Makes events of the chunks of one generation, numbered from `next_index`; what `model` serves them."""

    def __init__(self, next_index: int = 1, *, model: str = "") -> None:
        self.model = model
        self.usage: dict[str, Any] | None = None
        self._next_index = next_index

    def take(self, chunks: Iterable[Chunk]) -> list[ChunkEvent]:
        """Return the events of chunks that came together: none for those that aren't part of the answer."""
        events: list[ChunkEvent] = []
        for is_text, alike in groupby(chunks, IS_TEXT):
            several = list(alike)
            if is_text and self._next_index == 1:
                events += self._any(several.pop(0))  # its frame is that of the whole answer
            if is_text and max(map(len, map(_TEXT, several)), default=0) <= CUT_CHARACTERS:
                events += self._texts(several)
            else:
                for chunk in several:
                    events += self._any(chunk)
        return events

    def _texts(self, chunks: Sequence[Chunk]) -> Sequence[ChunkEvent]:
        """Return the events of chunks with nothing but text; their deltas are made anew, not looked for."""
        events = [
            ChunkEvent(index=index, delta=msgspec.Raw(_ENCODE({"content": chunk.text})))
            for index, chunk in enumerate(chunks, self._next_index)
        ]
        self._next_index += len(events)
        return events

    def _any(self, chunk: Chunk) -> Sequence[ChunkEvent]:
        frame = _FRAME.decode(chunk.data)
        if chunk.usage is not None:
            self.usage = frame.usage
        if not (chunk.kind is _CONTENT or chunk.kind is _FINISH) or not frame.choices:
            return ()
        choice = frame.choices[0]
        event = ChunkEvent(
            index=self._next_index,
            delta=_delta(choice),
            finish_reason=choice.finish_reason or "",
            frame=self._head(frame) if self._next_index == 1 else None,
        )
        events = cut(event)
        self._next_index += len(events)
        return events

    def whole(self, result: dict[str, Any]) -> Sequence[ChunkEvent]:
        """Return the one event of an answer that came whole."""
        delta = {name: value for name, value in result.items() if not name.startswith("_")}
        event = ChunkEvent(index=self._next_index, delta=_raw(delta), finish_reason="stop")
        self._next_index += 1
        return (event,)

    def _head(self, frame: _Frame) -> dict[str, Any]:
        said = {"id": frame.id, "created": frame.created, "model": self.model}
        return {name: value for name, value in said.items() if value is not None}


def model_of(state: RunState) -> str:
    """Return the model that the present generation began with, "" when nothing of it is known."""
    model = (state.frame or {}).get("model")
    return model if isinstance(model, str) else ""


def begun_of(state: RunState) -> Begun:
    """Return what viewers have of the present generation, as whoever goes on with it must know it."""
    begun = Begun()
    if state.next_index > 1:
        data = msgspec.json.encode(state.frame or {})
        begun.saw(Chunk(data, ChunkKind.CONTENT, state.text, beyond_text=state.beyond_text))
        begun.chunks = state.next_index - 1
    begun.finished = bool(state.finish_reason)
    return begun


def _delta(choice: _Choice) -> msgspec.Raw:
    if bytes(choice.delta) != b"null":
        return choice.delta
    return _NOTHING if choice.text is None else _raw({"content": choice.text})


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(_ENCODE(value))
