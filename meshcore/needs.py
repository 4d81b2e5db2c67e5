"""What a request needs of a model beyond its name: tools, vision, room for its context (bus-and-breaker §3).

Providers say in their params what they can do: `tools`, `vision`, `context_tokens`. What they don't say is
believed of them: their own refusal is better than ours.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from meshcore.trace import Reason

CHARS_PER_TOKEN = 6  # more than texts of any common language have: who is refused for it is surely too small
IMAGE_PARTS = frozenset({"image_url", "input_image", "image"})


LACKS: dict[Reason | None, str] = {
    Reason.NO_TOOLS: "takes no tools",
    Reason.NO_VISION: "sees no images",
    Reason.CONTEXT: "has too little room for its context",
}
"""What is said of an entry that lacks something, for clients."""


class Needs(NamedTuple):
    """What a request needs; `context_tokens` is the least that prompt and answer can come to."""

    tools: bool = False
    vision: bool = False
    context_tokens: int = 0


class Lack(NamedTuple):
    """What a provider can't do."""

    reason: Reason
    detail: str = ""  # what the reason doesn't say by itself


class _Asked(msgspec.Struct, frozen=True):
    """The fields of a client's request that say what it needs; all others are skipped."""

    tools: Any = None
    functions: Any = None
    tool_choice: Any = None
    max_completion_tokens: Any = None
    max_tokens: Any = None


_decode_asked = msgspec.json.Decoder(_Asked).decode


def needs_of(body: Mapping[str, Any]) -> Needs:
    """Return what a bus body needs, by the client's own request when it carries one, else by its params."""
    asked = _asked(body)
    contents = list(_contents(body))
    answer_tokens = (asked.max_completion_tokens, asked.max_tokens)
    return Needs(
        tools=bool(asked.tools or asked.functions) and asked.tool_choice != "none",
        vision=any(_shows_image(content) for content in contents),
        context_tokens=sum(map(_chars, contents)) // CHARS_PER_TOKEN + max(map(_count, answer_tokens)),
    )


def lack_of(params: Mapping[str, Any], needs: Needs) -> Lack | None:
    """Return what is missing where `params` are offered, or None."""
    if needs.tools and params.get("tools") is False:
        return Lack(Reason.NO_TOOLS)
    if needs.vision and params.get("vision") is False:
        return Lack(Reason.NO_VISION)
    room = params.get("context_tokens")
    if isinstance(room, int) and 0 < room < needs.context_tokens:
        return Lack(Reason.CONTEXT, f"{needs.context_tokens} tokens at least, room for {room}")
    return None


def _asked(body: Mapping[str, Any]) -> _Asked:
    whole = body.get("openai")
    try:
        if isinstance(whole, msgspec.Raw):
            return _decode_asked(whole)
        return msgspec.convert(whole if isinstance(whole, dict) else body.get("params"), _Asked)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Asked()  # whoever serves it says what is wrong


def _contents(body: Mapping[str, Any]) -> Iterator[object]:
    """Yield the content of each message, and the prompt of a completion."""
    carrier = body.get("input")
    fields = carrier if isinstance(carrier, dict) else {}
    messages = fields.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            yield message.get("content")
    yield fields.get("prompt")


def _parts(content: object) -> Iterator[dict[str, Any]]:
    yield from (part for part in content if isinstance(part, dict)) if isinstance(content, list) else ()


def _shows_image(content: object) -> bool:
    return any(part.get("type") in IMAGE_PARTS for part in _parts(content))


def _chars(content: object) -> int:
    """Return how much text there is; an image's data is no text."""
    if isinstance(content, str):
        return len(content)
    texts = (part.get("text") for part in _parts(content))
    return sum(len(text) for text in texts if isinstance(text, str))


def _count(number: object) -> int:
    return number if isinstance(number, int) and number > 0 else 0
