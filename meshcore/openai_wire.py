"""The OpenAI wire format: what a request must have, what a chunk is, what an answer used.

Requests are checked only where routing depends on them; every other field, known or not, is the upstream's
business and passes untouched. Chunks are classified without changing a byte of them.
"""

import enum
from operator import attrgetter
from typing import Any

import msgspec

from meshcore.errors import CallError, Code, FrameError
from meshcore.openai_errors import BadRequest, error_message
from meshcore.sse import encode

MODEL_MAX_CHARS = 256  # longest public model name in use has about 100
DONE = b"[DONE]"
DONE_EVENT = encode(DONE)
_MALFORMED = (
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
)  # what msgspec raises for bytes of strangers


class Operation(enum.StrEnum):
    """What a client may ask for; the value is the capability that serves it."""

    CHAT = "llm.chat"
    COMPLETION = "llm.completion"
    EMBEDDING = "llm.embedding"


INPUT_FIELD: dict[Operation, str] = {
    Operation.CHAT: "messages",
    Operation.COMPLETION: "prompt",
    Operation.EMBEDDING: "input",
}
"""The field that carries what is asked; a bus body has it under `input`."""

UPSTREAM_PATH: dict[Operation, str] = {
    Operation.CHAT: "/chat/completions",
    Operation.COMPLETION: "/completions",
    Operation.EMBEDDING: "/embeddings",
}
"""Where an operation is served, below the base URL."""


class Request(msgspec.Struct, frozen=True):
    """A checked request: `body` is the client's whole object, `raw` its bytes, which travel on."""

    operation: Operation
    body: dict[str, Any]
    model: str
    stream: bool
    raw: bytes

    def as_bus_body(self, model: str, provider: str = "") -> dict[str, Any]:
        """Return the body of a bus call for `model`, pinned to `provider` when one is given."""
        params = {"model": model, "provider": provider} if provider else {"model": model}
        field = INPUT_FIELD[self.operation]
        return {"params": params, "input": {field: self.body[field]}, "openai": msgspec.Raw(self.raw)}


def parse_request(operation: Operation, raw: bytes) -> Request:
    """Return the request in `raw`; raises BadRequest naming field, value and what is expected."""
    body = parse_object(raw)
    model = body.get("model")
    if not isinstance(model, str) or not 0 < len(model) <= MODEL_MAX_CHARS:
        raise _wrong("model", model, f"a name of 1 to {MODEL_MAX_CHARS} characters")
    _check_input(operation, body)
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise _wrong("stream", stream, "true or false")
    if stream and operation is Operation.EMBEDDING:
        raise _wrong("stream", stream, "no stream: embeddings come whole")
    options = body.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise _wrong("stream_options", options, "an object")
    return Request(operation, body, model, bool(stream), raw)


def parse_object(raw: bytes) -> dict[str, Any]:
    """Return the JSON object in `raw`; raises BadRequest when it is none."""
    try:
        body = msgspec.json.decode(raw)
    except _MALFORMED as exc:
        raise BadRequest("body", f"expected JSON: {exc}") from exc
    if not isinstance(body, dict):
        raise _wrong("body", body, "a JSON object")
    return body


def _check_input(operation: Operation, body: dict[str, Any]) -> None:
    field = INPUT_FIELD[operation]
    value = body.get(field)
    if operation is Operation.CHAT:
        _check_messages(value)
    elif not isinstance(value, str | list) or not value:
        raise _wrong(field, value, "a text or a list that is not empty")


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", messages, "a list that is not empty")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise _wrong(f"messages[{index}]", message, "an object")
        role = message.get("role")
        if not isinstance(role, str) or not role:
            raise _wrong(f"messages[{index}].role", role, "a text such as 'user'")
        content = message.get("content")
        if content is not None and not isinstance(content, str | list):
            raise _wrong(f"messages[{index}].content", content, "a text, a list of parts or null")


def _wrong(field: str, value: object, expected: str) -> BadRequest:
    shown = "nothing" if value is None else repr(value)
    if len(shown) > 60:  # enough to recognise the value; the rest may be a whole prompt
        shown = f"{shown[:57]}..."
    return BadRequest(field, f"expected {expected}, got {shown}")


def last_user_text(messages: list[Any]) -> str:
    """Return the text of the last message that has role user, "" when there is none."""
    for message in reversed(messages):
        if isinstance(message, dict) and message.get("role") == "user":
            return text_of(message.get("content"))
    return ""


def text_of(content: object) -> str:
    """Return the text of a message's content: itself, or its text parts joined by a space."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [part.get("text") for part in parts if isinstance(part, dict) and part.get("type") == "text"]
    return " ".join(text for text in texts if isinstance(text, str))


class Usage(msgspec.Struct, frozen=True, gc=False):
    """Tokens that a call used, as its provider counted them; None where it said nothing."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None


def usage_of(answer: dict[str, Any]) -> Usage | None:
    """Return what a whole answer says it used, None when it says nothing that can be read."""
    usage = answer.get("usage")
    if usage is None:
        return None
    try:
        return msgspec.convert(usage, Usage)
    except msgspec.ValidationError:
        return None


class ChunkKind(enum.Enum):
    """What a chunk does for the call: the first CONTENT or FINISH commits it to its provider."""

    ROLE = enum.auto()  # announces who speaks; promises nothing yet
    CONTENT = enum.auto()  # part of the answer: text, tool call, refusal, reasoning
    FINISH = enum.auto()  # says why the answer ended
    USAGE = enum.auto()  # counts tokens only
    OTHER = enum.auto()


COMMITTING = frozenset({ChunkKind.CONTENT, ChunkKind.FINISH})
_CONTENT = ChunkKind.CONTENT  # looked up once, which in Python 3.11 is slow


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One event of a streamed answer: `data` exactly as received; `text` is the content text in it.

    `is_text`: its one delta is a text and nothing else, as in nearly all. `beyond_text`: there is more answer
    in it than one choice's text, such as a tool call or reasoning.
    """

    data: bytes
    kind: ChunkKind
    text: str = ""
    finish_reason: str = ""
    usage: Usage | None = None
    beyond_text: bool = False
    is_text: bool = False


IS_TEXT = attrgetter("is_text")


class _Choice(msgspec.Struct, gc=False):
    delta: dict[str, Any] | None = None
    text: str | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct, gc=False):
    choices: list[_Choice] | None = None
    usage: Any = None
    error: Any = None


class _TextDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: str


class _TextChoice(msgspec.Struct, gc=False):
    delta: _TextDelta
    finish_reason: None = None


class _TextEvent(msgspec.Struct, gc=False):
    choices: tuple[_TextChoice]
    usage: None = None
    error: None = None


_EVENT = msgspec.json.Decoder(_Event)
_TEXT_EVENT = msgspec.json.Decoder(_TextEvent)  # of what nearly all chunks are; it refuses all others


def parse_chunk(data: bytes) -> Chunk:
    """Return the chunk in one event's data.

    Raises FrameError when it is no chunk, and CallError(internal_error) when it is an error that the upstream
    reports.
    """
    try:
        if text := _TEXT_EVENT.decode(data).choices[0].delta.content:
            return Chunk(data, _CONTENT, text, "", None, False, True)
    except _MALFORMED:
        pass  # or it is one of the few with something else in them
    return _parse_any(data)


def _parse_any(data: bytes) -> Chunk:
    try:
        event = _EVENT.decode(data)
    except _MALFORMED as exc:
        raise FrameError(f"chunk: {exc}") from exc
    if event.error is not None:
        raise CallError(Code.INTERNAL_ERROR, f"the provider reported: {error_message(event.error)}")
    choices = event.choices or []
    usage = None if event.usage is None else usage_of({"usage": event.usage})
    text, finish_reason, seen, beyond_text = _read_choices(choices)
    kind = seen or (ChunkKind.USAGE if usage else ChunkKind.OTHER)
    return Chunk(data, kind, text, finish_reason, usage, beyond_text or len(choices) > 1)


def _read_choices(choices: list[_Choice]) -> tuple[str, str, ChunkKind | None, bool]:
    """Return content text, finish reason, what the choices do for the call (None for nothing), and whether
    there is more answer than text.

    All that a delta has beside its role is answer: servers keep inventing names for it.
    """
    text = finish_reason = ""
    has_role = beyond_text = False
    for choice in choices:
        delta = choice.delta or {"content": choice.text}
        for name, value in delta.items():
            if name == "role":
                has_role = True
            elif name == "content" and isinstance(value, str):
                text += value
            elif value:
                beyond_text = True
        finish_reason = finish_reason or choice.finish_reason or ""
    if text or beyond_text:
        return text, finish_reason, ChunkKind.CONTENT, beyond_text
    if finish_reason:
        return text, finish_reason, ChunkKind.FINISH, False
    return text, finish_reason, ChunkKind.ROLE if has_role else None, False
