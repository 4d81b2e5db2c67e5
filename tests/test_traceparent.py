"""Trace ids that other systems understand."""

from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.traceparent import trace_context, trace_ids

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def ones(count: int) -> bytes:
    return b"\x11" * count


def test_a_call_that_comes_with_a_trace_keeps_it_and_passes_on_a_parent_of_ours() -> None:
    context = trace_context(f"00-{TRACE}-{PARENT}-00", ones)

    assert context.trace_id == TRACE
    assert context.traceparent == f"00-{TRACE}-{'11' * 8}-00"


def test_a_later_version_may_say_more() -> None:
    assert trace_context(f"cc-{TRACE}-{PARENT}-01-what-the-future-holds", ones).trace_id == TRACE


@pytest.mark.parametrize(
    "header",
    [
        "",
        "garbage",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01-more",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"00-{TRACE}-{PARENT}-01\r\nX-Evil: 1",
        f"00-{TRACE}-{PARENT}",
    ],
)
def test_a_call_without_a_trace_that_can_be_read_begins_one(header: str) -> None:
    context = trace_context(header, ones)

    assert context.trace_id == "11" * 16
    assert context.traceparent == f"00-{'11' * 16}-{'11' * 8}-01"


@given(st.text(max_size=80))
def test_whatever_comes_what_is_passed_on_is_well_formed(header: str) -> None:
    context = trace_context(trace_context(header, ones).traceparent, ones)

    assert len(context.trace_id) == 32
    assert len(context.traceparent) == 55


def test_new_trace_ids_are_the_sources_bytes_each_used_once() -> None:
    portions: list[bytes] = []

    def source(count: int) -> bytes:
        portions.append(bytes((len(portions) + place // 16) % 256 for place in range(count)))
        return portions[-1]

    ids = list(islice(trace_ids(source), 300))

    assert "".join(ids) == b"".join(portions).hex()[: 300 * 32]
    assert (len(portions), len(ids[0])) == (2, 32)
