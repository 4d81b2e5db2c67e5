"""What requests need, and what providers lack."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.needs import Needs, lack_of, needs_of
from meshcore.trace import Reason

TOOL = {"type": "function", "function": {"name": "look"}}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 60_000}}


def ask(content: Any = "hi", **fields: Any) -> dict[str, Any]:
    """Return a bus body that carries a client's request, as the gateway makes it."""
    messages = [{"role": "user", "content": content}]
    raw = msgspec.json.encode({"model": "mesh/x", "messages": messages, **fields})
    return {"input": {"messages": messages}, "openai": msgspec.Raw(raw)}


@pytest.mark.parametrize(
    ("body", "needs"),
    [
        (ask(), Needs()),
        (ask(tools=[TOOL]), Needs(tools=True)),
        (ask(functions=[{"name": "look"}]), Needs(tools=True)),
        (ask(tools=[TOOL], tool_choice="none"), Needs()),
        (ask(tools=[]), Needs()),
        (ask([{"type": "text", "text": "what is it?"}, IMAGE]), Needs(vision=True, context_tokens=1)),
        (ask("x" * 600), Needs(context_tokens=100)),
        (ask("x" * 600, max_tokens=50), Needs(context_tokens=150)),
        (ask("x" * 600, max_tokens=50, max_completion_tokens=70), Needs(context_tokens=170)),
        (ask(max_tokens=-1), Needs()),
        (ask(None, max_tokens="many"), Needs()),
        ({"input": {"prompt": "x" * 60}}, Needs(context_tokens=10)),
        ({"openai": {"tools": [TOOL], "functions": 3}}, Needs(tools=True)),
        ({"openai": msgspec.Raw(b'{"tools": [')}, Needs()),
        ({"params": {"tools": [TOOL]}, "input": {"messages": []}}, Needs(tools=True)),
        ({"params": 3, "input": {"messages": ["x"]}}, Needs()),
        ({}, Needs()),
    ],
)
def test_needs_are_read_from_what_is_asked(body: dict[str, Any], needs: Needs) -> None:
    assert needs_of(body) == needs


@pytest.mark.parametrize(
    ("params", "needs", "reason"),
    [
        ({"tools": False}, Needs(tools=True), Reason.NO_TOOLS),
        ({"vision": False}, Needs(vision=True), Reason.NO_VISION),
        ({"context_tokens": 99}, Needs(context_tokens=100), Reason.CONTEXT),
    ],
)
def test_what_a_provider_says_it_can_not_do_is_lacking(
    params: dict[str, Any], needs: Needs, reason: Reason
) -> None:
    lack = lack_of(params, needs)

    assert lack is not None
    assert lack.reason is reason


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"tools": True, "vision": True, "context_tokens": 100},
        {"context_tokens": 0},
        {"context_tokens": "a peer's nonsense"},
    ],
)
def test_what_is_not_denied_is_believed(params: dict[str, Any]) -> None:
    assert lack_of(params, Needs(tools=True, vision=True, context_tokens=100)) is None


def test_who_needs_nothing_lacks_nothing() -> None:
    assert lack_of({"tools": False, "vision": False, "context_tokens": 1}, Needs()) is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
fields = st.sampled_from(
    ["openai", "params", "input", "messages", "content", "tools", "prompt", "max_tokens"]
)


@given(st.dictionaries(fields, st.dictionaries(fields, json_values, max_size=4) | json_values, max_size=3))
def test_no_body_is_too_odd_to_be_read(body: dict[str, Any]) -> None:
    assert needs_of(body).context_tokens >= 0
