"""The OpenAI wire format: requests are checked where routing needs it, chunks are classified and left as they
are."""

from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import CallError, Code, FrameError
from meshcore.openai_errors import BadRequest
from meshcore.openai_wire import (
    COMMITTING,
    ChunkKind,
    Operation,
    Usage,
    last_user_text,
    parse_chunk,
    parse_request,
    usage_of,
)

CHAT = {"model": "llama3", "messages": [{"role": "user", "content": "hi"}]}


def chat(**changes: object) -> bytes:
    return msgspec.json.encode(CHAT | changes)


def delta(**fields: object) -> bytes:
    return msgspec.json.encode({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


ROLE = delta(role="assistant", content="")
CONTENT = delta(content="hello")
FINISH = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
USAGE = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}'


def test_a_chat_request_gives_model_and_stream_and_keeps_the_body_whole() -> None:
    request = parse_request(Operation.CHAT, chat(stream=True, x_unknown={"a": [1, 2.5]}, seed=2**70))

    assert (request.model, request.stream) == ("llama3", True)
    assert request.body == CHAT | {"stream": True, "x_unknown": {"a": [1, 2.5]}, "seed": 2**70}


def test_a_request_becomes_a_bus_body_that_carries_the_clients_bytes() -> None:
    raw = chat().replace(b":", b" : ")

    body = parse_request(Operation.CHAT, raw).as_bus_body("llama3")

    assert body["params"] == {"model": "llama3"}
    assert body["input"] == {"messages": CHAT["messages"]}
    assert bytes(body["openai"]) == raw


def test_a_pinned_request_names_its_provider() -> None:
    body = parse_request(Operation.CHAT, chat(model="ollama/llama3")).as_bus_body("llama3", "ollama")

    assert body["params"] == {"model": "llama3", "provider": "ollama"}


@pytest.mark.parametrize(
    ("operation", "field", "value"),
    [
        (Operation.COMPLETION, "prompt", "Once upon"),
        (Operation.COMPLETION, "prompt", [1, 2, 3]),
        (Operation.EMBEDDING, "input", ["a", "b"]),
    ],
)
def test_completions_and_embeddings_have_their_own_input(
    operation: Operation, field: str, value: object
) -> None:
    raw = msgspec.json.encode({"model": "m", field: value})

    assert parse_request(operation, raw).as_bus_body("m")["input"] == {field: value}


@pytest.mark.parametrize(
    ("raw", "param", "words"),
    [
        (b"", "body", "expected JSON"),
        (b"{", "body", "expected JSON"),
        (b'{"a": NaN}', "body", "expected JSON"),
        (b'"\xff"', "body", "expected JSON"),
        (b"[" * 100_000, "body", "expected JSON"),
        (b"[]", "body", "expected a JSON object, got []"),
        (b"null", "body", "expected a JSON object, got nothing"),
        (b'{"messages": []}', "model", "got nothing"),
        (chat(model=""), "model", "got ''"),
        (chat(model=7), "model", "got 7"),
        (chat(model="m" * 257), "model", "1 to 256 characters"),
        (chat(messages=None), "messages", "got nothing"),
        (chat(messages=[]), "messages", "got []"),
        (chat(messages="hi"), "messages", "got 'hi'"),
        (chat(messages=["hi"]), "messages[0]", "expected an object, got 'hi'"),
        (chat(messages=[CHAT["messages"][0], {}]), "messages[1].role", "got nothing"),
        (chat(messages=[{"role": 7}]), "messages[0].role", "got 7"),
        (chat(messages=[{"role": "user", "content": 7}]), "messages[0].content", "a list of parts or null"),
        (chat(stream="yes"), "stream", "expected true or false, got 'yes'"),
        (chat(stream_options=[]), "stream_options", "expected an object"),
    ],
)
def test_a_malformed_chat_request_is_refused_and_the_fault_named(raw: bytes, param: str, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(Operation.CHAT, raw)

    assert caught.value.code == Code.BAD_REQUEST
    assert caught.value.param == param
    assert words in caught.value.message


@pytest.mark.parametrize(
    ("operation", "body", "param"),
    [
        (Operation.COMPLETION, {"model": "m"}, "prompt"),
        (Operation.COMPLETION, {"model": "m", "prompt": ""}, "prompt"),
        (Operation.EMBEDDING, {"model": "m", "input": 7}, "input"),
        (Operation.EMBEDDING, {"model": "m", "input": []}, "input"),
        (Operation.EMBEDDING, {"model": "m", "input": "a", "stream": True}, "stream"),
    ],
)
def test_other_operations_refuse_what_they_cannot_serve(
    operation: Operation, body: dict[str, Any], param: str
) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(operation, msgspec.json.encode(body))

    assert caught.value.param == param


def test_an_error_about_a_long_value_shows_only_its_beginning() -> None:
    with pytest.raises(BadRequest) as caught:
        parse_request(Operation.CHAT, chat(messages="secret " * 1000))

    assert len(caught.value.message) < 200


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NEARLY_CHAT = st.fixed_dictionaries(
    {},
    optional={
        "model": st.just("m") | JSON,
        "messages": st.lists(st.fixed_dictionaries({"role": st.just("user") | JSON, "content": JSON})) | JSON,
        "stream": st.booleans() | JSON,
        "stream_options": JSON,
    },
)


@given(raw=st.binary(max_size=60) | JSON.map(msgspec.json.encode) | NEARLY_CHAT.map(msgspec.json.encode))
@pytest.mark.parametrize("operation", Operation)
def test_whatever_a_client_sends_is_a_request_or_a_bad_request(operation: Operation, raw: bytes) -> None:
    with suppress(BadRequest):
        request = parse_request(operation, raw)

        assert request.body == msgspec.json.decode(raw)
        assert request.model


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("hi", "hi"),
        ([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}], "a b"),
        ([{"type": "text", "text": 7}, "loose", {"type": "text"}], ""),
        (None, ""),
    ],
)
def test_the_last_user_text_is_found_in_texts_and_in_parts(content: object, text: str) -> None:
    messages = [
        {"role": "user", "content": "earlier"},
        {"role": "user", "content": content},
        {"role": "assistant", "content": "later"},
        "not a message",
    ]

    assert last_user_text(messages) == text


def test_without_a_user_message_there_is_no_user_text() -> None:
    assert last_user_text([{"role": "system", "content": "be kind"}]) == ""


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (ROLE, ChunkKind.ROLE),
        (delta(role="assistant", content=None, tool_calls=None, refusal=None), ChunkKind.ROLE),
        (CONTENT, ChunkKind.CONTENT),
        (delta(role="assistant", content="hello"), ChunkKind.CONTENT),
        (delta(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]), ChunkKind.CONTENT),
        (delta(function_call={"name": "f"}), ChunkKind.CONTENT),
        (delta(refusal="I won't"), ChunkKind.CONTENT),
        (delta(reasoning_content="let me think"), ChunkKind.CONTENT),
        (b'{"choices":[{"text":"once"}]}', ChunkKind.CONTENT),
        (b'{"choices":[{"text":"","finish_reason":null}]}', ChunkKind.OTHER),
        (b'{"choices":[{"delta":{"content":"bye"},"finish_reason":"stop"}]}', ChunkKind.CONTENT),
        (FINISH, ChunkKind.FINISH),
        (USAGE, ChunkKind.USAGE),
        (b'{"choices":[],"prompt_filter_results":[]}', ChunkKind.OTHER),
        (b'{"choices":null}', ChunkKind.OTHER),
        (b"{}", ChunkKind.OTHER),
        (delta(content=""), ChunkKind.OTHER),
    ],
)
def test_a_chunk_is_what_it_does_for_the_call(data: bytes, kind: ChunkKind) -> None:
    chunk = parse_chunk(data)

    assert chunk.kind is kind
    assert chunk.data == data


def test_a_chunk_that_only_names_the_role_commits_nothing() -> None:
    assert parse_chunk(ROLE).kind not in COMMITTING
    assert {parse_chunk(CONTENT).kind, parse_chunk(FINISH).kind} == COMMITTING


def test_a_chunk_gives_its_text_its_finish_reason_and_its_usage() -> None:
    assert parse_chunk(CONTENT).text == "hello"
    assert parse_chunk(FINISH).finish_reason == "stop"
    assert parse_chunk(USAGE).usage == Usage(3, 5, 8)
    assert parse_chunk(delta(content=[{"type": "text"}])).text == ""


@pytest.mark.parametrize(
    ("data", "beyond"),
    [
        (delta(role="assistant", content="hi"), False),
        (delta(content="hi", refusal=None, tool_calls=[]), False),
        (delta(content="hi", reasoning="hm"), True),
        (delta(content="", tool_calls=[{"index": 0}]), True),
        (delta(content=["hi"]), True),
        (b'{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}', True),
        (b'{"choices":[{"text":"hi"}]}', False),
    ],
)
def test_a_chunk_knows_whether_there_is_more_in_it_than_one_text(data: bytes, beyond: bool) -> None:
    assert parse_chunk(data).beyond_text is beyond


def test_the_texts_of_several_choices_are_joined_in_their_order() -> None:
    assert parse_chunk(b'{"choices":[{"text":"a"},{"delta":{"content":"b"}}]}').text == "ab"


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"[]", b"7", b'{"choices":7}', b'{"choices":[{"delta":"x"}]}', b'"\xff"', b"[" * 99_999],
)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError, match="chunk"):
        parse_chunk(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"error":{"message":"out of memory","code":500}}', "out of memory"),
        (b'{"error":"out of memory"}', "out of memory"),
        (b'{"error":{}}', "no message"),
    ],
)
def test_an_error_event_is_the_calls_error(data: bytes, words: str) -> None:
    with pytest.raises(CallError, match=words) as caught:
        parse_chunk(data)

    assert caught.value.code is Code.INTERNAL_ERROR


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8, "details": {}}, Usage(3, 5, 8)),
        ({"prompt_tokens": 3, "total_tokens": 3}, Usage(3, None, 3)),
        ({"prompt_tokens": "many"}, None),
        (7, None),
        (None, None),
    ],
)
def test_usage_is_read_when_it_can_be(usage: object, read: Usage | None) -> None:
    assert usage_of({"usage": usage}) == read


@pytest.mark.parametrize(
    ("data", "is_text"),
    [
        (CONTENT, True),
        (CONTENT.replace(b",", b",\n"), True),
        (delta(role="assistant", content="hello"), False),
        (delta(content="hello", refusal=None), False),
        (delta(content=""), False),
        (b'{"choices":[{"delta":{"content":"bye"},"finish_reason":"stop"}]}', False),
        (b'{"choices":[{"delta":{"content":"a"}},{"delta":{"content":"b"}}]}', False),
        (b'{"choices":[{"delta":{"content":"a"}}],"usage":{"total_tokens":1}}', False),
        (b'{"choices":[{"text":"once"}]}', False),
        (FINISH, False),
    ],
)
def test_a_chunk_knows_whether_its_delta_is_text_and_nothing_else(data: bytes, is_text: bool) -> None:
    assert parse_chunk(data).is_text is is_text


@given(content=st.text(min_size=1))
def test_a_text_is_read_whatever_is_in_it(content: str) -> None:
    chunk = parse_chunk(delta(content=content))

    assert (chunk.text, chunk.kind, chunk.is_text) == (content, ChunkKind.CONTENT, True)
