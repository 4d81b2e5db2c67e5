"""A streamed answer is read however the network cut it, and judged at its end."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import CallError, FrameError
from meshcore.openai_stream import StreamReader
from meshcore.openai_wire import DONE_EVENT, Chunk
from meshcore.sse import EVENT_MAX_BYTES, encode
from tests.test_openai_wire import CONTENT, FINISH, ROLE, USAGE, delta


def stream_of(*payloads: bytes) -> bytes:
    return b"".join(map(encode, payloads))


def read_whole(stream: bytes) -> list[Chunk]:
    reader = StreamReader()
    chunks = [*reader.feed(stream), *reader.close()]
    assert reader.failure is None
    return chunks


ANSWER = [ROLE, CONTENT, delta(content="grüße"), FINISH, USAGE]


@given(cuts=st.lists(st.integers(0, 800), max_size=10))
def test_any_split_of_a_streamed_answer_gives_the_same_chunks(cuts: list[int]) -> None:
    stream = stream_of(*ANSWER) + DONE_EVENT
    reader = StreamReader()
    borders = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]

    chunks = [chunk for begin, end in pairwise(borders) for chunk in reader.feed(stream[begin:end])]

    assert [(each.kind, each.text) for each in chunks] == [
        (each.kind, each.text) for each in read_whole(stream)
    ]
    assert [chunk.data for chunk in chunks] == ANSWER
    assert reader.done


def test_what_follows_done_is_ignored() -> None:
    stream = stream_of(CONTENT) + DONE_EVENT + stream_of(b"garbage")

    assert [chunk.data for chunk in read_whole(stream)] == [CONTENT]
    reader = StreamReader()
    reader.feed(stream)
    assert reader.feed(stream) == []


def test_a_stream_may_end_with_a_finish_reason_and_without_done() -> None:
    assert len(read_whole(stream_of(CONTENT, FINISH))) == 2


def test_a_stream_may_end_with_done_and_without_a_finish_reason() -> None:
    assert len(read_whole(stream_of(CONTENT) + b"data: [DONE]")) == 1


@pytest.mark.parametrize("stream", [b"", b": ping\n\n", stream_of(ROLE), stream_of(ROLE, CONTENT)])
def test_a_stream_that_is_cut_off_is_a_failure_behind_its_chunks(stream: bytes) -> None:
    reader = StreamReader()
    reader.feed(stream)

    assert (reader.failure, reader.close()) == (None, [])
    assert isinstance(reader.failure, FrameError)
    assert "before its end" in str(reader.failure)


@pytest.mark.parametrize(
    ("wrong", "kind", "words"),
    [
        (b'{"error":{"message":"broken"}}', CallError, "broken"),
        (b"garbage", FrameError, "chunk"),
    ],
)
def test_what_is_wrong_is_behind_the_chunks_before_it(
    wrong: bytes, kind: type[Exception], words: str
) -> None:
    reader = StreamReader()

    chunks = reader.feed(stream_of(CONTENT, wrong, CONTENT))

    assert [chunk.data for chunk in chunks] == [CONTENT]
    assert isinstance(reader.failure, kind)
    assert words in str(reader.failure)


def test_an_event_that_is_too_long_is_a_failure() -> None:
    reader = StreamReader()

    assert reader.feed(b"data: " + b"x" * EVENT_MAX_BYTES) == []
    assert isinstance(reader.failure, FrameError)
