"""The events of a run: chunks and what is beside them, texts and what is more than text."""

import msgspec
import pytest

from meshcore.run_events import beside_chunks, chunks_in, read_delta, size_of, text_in
from tests.test_runs import CANCEL, STARTED, chunk, end


def test_chunks_are_told_from_what_is_beside_them() -> None:
    events = [*STARTED, chunk(1), CANCEL, chunk(2), end(6)]

    assert chunks_in(events) == [chunk(1), chunk(2)]
    assert beside_chunks(events) == [*STARTED, CANCEL, end(6)]
    assert (chunks_in([]), beside_chunks([chunk(1)])) == ([], [])


def test_the_size_of_chunks_is_that_of_their_deltas() -> None:
    assert size_of([chunk(1, "a"), chunk(2, "größer")]) == len('{"content":"a"}{"content":"größer"}'.encode())


@pytest.mark.parametrize(
    ("delta", "beyond"),
    [
        (b'{"content":"a","role":"assistant"}', False),
        (b'{"content":"","tool_calls":[{"index":0}]}', True),
        (b'{"content":["a"]}', True),
        (b'{"content":null,"refusal":null}', False),
    ],
)
def test_a_delta_knows_whether_there_is_more_in_it_than_text(delta: bytes, beyond: bool) -> None:
    assert read_delta(msgspec.Raw(delta))[1] is beyond


@pytest.mark.parametrize(
    ("delta", "text"),
    [
        (b'{"content":"hi"}', "hi"),
        (b'{"content":null}', ""),
        (b'{"role":"assistant"}', ""),
        (b'{"content":[{"text":"hi"}]}', ""),
    ],
)
def test_only_content_is_text(delta: bytes, text: str) -> None:
    assert text_in(msgspec.Raw(delta)) == text
