"""Any number of rows, each with values of its own, in one conditional statement."""

from datetime import datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import Node, SpoolMark
from dashboard.services import bulk_update

pytestmark = pytest.mark.django_db
IF_SAME = "t.hwm = v.given_hwm"


@pytest.fixture
def marks(node: Node, now: datetime) -> list[SpoolMark]:
    return [
        SpoolMark.objects.create(node=node, spool_id=f"s{n}", hwm=n, connection_no=n, updated_at=now)
        for n in range(5)
    ]


def test_each_row_gets_its_own_values_and_others_none(marks: list[SpoolMark], now: datetime) -> None:
    later = now + timedelta(seconds=1)
    rows = [(mark.pk, 10 + mark.hwm, {"trace": mark.hwm}, later) for mark in marks[:3]]

    written = bulk_update.update(SpoolMark, rows, put=("hwm", "dropped", "updated_at"))

    assert written == {mark.pk for mark in marks[:3]}
    assert list(SpoolMark.objects.order_by("pk").values_list("hwm", flat=True)) == [10, 11, 12, 3, 4]
    assert SpoolMark.objects.get(pk=marks[2].pk).dropped == {"trace": 2}
    assert SpoolMark.objects.get(pk=marks[2].pk).updated_at == later
    assert SpoolMark.objects.get(pk=marks[3].pk).updated_at == now


def test_only_rows_that_meet_the_condition_are_changed_and_told(marks: list[SpoolMark]) -> None:
    rows = [(marks[0].pk, 99, 0), (marks[1].pk, 99, 0), (0, 99, 0)]

    written = bulk_update.update(SpoolMark, rows, put=("hwm",), given=("hwm",), only_if=IF_SAME)

    assert written == {marks[0].pk}
    assert SpoolMark.objects.filter(hwm=99).count() == 1


@pytest.mark.parametrize("many", [1, 5])
def test_any_number_of_rows_is_one_statement(marks: list[SpoolMark], many: int) -> None:
    rows = [(mark.pk, 7) for mark in marks[:many]]

    with CaptureQueriesContext(connection) as queries:
        bulk_update.update(SpoolMark, rows, put=("hwm",))

    assert len(queries) == 1


def test_no_rows_are_no_statement() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert bulk_update.update(SpoolMark, [], put=("hwm",)) == set()

    assert len(queries) == 0
