"""What is sent to an upstream, and what is read from it."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import CallError, Code, FrameError
from meshcore.openai_errors import BadRequest
from meshcore.openai_upstream import MODELS_MAX, answer_of, models_of, result_of, upstream_request
from meshcore.openai_wire import Operation

MESSAGES = [{"role": "user", "content": "hi"}]


def sent(operation: Operation, body: dict[str, Any], model: str, *, stream: bool) -> Any:
    return msgspec.json.decode(upstream_request(operation, body, model, stream=stream))


def test_the_clients_own_object_is_sent_with_the_model_that_serves() -> None:
    whole = {"model": "mesh/fast", "messages": MESSAGES, "temperature": 0.5, "x_unknown": [1, {"a": None}]}

    request = sent(Operation.CHAT, {"openai": whole}, "llama3", stream=False)

    assert request == whole | {"model": "llama3"}
    assert whole["model"] == "mesh/fast"


def test_every_field_of_the_client_but_the_models_is_sent_byte_for_byte() -> None:
    whole = (
        b'{"model":"asked", "x_unknown": {"a": 1.50, "b": "\\u00fc"}, "messages":[{ "role":"user" }], "n":1}'
    )

    request = upstream_request(Operation.CHAT, {"openai": msgspec.Raw(whole)}, "m", stream=False)

    assert request == (
        b'{"model":"m","x_unknown":{"a": 1.50, "b": "\\u00fc"},"messages":[{ "role":"user" }],"n":1}'
    )


@pytest.mark.parametrize("whole", [b"7", b"[]", b"{", b'{"a":' + b"[" * 100_000])
def test_a_clients_object_that_is_none_is_built_from_params_and_input(whole: bytes) -> None:
    body = {"input": {"messages": MESSAGES}, "openai": msgspec.Raw(whole)}

    assert sent(Operation.CHAT, body, "m", stream=False) == {"model": "m", "messages": MESSAGES}


@pytest.mark.parametrize("asked", [{}, {"stream": False}, {"stream": True}])
def test_whether_to_stream_is_the_callers_decision_not_the_clients(asked: dict[str, Any]) -> None:
    body = {"openai": {"messages": MESSAGES, **asked}}

    assert sent(Operation.CHAT, body, "m", stream=True)["stream"] is True
    assert sent(Operation.CHAT, body, "m", stream=False).get("stream", False) is False


def test_without_a_model_of_its_own_the_clients_stays() -> None:
    assert sent(Operation.CHAT, {"openai": {"model": "m"}}, "", stream=False) == {"model": "m"}


def test_a_call_from_within_the_mesh_is_built_from_params_and_input() -> None:
    body = {
        "params": {"model": "any", "provider": "ollama", "temperature": 0},
        "input": {"messages": MESSAGES},
    }

    assert sent(Operation.CHAT, body, "m", stream=False) == {
        "model": "m",
        "messages": MESSAGES,
        "temperature": 0,
    }


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": {"messages": []}}, {"input": {"prompt": 1}}])
def test_a_call_that_asks_nothing_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(BadRequest, match="messages"):
        upstream_request(Operation.CHAT, body, "m", stream=False)


@pytest.mark.parametrize(
    ("operation", "answer", "output"),
    [
        (
            Operation.CHAT,
            {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]},
            {"message": {"content": "hi"}, "finish_reason": "stop"},
        ),
        (Operation.COMPLETION, {"choices": [{"text": "hi"}]}, {"text": "hi", "finish_reason": None}),
        (Operation.EMBEDDING, {"data": [{"embedding": [1]}]}, {"data": [{"embedding": [1]}]}),
    ],
)
def test_an_answer_becomes_a_result_that_carries_it_whole(
    operation: Operation, answer: dict[str, Any], output: dict[str, Any]
) -> None:
    raw = msgspec.json.encode(answer | {"x_unknown": 7, "usage": {"total_tokens": 3}})

    result = result_of(operation, raw)

    assert result == {"output": output, "openai": msgspec.Raw(raw), "usage": {"total_tokens": 3}}


def test_an_answer_without_usage_gives_a_result_without() -> None:
    assert "usage" not in result_of(Operation.COMPLETION, b'{"choices":[{"text":""}],"usage":null}')


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"<html>",
        b"[]",
        b'"\xff"',
        b"[" * 100_000,
        b"{}",
        b'{"choices":[]}',
        b'{"choices":{}}',
        b'{"choices":[7]}',
        b'{"choices":[{}]}',
    ],
)
def test_garbage_is_no_answer(raw: bytes) -> None:
    with pytest.raises(FrameError, match="answer"):
        result_of(Operation.CHAT, raw)


def test_an_error_that_was_sent_with_status_200_is_the_calls_error() -> None:
    with pytest.raises(CallError, match="overloaded") as caught:
        result_of(Operation.CHAT, b'{"error":{"message":"overloaded"}}')

    assert caught.value.code is Code.INTERNAL_ERROR


def test_models_are_read_once_each_and_only_names() -> None:
    raw = b'{"data":[{"id":"a"},{"id":"b"},{"id":"a"},{"id":7},{"id":""},{"id":"x\\r\\ny"},"c",{}]}'

    assert models_of(raw) == ("a", "b")


def test_a_long_list_of_models_is_cut() -> None:
    raw = msgspec.json.encode({"data": [{"id": f"m{number}"} for number in range(MODELS_MAX + 5)]})

    assert len(models_of(raw)) == MODELS_MAX


@given(st.binary(max_size=50) | st.sampled_from([b'{"data":7}', b"{}", b"[1]"]))
def test_what_is_no_list_of_models_is_refused(raw: bytes) -> None:
    with pytest.raises(FrameError):
        models_of(raw)


@pytest.mark.parametrize("whole", [{"choices": [], "x_unknown": 7}, msgspec.Raw(b'{"choices": []}')])
def test_a_client_gets_the_upstreams_own_object(whole: Any) -> None:
    assert answer_of(Operation.CHAT, {"openai": whole, "output": {}}, trace_id="t", created=0) is whole


def test_a_client_gets_an_object_made_of_the_output_where_the_upstream_has_none() -> None:
    output = {"message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}
    result = {"output": output, "model": "echo-1", "usage": {"total_tokens": 2}}

    assert answer_of(Operation.CHAT, result, trace_id="t", created=7) == {
        "id": "mesh-t",
        "object": "chat.completion",
        "created": 7,
        "model": "echo-1",
        "choices": [{"index": 0, **output}],
        "usage": {"total_tokens": 2},
    }


@pytest.mark.parametrize(
    ("operation", "result", "field", "value"),
    [
        (Operation.COMPLETION, {"output": {"text": "hi"}}, "choices", [{"index": 0, "text": "hi"}]),
        (Operation.EMBEDDING, {"output": {"data": [1]}}, "data", [1]),
        (Operation.EMBEDDING, {}, "data", []),
        (Operation.CHAT, {"output": 7}, "choices", [{"index": 0}]),
    ],
)
def test_each_operation_has_its_own_object(
    operation: Operation, result: dict[str, Any], field: str, value: object
) -> None:
    assert answer_of(operation, result, trace_id="t", created=0)[field] == value
