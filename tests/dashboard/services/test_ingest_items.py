"""Telemetry items are checked one by one."""

import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.services import columns, ingest_items
from dashboard.services.ingest_items import Kept, Sorted
from meshcore.frames import BATCH_MAX_ITEMS, Telemetry

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AT = "2026-01-01T11:59:59Z"
STAMP = columns.stamp_adapter()


def trace(seq: int = 1, **changes: Any) -> dict[str, Any]:
    call = {
        "trace_id": "t1",
        "capability": "llm.chat",
        "started_at": AT,
        "provider": "alpha",
        "duration_ms": 12.5,
    }
    return {"kind": "trace", "seq": seq, "at": AT, "trace": {**call, **changes}}


def transition(**changes: Any) -> dict[str, Any]:
    item = {
        "kind": "transition",
        "seq": 1,
        "at": AT,
        "key": "alpha",
        "from_state": "closed",
        "to_state": "open",
    }
    return {**item, **changes}


def histogram(**changes: Any) -> dict[str, Any]:
    item = {"kind": "histogram", "seq": 1, "at": AT, "provider": "alpha", "capability": "llm.chat"}
    return {**item, "outcome": "ok", "counts": {"5": 1}, **changes}


def called(kept: Kept) -> dict[str, Any]:
    """Return the two rows of a call, without their id, by the names of their columns."""
    assert kept.trace is not None
    trace, detail, _ = kept.trace
    return {
        **dict(zip(ingest_items.TRACES.columns[2:], trace, strict=True)),
        **dict(zip(ingest_items.DETAILS.columns[1:], detail, strict=True)),
    }


def sort_out(*items: Any, after: int = 0, to: int = 100) -> Sorted:
    raws = tuple(
        msgspec.Raw(item if isinstance(item, bytes) else msgspec.json.encode(item)) for item in items
    )
    return ingest_items.sort_out(Telemetry(after=after, to=to, items=raws), node_id=7, now=NOW)


def test_a_call_is_a_thin_row_and_its_detail() -> None:
    attempts = [
        {"n": 1, "node": "node-a", "provider": "alpha", "code": "timeout", "outcome": "error"},
        {"n": 2, "node": "node-b", "provider": "beta"},
    ]
    candidates = [{"node": "node-a", "provider": "gamma", "reason": "breaker_open", "detail": "41 s left"}]

    found = sort_out(
        trace(attempts=attempts, candidates=candidates, why="failover", routed_via="node-b", message="m")
    )

    (kept,) = found.kept
    row = called(kept)
    assert (row["trace_id"], row["node_id"], row["received_at"], row["hops"]) == ("t1", 7, STAMP(NOW), 2)
    assert (row["why"], row["routed_via"], row["duration_ms"], row["outcome"]) == (
        "failover",
        "node-b",
        12.5,
        "ok",
    )
    assert json.loads(row["attempts"])[0]["code"] == "timeout"
    assert json.loads(row["candidates"]) == candidates
    assert row["message"] == "m"


def test_splices_and_passed_over_aliases_stand_beside_the_call() -> None:
    splice = {
        "at_ms": 914.0,
        "after_chunks": 42,
        "from_node": "node-a",
        "from_provider": "alpha",
        "to_node": "node-b",
        "to_provider": "beta",
        "reason": "partition",
    }
    skip = {"entry": "gamma/large", "reason": "no_tools"}

    found = sort_out(trace(splices=[splice], alias_skips=[skip]), trace(2))

    spliced, plain = map(called, found.kept)
    assert (json.loads(spliced["splices"]), json.loads(spliced["alias_skips"])) == ([splice], [skip])
    assert (plain["splices"], plain["alias_skips"]) == ("[]", "[]")


def test_each_kind_is_kept_as_what_it_is() -> None:
    step = {"kind": "drain_step", "seq": 4, "at": AT, "generation": 1, "step": "drained"}

    found = sort_out(trace(1), transition(seq=2), histogram(seq=3), step)

    first, second, third, fourth = found.kept
    assert first.trace is not None
    assert second.transition is not None
    moved = dict(zip(ingest_items.TRANSITIONS.columns, second.transition, strict=True))
    assert (moved["to_state"], moved["received_at"]) == ("open", STAMP(NOW))
    assert third.sums is not None
    assert fourth.step is not None
    assert found.refused == []


def test_names_that_callers_chose_are_cut() -> None:
    found = sort_out(trace(model_asked="x" * 5000, caller="c" * 5000, code="e" * 5000))

    row = called(found.kept[0])
    assert (len(row["model_asked"]), len(row["caller"]), len(row["code"])) == (200, 100, 40)


def test_nul_characters_are_replaced() -> None:
    found = sort_out(trace(message="a\x00b", model_asked="\x00"))

    row = called(found.kept[0])
    assert (row["model_asked"], row["message"]) == ("\ufffd", "a\ufffdb")


@pytest.mark.parametrize(
    ("item", "named"),
    [
        (trace(trace_id=""), "trace_id"),
        (trace(trace_id="x" * 65), "trace_id"),
        (trace(capability="x" * 101), "capability"),
        (trace(provider="x" * 101), "provider"),
        (trace(run_id="x" * 81), "run_id"),
        (trace(outcome="so so"), "outcome='so so'"),
        (trace(duration_ms=-1), "duration_ms"),
        (trace(ttft_ms=1e300), "ttft_ms"),
        (trace(tokens_in=-1), "tokens_in"),
        (trace(tokens_out=2**40), "tokens_out"),
        (trace(started_at="0001-01-01T00:00:00Z"), "started_at"),
        (trace(started_at="2026-01-01T00:00:00"), "started_at"),
        (trace(why="because"), "why"),
        (transition(key=""), "key"),
        (transition(to_state="ajar"), "to_state"),
        (transition(count=-1), "count"),
        (transition(at="2026-01-01T00:00:00"), "at"),
        (transition(at="9999-12-31T23:59:59Z"), "at"),
        (histogram(counts={"999": 1}), "bucket"),
        (histogram(counts={"1": -1}), "counts"),
        (histogram(capability=""), "capability"),
        (histogram(outcome="maybe"), "outcome"),
        ({"kind": "run_end", "seq": 1, "at": AT, "run_id": "r", "status": "running"}, "status"),
        ({"kind": "run_end", "seq": 1, "at": AT, "run_id": "", "status": "failed"}, "run_id"),
        ({"kind": "from_the_future", "seq": 1, "at": AT}, "from_the_future"),
        (trace(seq=101), "seq=101: expected 1 to 100"),
    ],
)
def test_a_poison_item_is_refused_by_number_and_reason_and_the_rest_is_kept(
    item: dict[str, Any], named: str
) -> None:
    found = sort_out(item, trace(50))

    assert [kept.seq for kept in found.kept] == [50]
    assert [refused.seq for refused in found.refused] == [item["seq"]]
    assert named in found.refused[0].reason


def test_what_is_no_item_at_all_has_no_number() -> None:
    found = sort_out(b"[1,2]", b'"text"', trace(1))

    assert [refused.seq for refused in found.refused] == [0, 0]
    assert len(found.kept) == 1


def test_numbers_must_rise() -> None:
    found = sort_out(trace(3), trace(3), trace(2), trace(4), after=2)

    assert [kept.seq for kept in found.kept] == [3, 4]
    assert [refused.seq for refused in found.refused] == [3, 2]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.sampled_from([trace, transition, histogram]),
    st.dictionaries(
        st.sampled_from(
            [
                "seq",
                "at",
                "key",
                "trace_id",
                "started_at",
                "counts",
                "provider",
                "tokens_in",
                "attempts",
                "why",
            ]
        ),
        JSON,
        max_size=4,
    ),
)
def test_whatever_an_item_says_it_is_kept_or_refused(make: Any, changes: dict[str, Any]) -> None:
    found = sort_out(
        msgspec.json.encode(make(**changes)) if "seq" not in changes or make is not trace else b"{}"
    )

    assert len(found.kept) + len(found.refused) == 1


def test_what_a_frame_has_beyond_its_bound_is_refused() -> None:
    items = [transition(seq=seq) for seq in range(1, BATCH_MAX_ITEMS + 3)]

    found = sort_out(*items, to=BATCH_MAX_ITEMS + 2)

    assert len(found.kept) == BATCH_MAX_ITEMS
    assert [refused.seq for refused in found.refused] == [BATCH_MAX_ITEMS + 1, BATCH_MAX_ITEMS + 2]
