"""The event-stream decoder: whatever the network does to the bytes, the events are the same."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import FrameError
from meshcore.sse import EventDecoder, SseDecoder, SseEvent, encode


def decode_whole(stream: bytes) -> list[SseEvent]:
    decoder = EventDecoder()
    return decoder.feed(stream) + decoder.close()


def decode_cut(stream: bytes, cuts: list[int]) -> list[SseEvent]:
    decoder = EventDecoder()
    events: list[SseEvent] = []
    borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    for begin, end in pairwise(borders):
        events += decoder.feed(stream[begin:end])
    return events + decoder.close()


LINES = st.sampled_from(
    [
        b"data: {}",
        b"data:tight",
        b"data:  two spaces",
        "data: grüße 🙂".encode(),
        b"data",
        b": a comment",
        b"event: error",
        b"id: 7",
        b"unknown: field",
        b"data: a\x0bb\x1cc",
        b"",
        b"",
    ]
)
ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
STREAMS = st.lists(st.tuples(LINES, ENDS)).map(lambda lines: b"".join(line + end for line, end in lines))


@given(stream=STREAMS | st.binary(max_size=200), cuts=st.lists(st.integers(0, 400), max_size=12))
def test_any_split_of_the_bytes_gives_the_same_events(stream: bytes, cuts: list[int]) -> None:
    assert decode_cut(stream, cuts) == decode_whole(stream)


@given(stream=STREAMS)
def test_one_byte_at_a_time_gives_the_same_events(stream: bytes) -> None:
    assert decode_cut(stream, list(range(len(stream)))) == decode_whole(stream)


@given(data=st.binary(min_size=1).filter(lambda data: not data.endswith((b"\n", b"\r"))))
def test_what_is_encoded_is_decoded_to_the_same_lines(data: bytes) -> None:
    events = EventDecoder().feed(encode(data, "chunk"))

    joined = b"\n".join(data.splitlines())
    assert events == ([SseEvent(joined, "chunk")] if joined else [])


def test_line_ends_may_be_lf_crlf_or_cr() -> None:
    decoder = SseDecoder()

    assert decoder.feed(b"data: a\n\ndata: b\r\n\r\ndata: c\r\r") == [b"a", b"b", b"c"]


def test_a_line_feed_that_arrives_after_its_carriage_return_ends_no_second_line() -> None:
    decoder = SseDecoder()

    assert decoder.feed(b"data: a\r") == []
    assert decoder.feed(b"") == []
    assert decoder.feed(b"\ndata: b\r") == []
    assert decoder.feed(b"\n\r\n") == [b"a\nb"]


def test_a_line_feed_behind_an_unfinished_line_ends_that_line() -> None:
    decoder = SseDecoder()

    assert decoder.feed(b"id: 1\rdata: a") == []
    assert decoder.feed(b"\n\n") == [b"a"]


def test_several_data_lines_are_joined_by_line_feeds() -> None:
    assert decode_whole(b"data: {\ndata: }\n\n") == [SseEvent(b"{\n}")]


def test_comments_unknown_fields_and_empty_events_give_nothing() -> None:
    assert decode_whole(b": ping\n\nretry: 5\nfoo\n\nevent: only-a-name\n\ndata:\n\n") == []


def test_a_name_belongs_to_its_own_event_only() -> None:
    events = decode_whole(b"event: done\ndata: 1\n\ndata: 2\n\n")

    assert events == [SseEvent(b"1", "done"), SseEvent(b"2")]


def test_a_byte_order_mark_at_the_start_is_not_part_of_the_first_line() -> None:
    assert decode_cut(b"\xef\xbb\xbfdata: a\n\n", [1, 2]) == [SseEvent(b"a")]


def test_a_byte_order_mark_behind_the_first_event_is_part_of_its_line() -> None:
    assert decode_whole(b"data: a\n\n\xef\xbb\xbfdata: b\n\n") == [SseEvent(b"a")]


def test_plain_events_behind_an_unfinished_one_wait_for_its_end() -> None:
    decoder = EventDecoder()

    assert decoder.feed(b"event: done\n") == []
    assert decoder.feed(b"data: a\n\ndata: b\n\n") == [SseEvent(b"a", "done"), SseEvent(b"b")]


def test_an_event_whose_empty_line_never_came_is_given_out_at_the_end() -> None:
    decoder = SseDecoder()

    assert decoder.feed(b"data: [DONE]") == []
    assert decoder.close() == [b"[DONE]"]
    assert decoder.close() == []


def test_an_event_of_exactly_the_bound_passes_and_one_byte_more_is_refused() -> None:
    line = b"data: abcd"

    assert SseDecoder(max_bytes=len(line)).feed(line + b"\n\n") == [b"abcd"]
    with pytest.raises(FrameError, match="at most 9 bytes"):
        SseDecoder(max_bytes=len(line) - 1).feed(line + b"\n\n")


def test_a_line_that_never_ends_is_refused_at_the_bound() -> None:
    decoder = SseDecoder(max_bytes=100)
    decoder.feed(b"x" * 100)

    with pytest.raises(FrameError, match="at most 100 bytes"):
        decoder.feed(b"x")


def test_many_short_data_lines_of_one_event_are_refused_at_the_bound() -> None:
    decoder = SseDecoder(max_bytes=100)

    with pytest.raises(FrameError, match="at most 100 bytes"):
        decoder.feed(b"data: x\n" * 100)
