"""How far each spool is committed, and what that makes of a frame."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import Node, NodeLink, SpoolMark
from dashboard.services import marks, nodes
from dashboard.services.actor import SYSTEM
from dashboard.services.marks import BY_HTTP, MarkMoved, Source, Spool
from meshcore.frames import Rewind, Telemetry, TelemetryAck

MINE = 5


def spool(hwm: int = 0, **fields: object) -> Spool:
    return Spool(SpoolMark(hwm=hwm, **fields), hwm)


def telemetry(after: int, to: int, **dropped: int) -> Telemetry:
    return Telemetry(after=after, to=to, dropped=dropped)


@pytest.mark.parametrize(
    ("after", "to", "answer"),
    [
        (0, 10, TelemetryAck(to=10)),
        (3, 9, TelemetryAck(to=9)),
        (10, 11, None),
        (0, 11, None),
        (11, 12, Rewind(hwm=10)),
    ],
)
def test_a_frame_is_judged_by_the_mark(after: int, to: int, answer: object) -> None:
    assert spool(10).judge(telemetry(after, to)) == answer


def test_behind_a_gap_nothing_counts_whatever_it_is() -> None:
    behind = spool(10)
    behind.judge(telemetry(11, 12))

    assert behind.judge(telemetry(10, 11)) == Rewind(hwm=10)
    assert behind.judge(telemetry(0, 3)) == Rewind(hwm=10)


def test_a_frame_that_is_taken_moves_the_mark_and_counts_what_is_missing() -> None:
    taken = spool(10)

    taken.take(telemetry(10, 20, trace=3, tomorrow=1), refused=2)
    taken.take(telemetry(20, 30, trace=1), refused=0)

    assert (taken.hwm, taken.dropped, taken.refused) == (30, {"trace": 4, "other": 1}, 2)


@pytest.fixture
def linked(node: Node, now: datetime) -> Node:
    NodeLink.objects.filter(node=node).update(connection_no=MINE)
    SpoolMark.objects.create(node=node, spool_id="s1", connection_no=MINE, hwm=7, updated_at=now)
    SpoolMark.objects.create(node=node, spool_id="older", connection_no=MINE - 1, hwm=9, updated_at=now)
    SpoolMark.objects.create(node=node, spool_id="h1", connection_no=BY_HTTP, hwm=8, updated_at=now)
    return node


@pytest.mark.django_db
def test_of_sources_those_that_count_have_a_spool(linked: Node) -> None:
    mine, http = Source(linked.pk, MINE), Source(linked.pk, BY_HTTP, "h1")
    others = [
        Source(linked.pk, MINE - 1),
        Source(linked.pk, MINE + 1),
        Source(linked.pk, BY_HTTP, "s1"),
        Source(linked.pk, BY_HTTP, "unknown"),
        Source(linked.pk + 1, MINE),
    ]

    found = marks.locked([mine, http, *others])

    assert {source: each.hwm for source, each in found.items()} == {mine: 7, http: 8}


@pytest.mark.django_db
@pytest.mark.parametrize("many", [1, 20])
def test_any_number_of_spools_are_two_queries_and_one(node: Node, now: datetime, many: int) -> None:
    every = [node, *(nodes.add(name=f"n{n}", actor=SYSTEM)[0] for n in range(many - 1))]
    for each in every:
        NodeLink.objects.filter(node=each).update(connection_no=MINE)
        SpoolMark.objects.create(node=each, spool_id="s1", connection_no=MINE, updated_at=now)

    with CaptureQueriesContext(connection) as queries:
        found = marks.locked([Source(each.pk, MINE) for each in every])
        for n, each in enumerate(found.values(), 1):
            each.take(telemetry(0, n, trace=n), refused=n)
        marks.move(found, now=now + timedelta(seconds=1))

    assert len(queries) == 3
    stored = SpoolMark.objects.order_by("node_id")
    assert [(each.hwm, each.dropped, each.refused) for each in stored] == [
        (n, {"trace": n}, n) for n in range(1, many + 1)
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("change", [{"hwm": 8}, {"connection_no": MINE + 1}])
def test_a_mark_that_somebody_else_moved_is_not_moved(
    linked: Node, now: datetime, change: dict[str, int]
) -> None:
    found = marks.locked([Source(linked.pk, MINE)])
    SpoolMark.objects.filter(spool_id="s1").update(**change)
    next(iter(found.values())).take(telemetry(7, 20), refused=0)

    with pytest.raises(MarkMoved, match="1 of 1 marks"):
        marks.move(found, now=now)

    assert not SpoolMark.objects.filter(hwm=20).exists()


@pytest.mark.django_db
def test_a_spool_by_http_is_introduced_once_and_one_of_a_link_never(linked: Node, now: datetime) -> None:
    assert marks.introduce(node=linked, spool_id="new", now=now)
    assert marks.introduce(node=linked, spool_id="new", now=now)
    assert marks.introduce(node=linked, spool_id="h1", now=now)
    assert not marks.introduce(node=linked, spool_id="s1", now=now)

    assert SpoolMark.objects.get(spool_id="new").connection_no == BY_HTTP
    assert SpoolMark.objects.get(spool_id="h1").hwm == 8


@pytest.mark.django_db
def test_spools_by_http_are_forgotten_like_others(node: Node, now: datetime) -> None:
    for n in range(marks.MARKS_MAX + 2):
        marks.introduce(node=node, spool_id=f"h{n}", now=now + timedelta(seconds=n))

    assert SpoolMark.objects.count() == marks.MARKS_MAX
    assert not SpoolMark.objects.filter(spool_id__in=["h0", "h1"]).exists()
