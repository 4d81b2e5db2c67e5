"""What viewers of a run are told: events of a stream, a summary, a plain OpenAI answer (runs.md, "Attach").

id: <seq>     event: chunk | epoch | end     data: <json>
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import repeat
from operator import attrgetter
from typing import Any, Literal

import msgspec

from meshcore.openai_errors import BadRequest
from meshcore.openai_wire import Operation
from meshcore.run_events import DELTA, AnyEvent, ChunkEvent, Claimed, End, RunStatus
from meshcore.run_record import Record
from meshcore.runs import RunState
from meshcore.stream_frames import ViewedEvent

HELLO = b": attached\n\n"
COMMENT = b": \n\n"
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_FINISH_REASON = attrgetter("finish_reason")
_OBJECT = {Operation.CHAT: "chat.completion", Operation.COMPLETION: "text_completion"}


class RunAsk(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody wants of a run: `what` is show, attach or cancel; `caller` "" is the mesh itself.

    `after`: the last event that is known already; None: none, and `history` says whether all are wanted.
    """

    run_id: str
    what: str
    caller: str = ""
    after: int | None = None
    history: bool = False


def news_in(record: Record, after_seq: int) -> Sequence[AnyEvent]:
    """Return what stands behind `after_seq` in a record; behind the first end nothing counts."""
    events = record.events[max(after_seq + 1 - record.first_seq, 0) :]
    kinds = list(map(type, events))
    return events[: kinds.index(End) + 1] if End in kinds else events


def viewed(seq: int, event: AnyEvent) -> ViewedEvent | None:
    """Return an event as viewers get it, None for one that isn't for them."""
    match event:
        case ChunkEvent():
            reason = event.finish_reason or None
            return _viewed(
                seq, "chunk", {"index": event.index, "delta": event.delta, "finish_reason": reason}
            )
        case Claimed():
            said = ("epoch", "reason", "node", "superseded_from")
            return _viewed(seq, "epoch", {name: getattr(event, name) for name in said})
        case End():
            said = ("status", "reason", "final_seq", "usage")
            return _viewed(seq, "end", {name: getattr(event, name) for name in said})
        case _:
            return None


def sse(event: ViewedEvent) -> bytes:
    """Return an event of a stream of server-sent events.

    Its JSON may come from another machine: a line break in it can only stand between two tokens, and here it
    would end the field.
    """
    data = bytes(event.data).replace(b"\r", b" ").replace(b"\n", b" ")
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.seq, event.event.encode(), data)


def frame(seq: int, event: AnyEvent) -> bytes:
    """Return an event as viewers who attach get it, b"" for one that isn't for them."""
    found = viewed(seq, event)
    return sse(found) if found else b""


def first_seq_wanted(ask: RunAsk, state: RunState) -> int:
    """Return behind which event a viewer begins: the one it knows, or the beginning of the generation.

    Of a run that has ended everybody gets at least the end.
    """
    after = ask.after if ask.after is not None else 0 if ask.history else state.generation_seq - 1
    if state.end is not None:
        after = min(after, state.end.final_seq - 1)
    return after


def position(last_event_id: str, starting_after: str) -> int | None:
    """Return the last event that a viewer says it has; a reconnect's header is newer than its URL.

    Raises BadRequest.
    """
    for field, text in (("Last-Event-ID", last_event_id), ("starting_after", starting_after)):
        if text:
            if not (text.isascii() and text.isdigit() and len(text) <= 18):
                raise BadRequest(field, f"expected the number of an event, got {text[:40]!r}")
            return int(text)
    return None


def summary(run_id: str, state: RunState, status: RunStatus, *, log_id: str) -> dict[str, Any]:
    """Return a run as `GET /v1/runs/{id}` shows it."""
    return {
        "id": run_id,
        "status": status,
        "reason": state.end.reason if state.end else None,
        "owner": state.owner.node if state.owner else None,
        "epoch": state.epoch,
        "takeovers": state.takeovers,
        "last_seq": state.last_seq,
        "text": state.text,
        "finish_reason": state.finish_reason or None,
        "usage": state.end.usage if state.end else None,
        "cancelled_by": state.cancelled_by,
        "capability": state.created.capability if state.created else None,
        "log_id": log_id,
        "attach": attach_path(run_id),
    }


def attach_path(run_id: str) -> str:
    """Return where a run can be watched."""
    return f"/v1/runs/{run_id}/attach"


class PlainAnswer:
    """A run's chunks as the answer to a plain call, for a client that knows nothing of runs."""

    def __init__(self, operation: Operation, *, run_id: str, model: str, created: int) -> None:
        self._operation = operation
        self._head: dict[str, Any] = {"id": run_id, "created": created, "model": model}
        self._before_delta = b""  # of a chat's pieces; "": not made yet

    def chunks(self, events: Sequence[ChunkEvent]) -> list[bytes]:
        """Return the next pieces of a streamed answer."""
        if self._operation is Operation.COMPLETION:
            return [self._text(event) for event in events]
        first = [self._first(event) for event in events[:1] if event.index == 1]
        others = events[len(first) :]
        before = repeat(self._before_delta or self._begin())
        behind = map(_after, map(_FINISH_REASON, others))
        return first + list(map(b"".join, zip(before, map(DELTA, others), behind, strict=False)))

    def _first(self, event: ChunkEvent) -> bytes:
        self._head |= event.frame or {}
        delta = msgspec.json.encode({"role": "assistant", **_FIELDS.decode(event.delta)})
        return self._begin() + delta + _after(event.finish_reason)

    def _begin(self) -> bytes:
        """Return all of a chat's piece in front of its delta, and keep it for the others."""
        piece = self._encode({"choices": [{"index": 0, "delta": None}]}, ".chunk")
        self._before_delta = piece.removesuffix(b"null}]}")
        return self._before_delta

    def _text(self, event: ChunkEvent) -> bytes:
        self._head |= event.frame or {}
        text = _FIELDS.decode(event.delta).get("content", "")
        choice: dict[str, Any] = {"index": 0, "text": text, "finish_reason": event.finish_reason or None}
        return self._encode({"choices": [choice]}, "")

    def usage(self, usage: dict[str, Any]) -> bytes:
        """Return the piece that says what the answer used."""
        fields = {"choices": [], "usage": usage}
        return self._encode(fields, ".chunk" if self._operation is Operation.CHAT else "")

    def whole(self, chunks: Iterable[ChunkEvent], usage: dict[str, Any] | None) -> bytes:
        """Return the answer in one piece."""
        message, finish_reason = {"role": "assistant", "content": None}, ""
        for event in chunks:
            self._head |= event.frame or {}
            finish_reason = event.finish_reason or finish_reason
            _merge(message, msgspec.json.decode(event.delta))
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish_reason or None}
        if self._operation is Operation.COMPLETION:
            choice["text"] = message["content"] or ""
        else:
            choice["message"] = message
        return self._encode({"choices": [choice], **({"usage": usage} if usage else {})}, "")

    def _encode(self, fields: dict[str, Any], kind: str) -> bytes:
        return msgspec.json.encode({"object": _OBJECT[self._operation] + kind, **self._head, **fields})


@lru_cache(maxsize=100)
def _after(finish_reason: str) -> bytes:
    """Return all of a chat's piece behind its delta."""
    return b',"finish_reason":%b}]}' % msgspec.json.encode(finish_reason or None)


def _merge(whole: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a delta to what came before it: texts are joined, parts of a list belong together by `index`."""
    for name, value in delta.items():
        known = whole.get(name)
        if isinstance(value, str) and isinstance(known, str) and name not in ("role", "id", "type"):
            whole[name] = known + value
        elif isinstance(value, dict) and isinstance(known, dict):
            _merge(known, value)
        elif isinstance(value, list):
            _merge_parts(whole.setdefault(name, []), value)
        elif value is not None:
            whole[name] = value


def _merge_parts(parts: list[Any], deltas: list[Any]) -> None:
    by_index = {part.get("index"): part for part in parts if isinstance(part, dict)}
    for delta in deltas:
        known = by_index.get(delta.get("index")) if isinstance(delta, dict) else None
        if known is None:
            parts.append(delta)
        else:
            _merge(known, delta)


def _viewed(seq: int, name: Literal["chunk", "epoch", "end"], data: dict[str, Any]) -> ViewedEvent:
    return ViewedEvent(seq=seq, event=name, data=msgspec.Raw(msgspec.json.encode(data)))
