"""Going on with an answer whose provider died: what the next one is asked, and how its chunks are joined."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.capability import RouteRequest
from meshcore.config_sections import Continuation
from meshcore.mock_script import Faults, begun_answer, play
from meshcore.openai_wire import Chunk, ChunkKind, Usage, parse_chunk, parse_request
from meshcore.openai_wire import Operation as Op
from meshcore.splice import (
    TEXT_MAX_CHARS,
    Begun,
    Seam,
    continuation,
    is_used_up,
    length_reached,
    obstacle,
    way_to_continue,
)

FIRST = b'{"id":"first","object":"chat.completion.chunk","created":1.0,"model":"m","choices":[]}'
ASK = {"role": "user", "content": "many:12"}


def frame(delta: dict[str, Any], *, finish: str | None = None, **fields: Any) -> bytes:
    """Return a frame of whoever goes on."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return msgspec.json.encode({"id": "second", "created": 2, "model": "m-2", "choices": [choice], **fields})


def chunk(delta: dict[str, Any], **fields: Any) -> Chunk:
    return parse_chunk(frame(delta, **fields))


def begun(*texts: str, first: bytes = FIRST) -> Begun:
    """Return an answer of which these texts were delivered."""
    answer = Begun()
    answer.saw(parse_chunk(first))
    for text in texts:
        answer.saw(chunk({"content": text}))
    return answer


def request(*, capability: str = "llm.chat", **fields: Any) -> RouteRequest:
    """Return a call as the gateway makes it."""
    raw = msgspec.json.encode({"model": "m", "messages": [ASK], "stream": True, **fields})
    return RouteRequest(capability, (1, 0), parse_request(Op.CHAT, raw).as_bus_body("m"), stream=True)


def asked(request: RouteRequest) -> dict[str, Any]:
    """Return what the next provider is asked."""
    fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(request.body["openai"]))
    return fields


def go_on(request: RouteRequest, begun: Begun, how: Continuation = Continuation.PREFILL) -> RouteRequest:
    return continuation(request, begun, provider="beta", model="m", how=how)


# What is remembered


def test_what_was_delivered_is_kept_as_text_and_counted() -> None:
    answer = begun("one ", "two ")

    assert (answer.text, answer.chunks, answer.tokens) == ("one two ", 2, 2)
    assert not answer.finished


def test_the_providers_own_count_of_tokens_is_believed_when_it_is_higher() -> None:
    answer = begun("one ")
    answer.saw(chunk({"content": "two"}, usage={"prompt_tokens": 3, "completion_tokens": 7}))

    assert answer.tokens == 7


def test_a_count_of_no_tokens_does_not_take_back_what_was_delivered() -> None:
    answer = begun("one ")
    answer.saw(chunk({"content": "two"}, usage={"prompt_tokens": 3}))

    assert answer.tokens == 2


def test_a_text_beyond_the_bound_is_not_kept() -> None:
    full, over = begun("x" * TEXT_MAX_CHARS), begun("x" * TEXT_MAX_CHARS, "x", "x")

    assert (full.whole, len(full.text)) == (True, TEXT_MAX_CHARS)
    assert (over.whole, over.text) == (False, "")


# Who may go on


def test_a_plain_answer_may_be_continued() -> None:
    plain: dict[str, Any] = {
        "n": 1,
        "tools": [],
        "response_format": None,
        "logprobs": False,
        "temperature": 0.5,
    }

    assert obstacle(request(**plain), begun("hi")) == ""


def test_a_call_from_within_the_mesh_may_be_continued() -> None:
    body = {"params": {"model": "m"}, "input": {"messages": [ASK]}}

    assert obstacle(RouteRequest("llm.chat", (1, 0), body), begun("hi")) == ""


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"n": 2}, "several choices"),
        ({"tools": [{"type": "function"}]}, "has tools"),
        ({"functions": [{"name": "f"}]}, "has functions"),
        ({"logprobs": True}, "has logprobs"),
        ({"top_logprobs": 3}, "has top_logprobs"),
        ({"response_format": {"type": "json_object"}}, "has response_format"),
        ({"echo": True}, "has echo"),
        ({"messages": [ASK, {"role": "assistant", "content": "I"}]}, "ends with an assistant's message"),
    ],
)
def test_a_request_for_more_than_one_text_rules_it_out(fields: dict[str, Any], words: str) -> None:
    assert words in obstacle(request(**fields), begun("hi"))


@pytest.mark.parametrize(
    ("delta", "finish", "words"),
    [
        ({"content": "hi"}, "stop", "finish_reason"),
        ({"tool_calls": [{"index": 0}]}, None, "more than text"),
        ({"content": "hi", "reasoning": "hm"}, None, "more than text"),
        ({"role": "assistant"}, None, "no text yet"),
        ({"content": "x" * (TEXT_MAX_CHARS + 1)}, None, "characters"),
    ],
)
def test_what_was_delivered_may_rule_it_out(delta: dict[str, Any], finish: str | None, words: str) -> None:
    answer = Begun()
    answer.saw(chunk(delta, finish=finish))

    assert words in obstacle(request(), answer)


def test_only_chats_are_continued() -> None:
    assert "only chats" in obstacle(request(capability="llm.completion"), begun("hi"))


@pytest.mark.parametrize("said", [None, {"messages": 7}, {"messages": "hi"}, {"messages": ["hi"]}])
def test_a_request_that_cannot_be_read_is_not_continued(said: Any) -> None:
    assert "can't be read" in obstacle(RouteRequest("llm.chat", (1, 0), {"input": said}), begun("hi"))


@pytest.mark.parametrize(
    ("params", "way"),
    [
        ({"continuation": "prefill"}, Continuation.PREFILL),
        ({"continuation": "vllm"}, Continuation.VLLM),
        ({"continuation": "none"}, Continuation.NONE),
        ({"continuation": "telepathy"}, Continuation.NONE),
        ({"continuation": ["vllm"]}, Continuation.NONE),
        ({}, Continuation.NONE),
    ],
)
def test_a_capability_says_how_its_provider_goes_on(params: dict[str, Any], way: Continuation) -> None:
    assert way_to_continue(params) is way


# What is asked


def test_the_next_provider_is_shown_the_text_so_far_and_pinned() -> None:
    further = go_on(request(temperature=0.5), begun("one ", "two "))

    assert asked(further)["messages"] == [ASK, {"role": "assistant", "content": "one two "}]
    assert asked(further)["temperature"] == 0.5
    assert "continue_final_message" not in asked(further)
    assert further.body["params"] == {"model": "m", "provider": "beta"}
    assert further.body["input"]["messages"] == asked(further)["messages"]


def test_vllm_is_told_to_go_on_with_the_last_message() -> None:
    fields = asked(go_on(request(), begun("one "), Continuation.VLLM))

    assert (fields["continue_final_message"], fields["add_generation_prompt"]) == (True, False)


def test_what_the_client_sent_stays_as_it_was_sent() -> None:
    raw = b'{"model":"m","x":1.50,"messages":[{"role":"user", "y": 2.50}]}'
    call = RouteRequest("llm.chat", (1, 0), parse_request(Op.CHAT, raw).as_bus_body("m"))

    sent = msgspec.json.encode(go_on(call, begun("hi")).body["openai"])

    assert b'"x":1.50' in sent
    assert b'{"role":"user", "y": 2.50}' in sent
    assert call.body["input"]["messages"] == [{"role": "user", "y": 2.5}]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_what_was_delivered_counts_to_the_limit(field: str) -> None:
    limit: dict[str, Any] = {field: 3}
    call, answer = request(**limit), begun("one ", "two ")
    assert not is_used_up(call, answer)
    assert asked(go_on(call, answer))[field] == 1

    answer.saw(chunk({"content": "three"}))

    assert is_used_up(call, answer)


@pytest.mark.parametrize("limit", [None, "3", True])
def test_a_limit_that_is_no_number_is_left_to_the_provider(limit: Any) -> None:
    call = request(max_tokens=limit)

    assert not is_used_up(call, begun("one ", "two "))
    assert asked(go_on(call, begun("one ")))["max_tokens"] == limit


# How it is joined


def test_joined_chunks_carry_id_time_and_model_of_the_first_frame_byte_for_byte() -> None:
    joined = Seam(begun("a")).join(chunk({"content": "b"}, x_unknown=1.5))

    assert joined is not None
    assert joined.data.startswith(b'{"id":"first","created":1.0,"model":"m",')
    assert (joined.text, joined.kind) == ("b", ChunkKind.CONTENT)
    assert msgspec.json.decode(joined.data)["x_unknown"] == 1.5


def test_what_the_first_frame_did_not_say_nobody_says() -> None:
    joined = Seam(begun("a", first=b'{"choices":[]}')).join(chunk({"content": "b"}))

    assert joined is not None
    assert set(msgspec.json.decode(joined.data)) == {"choices"}


def test_nobody_announces_once_more_who_speaks() -> None:
    seam = Seam(begun("a"))

    assert seam.join(chunk({"role": "assistant", "content": ""})) is None
    joined = seam.join(chunk({"role": "assistant", "content": 'my "role" is b'}))

    assert joined is not None
    assert msgspec.json.decode(joined.data)["choices"][0]["delta"] == {"content": 'my "role" is b'}


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[],"x":{"role":1}}',
        b'{"x":{"role":1}}',
        b'{"choices":[{"finish_reason":"stop","x":{"role":1}}]}',
        b'{"choices":[{"delta":null,"finish_reason":"stop","x":{"role":1}}]}',
    ],
)
def test_a_role_elsewhere_is_somebody_elses(data: bytes) -> None:
    joined = Seam(begun("a")).join(parse_chunk(data))

    assert joined is not None
    assert b'{"role":1}' in joined.data


def test_usage_is_that_of_the_whole_answer_and_its_total_stays() -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17, "x_details": {"cached": 2}}
    joined = Seam(begun("one ", "two ")).join(parse_chunk(msgspec.json.encode({"usage": usage})))

    assert joined is not None
    assert joined.usage == Usage(10, 7, 17)
    assert msgspec.json.decode(joined.data)["usage"] == usage | {"prompt_tokens": 10, "completion_tokens": 7}


def test_a_prompt_smaller_than_the_answer_is_not_counted_below_zero() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}
    joined = Seam(begun("one ", "two ")).join(parse_chunk(msgspec.json.encode({"usage": usage})))

    assert joined is not None
    assert joined.usage == Usage(0, 6, 6)


@pytest.mark.parametrize("usage", [{"total_tokens": 5}, {"completion_tokens": 5}, {"prompt_tokens": 5}])
def test_usage_that_says_only_a_part_is_left_as_it_is(usage: dict[str, int]) -> None:
    joined = Seam(begun("one ")).join(parse_chunk(msgspec.json.encode({"usage": usage})))

    assert joined is not None
    assert msgspec.json.decode(joined.data)["usage"] == usage


def test_an_answer_at_its_limit_ends_with_length() -> None:
    last = length_reached(begun("a"))

    assert parse_chunk(last.data) == last
    assert last.finish_reason == "length"
    assert msgspec.json.decode(last.data)["id"] == "first"


# The whole of it

TEXTS = st.lists(st.text(min_size=1), min_size=1, max_size=20)


@given(texts=TEXTS, data=st.data(), usage=st.tuples(st.integers(0, 99), st.integers(0, 99)))
def test_wherever_an_answer_breaks_its_client_gets_one_answer(
    texts: list[str], data: st.DataObject, usage: tuple[int, int]
) -> None:
    cut = data.draw(st.integers(1, len(texts)))
    answer, seam = begun(*texts[:cut]), Seam(begun(*texts[:cut]))
    prompt, completion = usage
    counted = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    rest = [
        chunk({"role": "assistant", "content": ""}),
        *(chunk({"role": "assistant", "content": text}) for text in texts[cut:]),
        chunk({}, finish="stop"),
        chunk({}, usage=counted),
    ]

    joined = [each for each in map(seam.join, rest) if each is not None]
    for each in joined:
        answer.saw(each)

    assert answer.text == "".join(texts)
    assert {msgspec.json.decode(each.data)["id"] for each in joined} == {"first"}
    assert all(parse_chunk(each.data) == each for each in joined)
    assert joined[-1].usage is not None
    assert sum(filter(None, [joined[-1].usage.prompt_tokens, joined[-1].usage.completion_tokens])) == sum(
        usage
    )


@given(chunks=st.integers(1, 30), data=st.data())
def test_a_provider_that_goes_on_from_the_text_gives_no_word_twice_and_none_too_few(
    chunks: int, data: st.DataObject
) -> None:
    whole = play(f"slow:{chunks}x0", Faults()).texts
    cut = data.draw(st.integers(1, chunks))
    ask = [{"role": "user", "content": f"slow:{chunks}x0"}]

    messages = asked(go_on(request(messages=ask), begun(*whole[:cut])))["messages"]
    rest = play(f"slow:{chunks}x0", Faults(), begun=begun_answer(messages)).texts

    assert whole[:cut] + rest == whole
