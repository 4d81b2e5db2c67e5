"""Messages to frames and back."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import framing
from meshcore.capability import Manifest
from meshcore.errors import FrameError
from meshcore.frames import (
    FRAME_MAX_BYTES,
    MESSAGE_MAX_BYTES,
    DrainStepItem,
    GoingIdle,
    Health,
    Hello,
    InboundAck,
    Rewind,
    Telemetry,
    TelemetryAck,
)

AT = datetime(2026, 1, 1, tzinfo=UTC)
HELLO = Hello(
    node_id="node-a", instance_id="i1", spool_id="s1", clock=AT, manifest=Manifest(node_id="node-a")
)


def test_what_is_written_is_read_back() -> None:
    frames = [HELLO, Telemetry(after=0, to=3, items=(msgspec.Raw(b'{"seq":1}'),), dropped={"trace": 2})]

    message = b"\n".join(framing.encode(frame) for frame in frames)
    hello, telemetry = framing.reader_from_node().read(message)

    assert hello == HELLO
    assert (telemetry.after, telemetry.to, telemetry.dropped) == (0, 3, {"trace": 2})
    assert [bytes(item) for item in telemetry.items] == [b'{"seq":1}']


def test_unknown_keys_and_unknown_types_are_ignored_without_a_word() -> None:
    reader = framing.reader_from_node()

    frames = reader.read('{"type":"going_idle","colour":"blue"}\n{"type":"from_the_future","x":[1]}')

    assert frames == [GoingIdle()]
    assert reader.malformed == 0


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("not json", "malformed"),
        ('{"type":"hello"}', "node_id"),
        ('{"type":"telemetry","after":-1,"to":2}', "$.after"),
        ('{"type":"telemetry","after":0,"to":9223372036854775808}', "$.to"),
        ('{"type":"inbound_ack","bufferId":7}', "$.bufferId"),
        ('{"no":"type"}', "type"),
        ('["type"]', "array"),
        (
            '{"type":"health","no":1,"at":"2026-01-01T00:00:00","node":{"state":"running","accepting":true}}',
            "at",
        ),
        ('{"type":"inbound_ack","bufferId":"' + "x" * FRAME_MAX_BYTES + '"}', "bytes"),
        ("[" * 100_000, "array"),
    ],
)
def test_a_malformed_line_costs_only_itself_and_is_counted(line: str, named: str) -> None:
    reader = framing.reader_from_node()

    frames = reader.read(f'{line}\n\n{{"type":"inbound_ack","bufferId":"b1"}}\n')

    assert frames == [InboundAck(bufferId="b1")]
    assert reader.malformed == 1
    assert named in reader.last_error


def test_what_is_nested_too_deeply_is_malformed() -> None:
    reader = framing.reader_from_dashboard()

    frames = reader.read('{"type":"inbound","event":' + '{"a":' * 5000 + "1" + "}" * 5001)

    assert frames == []
    assert reader.malformed == 1
    assert reader.last_error == "nested too deeply"


def test_bytes_that_are_no_text_are_malformed() -> None:
    reader = framing.reader_from_node()

    assert reader.read(b'{"type":"\xff"}') == []
    assert reader.malformed == 1


def test_half_a_character_is_malformed() -> None:
    reader = framing.reader_from_node()

    assert reader.read('{"type":"inbound_ack","bufferId":"\ud800"}') == [InboundAck(bufferId="?")]


def test_a_message_beyond_its_bound_is_refused_whole() -> None:
    message = '{"type":"going_idle"}\n' * (MESSAGE_MAX_BYTES // 22 + 1)

    with pytest.raises(FrameError, match=f"at most {MESSAGE_MAX_BYTES}"):
        framing.reader_from_node().read(message)


def test_a_frame_beyond_its_bound_is_not_written() -> None:
    with pytest.raises(FrameError, match=f"at most {FRAME_MAX_BYTES}"):
        framing.encode(InboundAck(bufferId="x" * FRAME_MAX_BYTES))


def test_each_direction_has_its_own_frames() -> None:
    assert framing.reader_from_dashboard().read(framing.encode(Rewind(hwm=4))) == [Rewind(hwm=4)]
    assert framing.reader_from_node().read(framing.encode(TelemetryAck(to=4))) == []


def test_an_item_is_read_alone_and_names_its_bad_field() -> None:
    item = DrainStepItem(seq=7, at=AT, generation=2, step="drained")

    assert framing.decode_item(framing.encode_item(item)) == item
    with pytest.raises(FrameError, match="generation"):
        framing.decode_item(b'{"kind":"drain_step","seq":7,"at":"2026-01-01T00:00:00Z","step":"drained"}')


@pytest.mark.parametrize(
    ("raw", "number"), [(b'{"seq":7,"kind":"?"}', 7), (b"{}", 0), (b'{"seq":"7"}', 0), (b"broken", 0)]
)
def test_the_number_of_a_broken_item_is_found_where_there_is_one(raw: bytes, number: int) -> None:
    assert framing.number_of(raw) == number


@given(st.one_of(st.text(), st.binary()))
def test_no_message_breaks_the_reader(message: str | bytes) -> None:
    for reader in (framing.reader_from_node(), framing.reader_from_dashboard()):
        reader.read(message)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    sorted(set(Health.__struct_fields__) | set(Hello.__struct_fields__) | {"after", "to", "items"})
)
NAMES = st.sampled_from(["hello", "health", "telemetry", "inbound_ack", "going_idle", "unknown"])


@given(NAMES, st.dictionaries(FIELDS, JSON, max_size=8))
def test_a_frame_of_anything_is_read_or_counted_or_unknown(name: str, fields: dict[str, object]) -> None:
    reader = framing.reader_from_node()

    frames = reader.read(msgspec.json.encode({**fields, "type": name}))

    assert len(frames) + reader.malformed == (0 if name == "unknown" else 1)


def test_telemetry_by_http_names_its_spool() -> None:
    pushed = framing.decode_pushed(b'{"spool_id":"s1","after":0,"to":2,"items":[{"seq":1}],"new":1}')

    assert (pushed.spool_id, pushed.after, pushed.to) == ("s1", 0, 2)
    assert [bytes(item) for item in pushed.items] == [b'{"seq":1}']


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"after":0,"to":2}', "spool_id"),
        (b'{"spool_id":"","after":0,"to":2}', "spool_id"),
        (b'{"spool_id":"a b","after":0,"to":2}', "spool_id"),
        (b'{"spool_id":"' + b"x" * 65 + b'","after":0,"to":2}', "spool_id"),
        (b'{"spool_id":"s1","after":2,"to":2}', "to=2"),
        (b'{"spool_id":"s1","after":-1,"to":2}', "after"),
        (b'{"spool_id":"s1","after":0,"to":2,"items":{}}', "items"),
        (b'{"spool_id":"s1","after":0,"to":2,"type":"health"}', "type"),
        (b'{"spool_id":' * 100_000, "spool_id"),
        (b'{"x":' + b"[" * 100_000, "nested too deeply"),
        (b"", "truncated"),
        (b"\xff", "malformed"),
    ],
)
def test_telemetry_by_http_that_cannot_be_read_is_refused_and_named(body: bytes, named: str) -> None:
    with pytest.raises(FrameError, match=named):
        framing.decode_pushed(body)
