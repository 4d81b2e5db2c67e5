"""What a run is asked for, and how it is named."""

from datetime import UTC, datetime

import msgspec
import pytest

from meshcore.openai_errors import BadRequest
from meshcore.openai_wire import Operation
from meshcore.run_request import (
    idempotent_run_id,
    log_of,
    new_run_id,
    parse_run,
    parse_stored,
    same_request,
)

CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"x":1.50}'
BUS = b'{"capability":"llm.embedding","body":{"input":{"input":"a"}}}'
LOG = "abcdef0123"


def test_a_chat_becomes_a_streamed_call_with_the_clients_own_object() -> None:
    route = parse_run(CHAT).route([], caller="alice", deadline=5.0, trace_id="t")

    assert (route.capability, route.stream, route.caller) == ("llm.chat", True, "alice")
    assert (route.deadline_ms, route.params()["model"]) == (5000.0, "m")
    assert b'"x":1.50' in msgspec.json.encode(route.body)


@pytest.mark.parametrize(
    ("fields", "says_usage"), [(b"", True), (b'"stream":true,', False), (b'"stream_options":{},', False)]
)
def test_usage_is_asked_for_whoever_expects_a_whole_answer(fields: bytes, says_usage: bool) -> None:
    raw = CHAT.replace(b"{", b"{" + fields, 1)

    route = parse_run(raw).route([], caller="", deadline=1.0, trace_id="")

    assert (b"include_usage" in msgspec.json.encode(route.body)) is says_usage


def test_any_other_capability_is_a_call_that_comes_whole() -> None:
    route = parse_run(BUS).route([], caller="", deadline=1.0, trace_id="")

    assert (route.capability, route.stream) == ("llm.embedding", False)
    assert route.body == {"input": {"input": "a"}}


@pytest.mark.parametrize(
    ("raw", "param"),
    [
        (b"[]", "body"),
        (b'{"model":"m"}', "messages"),
        (CHAT.replace(b"{", b'{"n":2,', 1), "n"),
        (b'{"capability":"","body":{}}', "capability"),
        (b'{"capability":"x","body":[]}', "body"),
    ],
)
def test_what_is_no_request_is_named(raw: bytes, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse_run(raw)

    assert caught.value.param == param


def test_a_stored_request_is_the_one_that_was_made() -> None:
    assert parse_stored("llm.chat", CHAT) == parse_run(CHAT)
    assert parse_stored("llm.embedding", BUS) == parse_run(BUS)
    text = b'{"model":"m","prompt":"a"}'
    assert parse_stored("llm.completion", text) == parse_run(text, Operation.COMPLETION)


def test_a_stored_request_of_another_version_is_refused() -> None:
    with pytest.raises(BadRequest, match="llm\\.dance"):
        parse_stored("llm.dance", CHAT)


def test_a_runs_id_says_its_log() -> None:
    drawn = new_run_id(LOG, "01" * 16, datetime(2026, 1, 1, tzinfo=UTC))

    assert drawn == "run_abcdef_019b76daa800" + "01" * 10
    assert log_of(drawn) == log_of(idempotent_run_id(LOG, "alice", "k")) == "abcdef"


@pytest.mark.parametrize("word", ["", "run_abcdef", "run_abcdef_1", "run_abcdef_" + "0" * 33, "RUN_abcdef_"])
def test_what_is_no_id_names_no_log(word: str) -> None:
    assert log_of(word) is None


def test_a_key_is_one_run_for_each_client() -> None:
    mine = idempotent_run_id(LOG, "alice", "k")

    assert mine == idempotent_run_id(LOG, "alice", "k")
    assert len({mine, idempotent_run_id(LOG, "alicek", ""), idempotent_run_id(LOG, "bob", "k")}) == 3


def test_order_and_spacing_make_no_other_request() -> None:
    assert same_request(b'{"a":1,"b":[2]}', b'{ "b": [2], "a": 1 }')
    assert not same_request(b'{"a":1}', b'{"a":2}')
