"""What a request needs of a model beyond its name: tools, vision, room for its context (bus-and-breaker §3).

Providers say in their params what they can do: `tools`, `vision`, `context_tokens`. What they don't say is
believed of them: their own refusal is better than ours.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from meshcore.trace import Reason

CHARS_PER_TOKEN = 6  # more than texts of any common language have: who is refused for it is surely too small
IMAGE_PARTS = frozenset({"image_url", "input_image", "image"})
TOOL_FIELDS = ("tools", "functions")
ANSWER_FIELDS = ("max_completion_tokens", "max_tokens")


class Needs(NamedTuple):
    """What a request needs; `context_tokens` is the least that prompt and answer can come to."""

    tools: bool = False
    vision: bool = False
    context_tokens: int = 0


class Lack(NamedTuple):
    """What a provider can't do."""

    reason: Reason
    detail: str


def needs_of(body: Mapping[str, Any]) -> Needs:
    """Return what a bus body needs: of the client's own object when it carries one, else of its parts."""
    whole = body.get("openai")
    request = whole if isinstance(whole, dict) else {**_object(body, "params"), **_object(body, "input")}
    contents = list(_contents(request))
    return Needs(
        tools=any(request.get(field) for field in TOOL_FIELDS) and request.get("tool_choice") != "none",
        vision=any(_shows_image(content) for content in contents),
        context_tokens=sum(map(_chars, contents)) // CHARS_PER_TOKEN + _answer_tokens(request),
    )


def lack_of(params: Mapping[str, Any], needs: Needs) -> Lack | None:
    """Return what is missing where `params` are offered, or None."""
    if needs.tools and params.get("tools") is False:
        return Lack(Reason.NO_TOOLS, "takes no tools")
    if needs.vision and params.get("vision") is False:
        return Lack(Reason.NO_VISION, "sees no images")
    room = params.get("context_tokens")
    if isinstance(room, int) and 0 < room < needs.context_tokens:
        return Lack(Reason.CONTEXT, f"{needs.context_tokens} tokens at least, room for {room}")
    return None


def _object(body: Mapping[str, Any], field: str) -> dict[str, Any]:
    value = body.get(field)
    return value if isinstance(value, dict) else {}


def _contents(request: Mapping[str, Any]) -> Iterator[object]:
    """Yield the content of each message, and the prompt of a completion."""
    messages = request.get("messages")
    for message in messages if isinstance(messages, list) else ():
        if isinstance(message, dict):
            yield message.get("content")
    yield request.get("prompt")


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


def _answer_tokens(request: Mapping[str, Any]) -> int:
    asked = (request.get(field) for field in ANSWER_FIELDS)
    return max((number for number in asked if isinstance(number, int) and number > 0), default=0)
