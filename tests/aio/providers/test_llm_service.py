"""The smallest service: what the bus's own cases are played with."""

from typing import Any

import pytest

from meshcore.aio.providers import LlmService
from meshcore.capability import CallInfo, RouteRequest
from meshcore.errors import CallError, Code

INFO = CallInfo(trace_id="t", capability="llm.chat", caller="", deadline=1e9, timeout_seconds=1.0)
BODY: dict[str, Any] = {"params": {}, "input": {"messages": [{"role": "user", "content": "hi"}]}}
REQUEST = RouteRequest("llm.chat", (1, 0), BODY)


@pytest.mark.parametrize("model", ["echo-1", "echo-A", "demo-x"])
async def test_a_model_that_is_named_like_an_echo_echoes(model: str) -> None:
    [(descriptor, handler)] = LlmService(model=model).capabilities()

    result = await handler(REQUEST, INFO)

    assert (descriptor.name, descriptor.params["model"]) == ("llm.chat", model)
    assert result["output"]["message"]["content"] == f"[{model}] hi"


async def test_it_streams() -> None:
    [(_, handler)] = LlmService(model="echo-1").capabilities()

    texts = [chunk.text async for chunk in handler.stream(REQUEST, INFO)]

    assert "".join(texts) == "[echo-1] hi "


@pytest.mark.parametrize("model", ["", "llama3"])
async def test_any_other_is_unavailable(model: str) -> None:
    [(_, handler)] = LlmService(model=model).capabilities()

    with pytest.raises(CallError) as caught:
        await handler(REQUEST, INFO)

    assert caught.value.code is Code.UNAVAILABLE
