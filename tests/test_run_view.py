"""What viewers of a run are told."""

import msgspec
import pytest

from meshcore.openai_errors import BadRequest
from meshcore.openai_wire import Operation
from meshcore.run_events import AnyEvent, ChunkEvent, ClaimReason, End, RunStatus
from meshcore.run_record import Record
from meshcore.run_view import (
    PlainAnswer,
    RunAsk,
    first_seq_wanted,
    frame,
    news_in,
    position,
    sse,
    summary,
)
from meshcore.runs import RunState, fold
from meshcore.stream_frames import ViewedEvent
from tests.test_runs import CANCEL, CREATED, RELEASED, claimed

USAGE = {"prompt_tokens": 1}


def said(
    index: int, *, finish_reason: str = "", head: dict[str, object] | None = None, **delta: object
) -> ChunkEvent:
    raw = msgspec.Raw(msgspec.json.encode(delta))
    return ChunkEvent(index=index, delta=raw, finish_reason=finish_reason, frame=head)


def told(event: AnyEvent) -> tuple[str, str, object]:
    """Return id, name and data of a frame."""
    lines = dict(line.split(": ", 1) for line in frame(9, event).decode().splitlines() if line)
    return lines["id"], lines["event"], msgspec.json.decode(lines["data"])


def test_events_are_frames_as_the_design_has_them() -> None:
    end = End(status=RunStatus.COMPLETED, reason="stop", final_seq=9, usage=USAGE)

    assert told(said(3, content="a")) == (
        "9",
        "chunk",
        {"index": 3, "delta": {"content": "a"}, "finish_reason": None},
    )
    assert told(claimed("b", 2, ClaimReason.RESTARTED, 1)) == (
        "9",
        "epoch",
        {"epoch": 2, "reason": "restarted", "node": "node-b", "superseded_from": 1},
    )
    assert told(end) == (
        "9",
        "end",
        {"status": "completed", "reason": "stop", "final_seq": 9, "usage": USAGE},
    )


@pytest.mark.parametrize("event", [CREATED, CANCEL, RELEASED])
def test_the_rest_is_nobodys_business(event: AnyEvent) -> None:
    assert frame(1, event) == b""


def test_a_record_may_begin_before_what_is_wanted() -> None:
    record = Record(1, "id", 4, (said(1), said(2), said(3)))

    assert news_in(record, 4) == (said(2), said(3))
    assert (news_in(record, 0), news_in(record, 6)) == (record.events, ())


def test_behind_the_first_end_nothing_counts() -> None:
    end = End(status=RunStatus.COMPLETED, final_seq=5)
    record = Record(1, "id", 4, (said(1), end, said(2), end))

    assert news_in(record, 0) == (said(1), end)


def restarted() -> RunState:
    return fold(
        [CREATED, claimed("a", 1), said(1, content="x"), claimed("b", 2, ClaimReason.RESTARTED, 1), said(1)]
    )


def ask(after: int | None = None, *, history: bool = False) -> RunAsk:
    return RunAsk(run_id="r", what="attach", after=after, history=history)


def test_a_late_viewer_begins_with_the_generation() -> None:
    assert first_seq_wanted(ask(), restarted()) == 3
    assert first_seq_wanted(ask(history=True), restarted()) == 0
    assert first_seq_wanted(ask(2, history=True), restarted()) == 2


def test_of_a_run_that_ended_everybody_gets_the_end() -> None:
    state = fold([End(status=RunStatus.COMPLETED, final_seq=6)], restarted())

    assert first_seq_wanted(ask(6), state) == first_seq_wanted(ask(99), state) == 5


@pytest.mark.parametrize(
    ("header", "query", "after"), [("", "", None), ("5", "", 5), ("", "4", 4), ("5", "4", 5), ("0", "", 0)]
)
def test_a_reconnects_header_is_newer_than_its_address(header: str, query: str, after: int | None) -> None:
    assert position(header, query) == after


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "٣", "9" * 19])
def test_a_position_is_a_number(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        position("", text)

    assert caught.value.param == "starting_after"


def test_a_summary_says_how_a_run_stands() -> None:
    shown = summary("r", restarted(), RunStatus.WAITING, log_id="abcdef")

    assert (shown["status"], shown["owner"], shown["epoch"], shown["takeovers"]) == (
        "waiting",
        "node-b",
        2,
        1,
    )
    assert (shown["last_seq"], shown["text"], shown["reason"]) == (5, "", None)


def plain(operation: Operation = Operation.CHAT) -> PlainAnswer:
    return PlainAnswer(operation, run_id="r", model="asked", created=1)


def test_a_plain_stream_has_the_frame_that_the_answer_began_with() -> None:
    answer = plain()

    chunks = [said(1, content="a", head={"id": "c1", "model": "m"}), said(2, finish_reason="stop")]
    first, second = map(msgspec.json.decode, answer.chunks(chunks))

    assert first["choices"][0]["delta"] == {"role": "assistant", "content": "a"}
    assert {second[name] for name in ("id", "model", "object")} == {"c1", "m", "chat.completion.chunk"}
    assert second["choices"][0] == {"index": 0, "delta": {}, "finish_reason": "stop"}
    assert msgspec.json.decode(answer.usage(USAGE))["usage"] == USAGE


def test_a_whole_answer_joins_texts_and_tool_calls() -> None:
    calls = [
        [{"index": 0, "id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}],
        [{"index": 0, "function": {"arguments": ":1}"}}],
        [{"index": 1, "id": "t2", "function": {"name": "g", "arguments": ""}}],
    ]
    chunks = [said(1, content="a "), said(2, content="b")]
    chunks += [said(3 + n, tool_calls=call) for n, call in enumerate(calls)]

    answer = msgspec.json.decode(plain().whole([*chunks, said(6, finish_reason="tool_calls")], USAGE))

    message = answer["choices"][0]["message"]
    assert (answer["object"], answer["usage"], message["content"]) == ("chat.completion", USAGE, "a b")
    first, second = message["tool_calls"]
    assert (first["id"], first["function"]) == ("t1", {"name": "f", "arguments": '{"a":1}'})
    assert second["function"]["name"] == "g"
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


def test_a_text_completion_has_text() -> None:
    answer = plain(Operation.COMPLETION)

    (piece,) = map(msgspec.json.decode, answer.chunks([said(1, content="a")]))
    whole = msgspec.json.decode(answer.whole([said(1, content="a"), said(2, content="b")], None))

    assert (piece["choices"][0]["text"], whole["choices"][0]["text"]) == ("a", "ab")
    assert piece["object"] == whole["object"] == "text_completion"


def test_a_line_break_between_tokens_of_foreign_json_ends_no_field() -> None:
    event = ViewedEvent(seq=3, event="chunk", data=msgspec.Raw(b'{"index":\r1,\n"delta":{}}'))

    assert sse(event) == b'id: 3\nevent: chunk\ndata: {"index": 1, "delta":{}}\n\n'
