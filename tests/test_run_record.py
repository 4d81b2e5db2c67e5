"""What one append stores."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.errors import FrameError
from meshcore.run_events import ChunkEvent, text_in
from meshcore.run_record import (
    EVENTS_MAX_BYTES,
    RECORD_MAX_BYTES,
    Record,
    TooLarge,
    append_ids,
    batches,
    cut,
    decode,
    encode,
    end_alone,
    is_plain,
)
from tests.test_runs import CANCEL, CREATED, RELEASED, STARTED, chunk, end

EVENTS = (*STARTED, chunk(1, "größer"), CANCEL, RELEASED, end(6))


def test_a_record_comes_back_as_it_was() -> None:
    record = Record(1, "id", 7, EVENTS)

    data = encode(record)

    assert decode(data) == record
    assert json.loads(data)[:3] == [1, "id", 7]
    assert record.last_seq == 12


def test_a_record_has_events_and_at_most_so_many_bytes() -> None:
    fits = chunk(1, "x" * (RECORD_MAX_BYTES - 100))

    assert len(encode(Record(1, "id", 1, (fits,)))) <= RECORD_MAX_BYTES
    with pytest.raises(TooLarge, match="at most 262144"):
        encode(Record(1, "id", 1, (chunk(1, "x" * RECORD_MAX_BYTES),)))
    with pytest.raises(ValueError, match="without events"):
        encode(Record(1, "id", 1, ()))


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_what_is_no_record_is_refused(data: bytes) -> None:
    with pytest.raises(FrameError, match="record"):
        decode(data)


@pytest.mark.parametrize(
    "parts", [[2, "id", 1, [{"type": "released", "reason": ""}]], [1, "id", 1, []], [1, "id", 0, [{}]]]
)
def test_a_record_of_another_form_is_refused(parts: list[object]) -> None:
    with pytest.raises(FrameError, match="record"):
        decode(json.dumps(parts).encode())


def test_what_a_newer_version_adds_to_an_event_is_passed_over() -> None:
    data = b'[1,"id",1,[{"type":"released","reason":"draining","since":"today"}]]'

    assert decode(data).events == (RELEASED,)


@given(st.lists(st.sampled_from([1, 80_000, 131_000, 261_000]), max_size=8))
def test_events_are_put_into_as_many_records_as_they_need(sizes: list[int]) -> None:
    events = [chunk(index, "x" * size) for index, size in enumerate(sizes, start=1)]

    found = list(batches(events))

    assert [event for batch in found for event in batch] == events
    for batch in found:
        encode(Record(1, "f" * 32, 1 << 62, batch))


def test_an_event_that_no_record_holds_is_refused() -> None:
    request = msgspec.Raw(b'"%s"' % (b"x" * EVENTS_MAX_BYTES))

    with pytest.raises(TooLarge, match="expected at most"):
        list(batches([msgspec.structs.replace(CREATED, request=request)]))


@given(st.text(min_size=1, max_size=300), st.integers(1, 40))
def test_a_long_chunk_becomes_several_with_the_same_text(text: str, max_characters: int) -> None:
    delta = msgspec.Raw(msgspec.json.encode({"role": "assistant", "content": text}))

    pieces = cut(ChunkEvent(index=5, delta=delta, finish_reason="stop"), max_characters=max_characters)

    assert "".join(text_in(piece.delta) for piece in pieces) == text
    assert [piece.index for piece in pieces] == list(range(5, 5 + len(pieces)))
    assert [piece.finish_reason for piece in pieces] == [""] * (len(pieces) - 1) + ["stop"]
    assert all(len(text_in(piece.delta)) <= max_characters for piece in pieces)
    assert msgspec.json.decode(pieces[0].delta)["role"] == "assistant"


def test_a_record_is_plain_that_has_nothing_but_chunks() -> None:
    records = [(chunk(1), chunk(2)), (chunk(1), end(4)), STARTED]

    assert [is_plain(Record(1, "id", 1, tuple(events))) for events in records] == [True, False, False]


def test_of_an_ended_run_the_first_end_stays() -> None:
    record = Record(1, "id", 3, (chunk(1), end(4), end(5)))

    assert end_alone(record) == Record(1, "id", 4, (end(4),))
    assert end_alone(Record(1, "id", 1, (CREATED,))).events == (CREATED,)


def test_each_append_has_an_id_of_its_own() -> None:
    ids = append_ids(lambda count: "ab" * count)

    assert [next(ids), next(ids)] == ["ab" * 12 + "00000001", "ab" * 12 + "00000002"]
