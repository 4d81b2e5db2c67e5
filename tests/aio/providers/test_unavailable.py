"""The provider that is there and never answers."""

import pytest

from meshcore.aio.providers.unavailable import UnavailableProvider
from meshcore.capability import CallInfo
from meshcore.errors import CallError, Code

INFO = CallInfo(trace_id="t", capability="llm.chat", caller="", deadline=1e9, timeout_seconds=1.0)


async def test_calls_streams_and_probes_fail() -> None:
    provider = UnavailableProvider("dead")
    await provider.start()

    with pytest.raises(CallError, match="dead is unavailable") as called:
        await provider.call("llm.chat", {}, INFO)
    with pytest.raises(CallError) as streamed:
        await anext(provider.stream("llm.chat", {}, INFO))

    assert (called.value.code, streamed.value.code) == (Code.UNAVAILABLE, Code.UNAVAILABLE)
    assert not await provider.probe()
    await provider.close()


def test_it_offers_everything_with_its_models_or_with_none() -> None:
    named = UnavailableProvider("dead", ["m"], max_concurrent=2).descriptors()
    nameless = UnavailableProvider("dead").descriptors()

    assert [each.name for each in named] == ["llm.chat", "llm.completion", "llm.embedding"]
    assert (named[0].params, named[0].max_concurrent) == ({"model": "m", "models": ["m"]}, 2)
    assert nameless[0].params == {}
