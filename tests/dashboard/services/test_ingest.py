"""One spool, one mark: whatever is sent again is stored exactly once."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db import IntegrityError, OperationalError, connection
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
    Run,
    SpoolMark,
    Trace,
    TraceDetail,
    Transition,
)
from dashboard.services import ballast, changes, drain, ingest, ingest_items, nodes, runs
from dashboard.services.actor import SYSTEM
from dashboard.services.ballast import TelemetryStopped
from dashboard.services.ingest import Batch, ConnectionLost
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
    assert set(Change.objects.values_list("key", flat=True)) >= {
        "traces",
        "figures:node-a",
        "transitions:node-a",
    }


def test_the_end_of_a_run_is_stored_once_and_announced(mark: SpoolMark, now: datetime) -> None:
    item = {"kind": "run_end", "seq": 1, "at": AT, "run_id": "run_1", "status": "completed"}
    Change.objects.all().delete()

    answers = [store(mark.node, frame(0, 1, item), now) for _ in range(2)]

    assert answers == [TelemetryAck(to=1)] * 2
    assert [(run.run_id, run.status, run.told) for run in Run.objects.all()] == [("run_1", "completed", True)]
    assert list(Change.objects.order_by("id").values_list("key", flat=True)) == ["run:run_1", "runs"]


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


QUERIES = {"sqlite": 15, "postgresql": 18}  # two advisory locks more: a slot of ids, the change feed


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


# Groups: frames of several nodes, and several frames of one.


@pytest.fixture
def both(mark: SpoolMark, now: datetime) -> list[Node]:
    """node-a and node-b, both linked."""
    other = nodes.add(name="node-b", actor=SYSTEM, now=now)[0]
    NodeLink.objects.filter(node=other).update(connection_no=MINE)
    SpoolMark.objects.create(node=other, spool_id="s1", connection_no=MINE, updated_at=now)
    return [mark.node, other]


def batch(node: Node, telemetry: Telemetry, now: datetime, *, connection_no: int = MINE) -> Batch:
    return ingest.read(node=node, connection_no=connection_no, telemetry=telemetry, now=now)


def stored_of(node: Node) -> list[str]:
    return list(Trace.objects.filter(node=node).order_by("id").values_list("trace_id", flat=True))


def test_a_group_is_stored_together_and_each_frame_answered_by_its_own_mark(
    both: list[Node], now: datetime
) -> None:
    a, b = both
    frames = [
        (a, traces(0, 3)),
        (b, traces(0, 2)),
        (a, traces(3, 4)),
        (a, traces(1, 4)),
        (b, traces(7, 9)),
        (a, traces(2, 6)),
        (b, traces(2, 3)),
    ]

    answers = ingest.store([batch(node, telemetry, now) for node, telemetry in frames], now=now)

    acknowledged = [TelemetryAck(to=3), TelemetryAck(to=2), TelemetryAck(to=4), TelemetryAck(to=4)]
    assert answers == [*acknowledged, Rewind(hwm=2), TelemetryAck(to=6), Rewind(hwm=2)]
    assert stored_of(a) == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert stored_of(b) == ["t1", "t2"]
    marks = SpoolMark.objects.filter(connection_no=MINE).order_by("node_id").values_list("hwm", flat=True)
    assert list(marks) == [6, 2]


@pytest.mark.parametrize("many", [1, 20])
def test_a_group_costs_the_same_number_of_queries_whatever_its_size(
    both: list[Node], now: datetime, many: int
) -> None:
    def whole(after: int) -> Telemetry:
        makers = (trace, transition, histogram)
        return frame(after, after + 3, *(makers[n](after + n + 1) for n in range(3)))

    batches = [batch(node, whole(3 * n), now) for n in range(many) for node in both]

    with CaptureQueriesContext(connection) as queries:
        answers = ingest.store(batches, now=now)

    statements = [query["sql"] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert len(statements) == QUERIES[connection.vendor]
    assert all(isinstance(answer, TelemetryAck) for answer in answers)
    assert (Trace.objects.count(), Transition.objects.count()) == (2 * many, 2 * many)
    assert [row.count for row in MinuteRollup.objects.all()] == [2 * many, 2 * many]


def test_an_item_that_the_database_refuses_costs_no_other_of_the_group(
    both: list[Node], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = both
    refuse(monkeypatch, "t2")
    frames = [
        (b, frame(0, 1, trace(1))),
        (a, traces(0, 3)),
        (a, frame(3, 4, histogram(4))),
        (b, traces(1, 2)),
    ]

    answers = ingest.store([batch(node, telemetry, now) for node, telemetry in frames], now=now)

    reason = "the database refused it"
    assert answers == [
        TelemetryAck(to=1),
        TelemetryAck(to=3, refused=(Refused(seq=2, reason=reason),)),
        TelemetryAck(to=4),
        TelemetryAck(to=2, refused=(Refused(seq=2, reason=reason),)),
    ]
    assert (stored_of(a), stored_of(b)) == (["t1", "t3"], ["t1"])
    assert MinuteRollup.objects.get().count == 2
    assert SpoolMark.objects.get(node=a, connection_no=MINE).refused == 1


def refuse(monkeypatch: pytest.MonkeyPatch, *poison: str, error: type[Exception] = IntegrityError) -> None:
    """Let the database refuse traces by their id, as a constraint would."""
    insert = ingest_items.TRACES.insert

    def checked(rows: list[tuple[Any, ...]]) -> None:
        if any(row[2] in poison for row in rows):
            raise error("poison")
        insert(rows)

    monkeypatch.setattr(ingest_items.TRACES, "insert", checked)


def test_a_frame_that_fails_fails_the_later_ones_of_its_spool_and_no_other(
    both: list[Node], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = both
    refuse(monkeypatch, "t2", error=KeyError)  # a fault of ours
    frames = [(a, traces(0, 1)), (a, traces(1, 2)), (b, frame(0, 9, trace(9))), (a, traces(2, 3))]

    answers = ingest.store([batch(node, telemetry, now) for node, telemetry in frames], now=now)

    assert answers[0] == TelemetryAck(to=1)
    assert isinstance(answers[1], KeyError)
    assert answers[2] == TelemetryAck(to=9)
    assert answers[3] is answers[1]
    assert stored_of(a) == ["t1"]
    assert SpoolMark.objects.get(node=a, connection_no=MINE).hwm == 1


def test_when_the_database_is_away_nothing_is_tried_one_by_one(
    both: list[Node], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def away(*_: object, **__: object) -> None:
        tried.append(1)
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(ingest_items, "write", away)

    answers = ingest.store([batch(node, traces(0, 1), now) for node in both], now=now)

    assert [type(answer) for answer in answers] == [OperationalError, OperationalError]
    assert len(tried) == 1
    assert stored() == []


def test_a_commit_that_fails_stores_nothing_of_the_group_and_it_can_be_sent_again(
    both: list[Node], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    group = [batch(node, frame(0, 2, trace(1), histogram(2)), now) for node in both]

    def fail(*_: object, **__: object) -> None:
        raise OperationalError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(changes, "publish", fail)  # the last statement before the commit
        failed = ingest.store(group, now=now)
    nothing = (stored(), MinuteRollup.objects.count())
    again = ingest.store(group, now=now)

    assert all(isinstance(answer, OperationalError) for answer in failed)
    assert nothing == ([], 0)
    assert again == [TelemetryAck(to=2)] * 2
    assert [row.count for row in MinuteRollup.objects.all()] == [2, 2]


def test_a_step_that_fails_in_a_group_is_recorded_when_its_frame_is_stored_alone(
    both: list[Node], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = both
    drain.request(node=a, actor=SYSTEM, now=now)
    record = drain.record_node_step
    failures = [KeyError("once")]

    def once(**call: Any) -> Any:
        if failures:
            raise failures.pop()
        return record(**call)

    monkeypatch.setattr(drain, "record_node_step", once)

    answers = ingest.store([batch(a, frame(0, 1, step(1)), now), batch(b, traces(0, 1), now)], now=now)

    assert answers == [TelemetryAck(to=1), TelemetryAck(to=1)]
    assert DrainStep.objects.filter(step="drained", source="node").count() == 1


def test_of_refused_items_so_many_are_told_and_all_are_counted(mark: SpoolMark, now: datetime) -> None:
    poison = [trace(seq, trace_id="x" * 100) for seq in range(1, ingest.REFUSED_TOLD + 11)]

    answer = store(mark.node, frame(0, len(poison), *poison), now)

    assert isinstance(answer, TelemetryAck)
    assert len(answer.refused) == ingest.REFUSED_TOLD
    mark.refresh_from_db()
    assert mark.refused == len(poison)


FRAMES = st.tuples(
    st.sampled_from([0, 1]),  # of which node
    st.sampled_from([MINE, MINE, MINE, MINE - 1]),  # over which connection
    st.integers(0, 20),
    st.integers(1, 8),
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(FRAMES, min_size=1, max_size=6), max_size=6), st.data())
def test_in_any_groups_of_frames_each_item_behind_a_mark_is_stored_once(
    both: list[Node], now: datetime, groups: list[list[tuple[int, int, int, int]]], data: st.DataObject
) -> None:
    Trace.objects.all().delete()
    MinuteRollup.objects.all().delete()
    SpoolMark.objects.update(hwm=0)
    hwm = {node.pk: 0 for node in both}

    for group in groups:
        gaps: set[int] = set()
        fails = data.draw(st.booleans())
        batches, answers = [], []
        for which, connection_no, after, length in group:
            node = both[which]
            telemetry = frame(after, after + length, *map(counted, range(after + 1, after + length + 1)))
            batches.append(batch(node, telemetry, now, connection_no=connection_no))
            if connection_no != MINE:
                answers.append(ConnectionLost())
            elif node.pk in gaps or after > hwm[node.pk]:
                gaps.add(node.pk)
                answers.append(Rewind(hwm=hwm[node.pk]))
            else:
                answers.append(TelemetryAck(to=after + length))
                hwm[node.pk] = max(hwm[node.pk], after + length)
        with pytest.MonkeyPatch.context() as patch:
            if fails:
                fail_once(patch)  # the group is stored frame by frame then
            assert ingest.store(batches, now=now) == answers

    for node in both:
        odd = [f"t{seq}" for seq in range(1, hwm[node.pk] + 1) if seq % 2]
        assert stored_of(node) == odd
        counted_there = MinuteRollup.objects.filter(node=node).values_list("count", flat=True)
        assert sum(counted_there) == 2 * (hwm[node.pk] // 2)
        assert SpoolMark.objects.get(node=node, connection_no=MINE).hwm == hwm[node.pk]


def counted(seq: int) -> dict[str, Any]:
    """Odd numbers are calls, even ones two calls in a histogram."""
    return trace(seq) if seq % 2 else histogram(seq)


def fail_once(patch: pytest.MonkeyPatch) -> None:
    write = ingest_items.write
    failures = [IntegrityError("poison")]

    def once(*args: Any, **kwargs: Any) -> None:
        if failures:
            raise failures.pop()
        write(*args, **kwargs)

    patch.setattr(ingest_items, "write", once)


def test_a_full_disk_stops_the_group_and_is_told_by_its_name(
    both: list[Node], now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OperationalError("database or disk is full")

    monkeypatch.setattr(ingest_items, "write", full)
    monkeypatch.setattr(ballast, "note", lambda exc: True)

    answers = ingest.store([batch(node, traces(0, 1), now) for node in both], now=now)

    assert [type(answer) for answer in answers] == [TelemetryStopped, TelemetryStopped]
    assert stored() == []


def test_when_more_runs_end_at_once_than_are_named_those_of_the_node_are(
    node: Node, mark: SpoolMark, now: datetime
) -> None:
    many = range(1, runs.NAMED_MAX + 2)
    ends = [{"kind": "run_end", "seq": n, "at": AT, "run_id": f"r{n}", "status": "completed"} for n in many]

    store(node, frame(0, len(ends), *ends), now)

    found = set(Change.objects.values_list("key", flat=True))
    assert "runs:node-a" in found
    assert sum(key.startswith("run:") for key in found) == runs.NAMED_MAX
