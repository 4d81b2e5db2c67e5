"""Going on with a chat stream whose provider died in mid-answer (runs.md, "Rules": continue).

The client keeps what it has. Another provider is shown the text so far and asked for the rest, and its frames
are made to be of the same answer: they carry the id, creation time and model of the first frame, and nobody
announces once more who speaks.

    Begun        what the client has; filled while the answer is streamed, and cheap
    obstacle     why nobody may go on, "" when somebody may
    continuation what the next provider is asked
    Seam         makes its chunks part of the answer that began
"""

from collections.abc import Mapping, Sequence
from itertools import filterfalse
from operator import attrgetter
from typing import Any

import msgspec

from meshcore.capability import RouteRequest
from meshcore.config_sections import Continuation
from meshcore.openai_errors import BadRequest
from meshcore.openai_upstream import input_of, request_object
from meshcore.openai_wire import IS_TEXT, Chunk, ChunkKind, Operation, Usage, parse_chunk

TEXT_MAX_CHARS = 1 << 20  # of an answer that may be continued, 250 000 tokens; more is not kept
CONTINUATION = "continuation"  # the param of a capability that says how its provider goes on
LIMITS = ("max_tokens", "max_completion_tokens")
RULED_OUT = ("tools", "functions", "logprobs", "top_logprobs", "response_format", "echo")
"""Fields of a request whose answer can't be cut and joined: it has a form, or numbers that count from its
beginning.
"""

_TEXT = attrgetter("text")
_SAME = ("id", "created", "model")  # in every frame of one answer
_VLLM = {"add_generation_prompt": False, "continue_final_message": True}
_FIELDS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_CHOICES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]] | None)
_ITEMS = msgspec.json.Decoder(list[msgspec.Raw])
_DELTA = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


class Begun:
    """What a client has of an answer: `chunks` of content, their text, and how many tokens that is."""

    __slots__ = ("_chars", "_texts", "_tokens", "beyond_text", "chunks", "finished", "first")

    def __init__(self) -> None:
        self.first: bytes | None = None  # frame of the answer
        self.chunks = 0
        self.beyond_text = False
        self.finished = False
        self._texts: list[str] = []
        self._chars = 0
        self._tokens = 0  # by the provider's own count, which most give only at the end

    def saw(self, chunk: Chunk) -> None:
        """Take a chunk that goes to the client."""
        self.saw_all((chunk,))

    def saw_all(self, chunks: Sequence[Chunk]) -> None:
        """Take chunks that go to the client."""
        if self.first is None:
            self.first = chunks[0].data
        others = list(filterfalse(IS_TEXT, chunks))
        self.chunks += len(chunks) - len(others)
        self._keep("".join(map(_TEXT, chunks)))
        for chunk in others:
            self.chunks += chunk.kind is ChunkKind.CONTENT
            self.beyond_text = self.beyond_text or chunk.beyond_text
            self.finished = self.finished or bool(chunk.finish_reason)
            if chunk.usage is not None:
                self._tokens = chunk.usage.completion_tokens or 0

    @property
    def text(self) -> str:
        """The text so far; only what is `whole` may be gone on from."""
        return "".join(self._texts)

    @property
    def whole(self) -> bool:
        """Whether all of the text was kept."""
        return self._chars <= TEXT_MAX_CHARS

    @property
    def tokens(self) -> int:
        """Tokens delivered: the provider's count, else one a chunk, which is how servers send them."""
        return max(self._tokens, self.chunks)

    def _keep(self, text: str) -> None:
        self._chars += len(text)
        if self.whole:
            self._texts.append(text)
        else:
            self._texts.clear()


def obstacle(request: RouteRequest, begun: Begun) -> str:
    """Return why nobody may go on with an answer, as words behind "because"; "" when somebody may."""
    if request.capability != Operation.CHAT:
        return "only chats can be continued"
    if begun.finished:
        return "it had its finish_reason"
    if begun.beyond_text:
        return "it had more than text"
    if not begun.chunks:
        return "it had no text yet"
    if not begun.whole:
        return f"it had more than {TEXT_MAX_CHARS} characters"
    try:
        asked = request_object(Operation.CHAT, request.body)
        messages = input_of(Operation.CHAT, request.body)
    except BadRequest:
        return "the request can't be read"
    return _obstacle_in(asked, messages)


def _obstacle_in(asked: Mapping[str, Any], messages: object) -> str:
    if _value(asked.get("n")) not in (None, 1):
        return "the request asks for several choices"
    for field in RULED_OUT:
        if _value(asked.get(field)):
            return f"the request has {field}"
    last = messages[-1] if isinstance(messages, list) else None
    if not isinstance(last, dict):
        return "the request can't be read"
    if last.get("role") == "assistant":
        # Providers differ in whether they answer such a message or go on with it.
        return "the request itself ends with an assistant's message"
    return ""


def is_used_up(request: RouteRequest, begun: Begun) -> bool:
    """Return whether the answer has all the tokens that its request allows; there must be no obstacle."""
    asked = request_object(Operation.CHAT, request.body)
    return any(limit <= begun.tokens for limit in _limits(asked).values())


def continuation(
    request: RouteRequest, begun: Begun, *, provider: str, model: str, how: Continuation
) -> RouteRequest:
    """Return the request for the rest of an answer, to be served by `provider` alone, with `model`.

    There must be no obstacle, and the limit not used up.
    """
    so_far = {"role": "assistant", "content": begun.text}
    asked = request_object(Operation.CHAT, request.body)
    asked |= {field: limit - begun.tokens for field, limit in _limits(asked).items()}
    asked["messages"] = [*_items(asked["messages"]), so_far]
    if how is Continuation.VLLM:
        asked |= _VLLM
    params = {**request.params(), "model": model, "provider": provider}
    messages = [*input_of(Operation.CHAT, request.body), so_far]
    body = {**request.body, "params": params, "input": {"messages": messages}, "openai": asked}
    return msgspec.structs.replace(request, body=body)


def way_to_continue(params: Mapping[str, Any]) -> Continuation:
    """Return how the provider of a capability with `params` goes on from a text, NONE when it can't."""
    try:
        return Continuation(params.get(CONTINUATION, Continuation.NONE))
    except ValueError:
        return Continuation.NONE  # a way that a newer peer knows


class Seam:
    """Makes the chunks of who goes on part of the answer that `begun` holds."""

    def __init__(self, begun: Begun) -> None:
        first = _FIELDS.decode(begun.first or b"{}")
        self._same = {name: first[name] for name in _SAME if name in first}
        self._tokens = begun.tokens

    def join(self, chunk: Chunk) -> Chunk | None:
        """Return the chunk as one of the same answer; None for one that only announces who speaks."""
        if chunk.kind is ChunkKind.ROLE:
            return None
        fields = _FIELDS.decode(chunk.data)
        for name in _SAME:
            fields.pop(name, None)
        fields = self._same | fields
        usage = chunk.usage
        if usage is not None:
            usage, fields["usage"] = self._counted(usage, fields["usage"])
        if b'"role"' in chunk.data:
            _drop_role(fields)
            return parse_chunk(msgspec.json.encode(fields))  # there may be nothing but text in it now
        return msgspec.structs.replace(chunk, data=msgspec.json.encode(fields), usage=usage)

    def _counted(self, usage: Usage, raw: msgspec.Raw) -> tuple[Usage, msgspec.Raw]:
        """Return the usage of the whole answer.

        Whoever goes on counts the text so far to its prompt. It belongs to the answer; the total stays.
        """
        fields = _FIELDS.decode(raw)
        moved = min(self._tokens, usage.prompt_tokens or 0)
        if usage.prompt_tokens is not None and usage.completion_tokens is not None:
            usage = msgspec.structs.replace(
                usage,
                prompt_tokens=usage.prompt_tokens - moved,
                completion_tokens=usage.completion_tokens + moved,
            )
            fields["prompt_tokens"] = _raw(usage.prompt_tokens)
            fields["completion_tokens"] = _raw(usage.completion_tokens)
        return usage, _raw(fields)


def length_reached(begun: Begun) -> Chunk:
    """Return the chunk that ends an answer which has all the tokens that were asked for."""
    first = _FIELDS.decode(begun.first or b"{}")
    same = {name: first[name] for name in ("object", *_SAME) if name in first}
    choice = {"index": 0, "delta": {}, "finish_reason": "length"}
    data = msgspec.json.encode({**same, "choices": [choice]})
    return Chunk(data, ChunkKind.FINISH, finish_reason="length")


def _drop_role(fields: dict[str, msgspec.Raw]) -> None:
    choices = _CHOICES.decode(fields["choices"]) if "choices" in fields else None
    for choice in choices or ():
        delta = _DELTA.decode(choice["delta"]) if "delta" in choice else None
        if delta is not None and delta.pop("role", None) is not None:
            choice["delta"] = _raw(delta)
    if choices:
        fields["choices"] = _raw(choices)


def _limits(asked: Mapping[str, Any]) -> dict[str, int]:
    limits = {field: _value(asked.get(field)) for field in LIMITS}
    return {field: limit for field, limit in limits.items() if type(limit) is int}


def _value(sent: object) -> Any:
    return msgspec.json.decode(sent) if isinstance(sent, msgspec.Raw) else sent


def _items(sent: Any) -> list[Any]:
    """Return a list whose items stay as they were sent."""
    items: list[Any] = _ITEMS.decode(sent) if isinstance(sent, msgspec.Raw) else sent
    return items


def _raw(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))
