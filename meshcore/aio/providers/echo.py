"""A provider that says back what it was told: for tests, demos and a mesh without any model."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any

import msgspec

from meshcore.capability import CallInfo, CapabilityDescriptor
from meshcore.errors import CallError, Code
from meshcore.openai_upstream import input_of
from meshcore.openai_wire import Chunk, Operation, last_user_text, parse_chunk

MAX_CONCURRENT = 64  # it works at once and holds nothing, so the number only has to be out of the way


class EchoProvider:
    """Answers "[<model>] <last user message>" to chats and completions."""

    def __init__(
        self, name: str, models: Sequence[str] = ("echo-1",), *, max_concurrent: int = MAX_CONCURRENT
    ) -> None:
        self.name = name
        self.on_change: Callable[[], None] | None = None
        self._models = tuple(models) or ("echo-1",)
        self._max_concurrent = max_concurrent

    def descriptors(self) -> list[CapabilityDescriptor]:
        """Return chat and completion with its models."""
        return [
            CapabilityDescriptor(
                name=operation,
                provider=self.name,
                params={"model": self._models[0], "models": list(self._models)},
                max_concurrent=self._max_concurrent,
            )
            for operation in (Operation.CHAT, Operation.COMPLETION)
        ]

    async def call(self, capability: str, body: dict[str, Any], call: CallInfo) -> dict[str, Any]:
        """Return the echo."""
        model = call.model or self._models[0]
        text = _echo(capability, body, model)
        is_chat = capability == Operation.CHAT
        said = {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
        return {"output": {**said, "finish_reason": "stop"}, "usage": _usage(text), "model": model}

    async def stream(
        self, capability: str, body: dict[str, Any], call: CallInfo
    ) -> AsyncGenerator[Chunk, None]:
        """Yield the echo word by word."""
        model = call.model or self._models[0]
        is_chat = capability == Operation.CHAT
        for word in _echo(capability, body, model).split(" "):
            said = {"delta": {"content": f"{word} "}} if is_chat else {"text": f"{word} "}
            yield _chunk(call, model, {**said, "finish_reason": None})
        nothing: dict[str, Any] = {"delta": {}} if is_chat else {"text": ""}
        yield _chunk(call, model, {**nothing, "finish_reason": "stop"})

    async def probe(self) -> bool:
        """Return True."""
        return True

    async def start(self) -> None:
        """Open nothing."""

    async def close(self) -> None:
        """Close nothing."""


def _echo(capability: str, body: dict[str, Any], model: str) -> str:
    if capability == Operation.CHAT:
        return f"[{model}] {last_user_text(input_of(Operation.CHAT, body))}"
    if capability == Operation.COMPLETION:
        return f"[{model}] {input_of(Operation.COMPLETION, body)}"
    raise CallError(Code.NOT_IMPLEMENTED, f"an echo can't do {capability}")


def _usage(text: str) -> dict[str, int]:
    words = len(text.split())
    return {"prompt_tokens": words, "completion_tokens": words, "total_tokens": 2 * words}


def _chunk(call: CallInfo, model: str, choice: dict[str, Any]) -> Chunk:
    is_chat = call.capability == Operation.CHAT
    event = {
        "id": f"echo-{call.trace_id}",
        "object": "chat.completion.chunk" if is_chat else "text_completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, **choice}],
    }
    return parse_chunk(msgspec.json.encode(event))
