"""One spool, one mark: whatever is sent again is stored exactly once."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dashboard.models import (
    Change,
    Drain,
    DrainStep,
    MinuteRollup,
    Node,
    NodeLink,
    SpoolMark,
    Trace,
    TraceDetail,
    Transition,
)
from dashboard.services import drain, ingest
from dashboard.services.actor import SYSTEM
from dashboard.services.ingest import ConnectionLost
from meshcore.frames import Refused, Rewind, Telemetry, TelemetryAck

pytestmark = pytest.mark.django_db
MINE = 5
AT = "2026-01-01T11:59:59Z"


@pytest.fixture
def mark(node: Node, now: datetime) -> SpoolMark:
    NodeLink.objects.update_or_create(node=node, defaults={"connection_no": MINE, "opened_at": now})
    SpoolMark.objects.create(node=node, spool_id="an older one", connection_no=2, hwm=77, updated_at=now)
    return SpoolMark.objects.create(node=node, spool_id="s1", connection_no=MINE, updated_at=now)


def trace(seq: int, trace_id: str = "") -> dict[str, Any]:
    call = {
        "trace_id": trace_id or f"t{seq}",
        "capability": "llm.chat",
        "started_at": AT,
        "provider": "alpha",
    }
    return {"kind": "trace", "seq": seq, "at": AT, "trace": call}


def histogram(seq: int) -> dict[str, Any]:
    item = {"kind": "histogram", "seq": seq, "at": AT, "provider": "alpha", "capability": "llm.chat"}
    return {**item, "outcome": "ok", "counts": {"5": 2}, "failovers": 1}


def transition(seq: int) -> dict[str, Any]:
    item = {"kind": "transition", "seq": seq, "at": AT, "key": "alpha"}
    return {**item, "from_state": "closed", "to_state": "open"}


def step(seq: int, name: str = "drained") -> dict[str, Any]:
    return {"kind": "drain_step", "seq": seq, "at": AT, "generation": 1, "step": name}


def frame(after: int, to: int, *items: dict[str, Any], dropped: dict[str, int] | None = None) -> Telemetry:
    raws = tuple(msgspec.Raw(msgspec.json.encode(item)) for item in items)
    return Telemetry(after=after, to=to, items=raws, dropped=dropped or {})


def traces(after: int, to: int) -> Telemetry:
    return frame(after, to, *(trace(seq) for seq in range(after + 1, to + 1)))


def store(node: Node, telemetry: Telemetry, now: datetime, *, connection_no: int = MINE) -> object:
    batch = ingest.read(node=node, connection_no=connection_no, telemetry=telemetry, now=now)
    (answer,) = ingest.store([batch], now=now)
    return answer


def stored() -> list[str]:
    return list(Trace.objects.order_by("id").values_list("trace_id", flat=True))


def test_a_frame_is_stored_and_the_mark_moves(mark: SpoolMark, now: datetime) -> None:
    items = frame(0, 5, trace(1), transition(2), histogram(3), trace(4), dropped={"trace": 1})

    answer = store(mark.node, items, now)

    mark.refresh_from_db()
    assert answer == TelemetryAck(to=5)
    assert (mark.hwm, mark.dropped, mark.updated_at) == (5, {"trace": 1}, now)
    assert stored() == ["t1", "t4"]
    assert TraceDetail.objects.count() == 2
    assert Transition.objects.get().to_state == "open"
    assert (MinuteRollup.objects.get().count, MinuteRollup.objects.get().failovers) == (2, 1)
    assert set(Change.objects.values_list("key", flat=True)) >= {"traces", "node:node-a", "providers:node-a"}


def test_what_is_sent_again_is_acknowledged_and_not_stored_again(mark: SpoolMark, now: datetime) -> None:
    items = frame(0, 3, trace(1), histogram(2), transition(3), dropped={"trace": 1})
    store(mark.node, items, now)
    before = Change.objects.count()

    answer = store(mark.node, items, now)

    mark.refresh_from_db()
    assert answer == TelemetryAck(to=3)
    assert (stored(), MinuteRollup.objects.get().count, Transition.objects.count()) == (["t1"], 2, 1)
    assert mark.dropped == {"trace": 1}
    assert Change.objects.count() == before


def test_of_a_frame_that_overlaps_only_what_is_new_is_stored(mark: SpoolMark, now: datetime) -> None:
    store(mark.node, traces(0, 3), now)

    answer = store(mark.node, traces(1, 5), now)

    assert answer == TelemetryAck(to=5)
    assert stored() == ["t1", "t2", "t3", "t4", "t5"]


def test_a_gap_is_answered_with_the_mark_and_stores_nothing(mark: SpoolMark, now: datetime) -> None:
    store(mark.node, traces(0, 3), now)

    assert store(mark.node, traces(4, 6), now) == Rewind(hwm=3)
    assert len(stored()) == 3


@pytest.mark.parametrize("connection_no", [MINE - 1, MINE + 1])
def test_a_connection_that_does_not_count_stores_nothing(
    mark: SpoolMark, now: datetime, connection_no: int
) -> None:
    assert store(mark.node, traces(0, 3), now, connection_no=connection_no) == ConnectionLost()
    assert stored() == []


def test_a_second_connection_with_another_spool_fences_the_first_one_off(
    mark: SpoolMark, now: datetime
) -> None:
    NodeLink.objects.update(connection_no=MINE + 1)
    SpoolMark.objects.create(node=mark.node, spool_id="s2", connection_no=MINE + 1, updated_at=now)

    assert store(mark.node, traces(0, 3), now) == ConnectionLost()
    assert store(mark.node, traces(0, 2), now, connection_no=MINE + 1) == TelemetryAck(to=2)
    mark.refresh_from_db()
    assert mark.hwm == 0


def test_a_poison_item_is_refused_and_the_rest_is_stored(mark: SpoolMark, now: datetime) -> None:
    poison = trace(2, trace_id="x" * 100)

    answer = store(mark.node, frame(0, 3, trace(1), poison, trace(3)), now)

    assert isinstance(answer, TelemetryAck)
    assert [refused.seq for refused in answer.refused] == [2]
    assert stored() == ["t1", "t3"]
    mark.refresh_from_db()
    assert (mark.hwm, mark.refused) == (3, 1)


def test_what_a_node_made_up_begins_no_line_in_the_log(
    mark: SpoolMark, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    store(mark.node, frame(0, 1, {**trace(1), "kind": "x\nfaked"}), now)

    assert "\nfaked" not in caplog.text
    assert "node-a: 1 items refused" in caplog.text


@pytest.mark.sqlite
def test_an_item_that_the_database_refuses_does_not_take_the_others_with_it(
    mark: SpoolMark, now: datetime
) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TRIGGER poison BEFORE INSERT ON dashboard_trace WHEN NEW.trace_id = 't2' "
            "BEGIN SELECT RAISE(ABORT, 'poison'); END"
        )

    answer = store(mark.node, frame(0, 4, trace(1), trace(2), histogram(3), trace(4)), now)

    with connection.cursor() as cursor:
        cursor.execute("DROP TRIGGER poison")
    assert answer == TelemetryAck(to=4, refused=(Refused(seq=2, reason="the database refused it"),))
    assert stored() == ["t1", "t4"]
    assert MinuteRollup.objects.get().count == 2


QUERIES = {"sqlite": 10, "postgresql": 12}  # two advisory locks more: a slot of ids, the change feed


@pytest.mark.parametrize("many", [1, 160])
def test_a_batch_costs_the_same_number_of_queries_whatever_its_size(
    mark: SpoolMark, now: datetime, many: int
) -> None:
    makers = (trace, transition, histogram)
    items = [makers[n % 3](n + 1) for n in range(3 * many)]

    with CaptureQueriesContext(connection) as queries:
        store(mark.node, frame(0, 3 * many, *items), now)

    statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(statements) == QUERIES[connection.vendor]
    assert len(stored()) == many


def test_a_frame_of_drops_alone_moves_the_mark_and_announces_nothing(mark: SpoolMark, now: datetime) -> None:
    before = Change.objects.count()

    answer = store(mark.node, frame(0, 9, dropped={"trace": 7, "unreadable": 1, "??": 1, "!!": 2}), now)

    mark.refresh_from_db()
    assert answer == TelemetryAck(to=9)
    assert (mark.hwm, mark.dropped) == (9, {"trace": 7, "unreadable": 1, "other": 3})
    assert Change.objects.count() == before


def test_drain_steps_are_recorded_once_however_often_they_come(mark: SpoolMark, now: datetime) -> None:
    drain.request(node=mark.node, actor=SYSTEM, now=now)
    steps = frame(0, 2, step(1, "gate_closed"), step(2, "drained"))

    store(mark.node, steps, now)
    SpoolMark.objects.filter(pk=mark.pk).update(hwm=0)  # as if the process had died before the mark moved
    store(mark.node, steps, now + timedelta(seconds=5))

    recorded = DrainStep.objects.filter(drain=Drain.objects.get(), source="node").values_list(
        "step", flat=True
    )
    assert sorted(recorded) == ["drained", "gate_closed"]


def test_a_drain_step_that_cannot_be_kept_is_refused(mark: SpoolMark, now: datetime) -> None:
    drain.request(node=mark.node, actor=SYSTEM, now=now)

    answer = store(mark.node, frame(0, 2, step(1, "No Such Step!"), trace(2)), now)

    assert isinstance(answer, TelemetryAck)
    assert [refused.seq for refused in answer.refused] == [1]
    assert stored() == ["t2"]


def test_traces_stay_in_order_over_batches_even_when_the_clock_falls(mark: SpoolMark, now: datetime) -> None:
    store(mark.node, traces(0, 3), now)
    store(mark.node, traces(3, 6), now - timedelta(hours=1))

    assert stored() == [f"t{n}" for n in range(1, 7)]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=20))
def test_in_any_order_of_frames_each_item_behind_the_mark_is_stored_once(
    mark: SpoolMark, now: datetime, frames: list[tuple[int, int]]
) -> None:
    Trace.objects.all().delete()
    SpoolMark.objects.filter(pk=mark.pk).update(hwm=0)

    for after, length in frames:
        hwm = SpoolMark.objects.get(pk=mark.pk).hwm
        answer = store(mark.node, traces(after, after + length), now)
        assert answer == (Rewind(hwm=hwm) if after > hwm else TelemetryAck(to=after + length))

    hwm = SpoolMark.objects.get(pk=mark.pk).hwm
    assert stored() == [f"t{n}" for n in range(1, hwm + 1)]
