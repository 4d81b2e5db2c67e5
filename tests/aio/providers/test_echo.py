"""The echo."""

from typing import Any

import pytest

from meshcore.aio.providers.echo import EchoProvider
from meshcore.capability import CallInfo
from meshcore.errors import CallError, Code
from meshcore.openai_wire import ChunkKind

CHAT = {"input": {"messages": [{"role": "user", "content": "hi there"}]}}


def info(capability: str = "llm.chat", model: str = "") -> CallInfo:
    return CallInfo(
        trace_id="t", capability=capability, caller="", deadline=1e9, timeout_seconds=1.0, model=model
    )


async def test_a_chat_is_echoed_with_the_models_name() -> None:
    result = await EchoProvider("echo").call("llm.chat", CHAT, info())

    assert result["output"] == {
        "message": {"role": "assistant", "content": "[echo-1] hi there"},
        "finish_reason": "stop",
    }
    assert result["model"] == "echo-1"
    assert result["usage"]["total_tokens"] == 6


async def test_a_completion_is_echoed_with_the_model_that_was_asked() -> None:
    body = {"input": {"prompt": "once"}}

    result = await EchoProvider("echo", ["a", "b"]).call("llm.completion", body, info(model="b"))

    assert result["output"] == {"text": "[b] once", "finish_reason": "stop"}


@pytest.mark.parametrize(
    ("capability", "body"), [("llm.chat", CHAT), ("llm.completion", {"input": {"prompt": "hi there"}})]
)
async def test_an_echo_is_streamed_word_by_word(capability: str, body: dict[str, Any]) -> None:
    stream = EchoProvider("echo").stream(capability, body, info(capability))

    chunks = [chunk async for chunk in stream]

    assert [chunk.text for chunk in chunks] == ["[echo-1] ", "hi ", "there ", ""]
    assert chunks[-1].kind is ChunkKind.FINISH


async def test_an_echo_has_no_embeddings() -> None:
    with pytest.raises(CallError) as caught:
        await EchoProvider("echo").call("llm.embedding", {}, info())

    assert caught.value.code is Code.NOT_IMPLEMENTED


async def test_a_call_that_asks_nothing_is_refused() -> None:
    with pytest.raises(CallError) as caught:
        await EchoProvider("echo").call("llm.chat", {}, info())

    assert caught.value.code is Code.BAD_REQUEST


async def test_it_offers_chat_and_completion_and_lives() -> None:
    provider = EchoProvider("echo", (), max_concurrent=2)
    await provider.start()

    offered = [(each.name, each.params, each.max_concurrent) for each in provider.descriptors()]

    params = {"model": "echo-1", "models": ["echo-1"]}
    assert offered == [("llm.chat", params, 2), ("llm.completion", params, 2)]
    assert await provider.probe()
    await provider.close()
