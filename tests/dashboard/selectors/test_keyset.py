"""Pages by cursor."""

from datetime import UTC, datetime

import pytest
from django.db.models import Q, QuerySet
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Change
from dashboard.selectors import keyset
from dashboard.selectors.keyset import Cursor

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture
def changes(db: None) -> QuerySet[Change]:
    """Ten rows with ids 1 to 10; the even ones have the key "even"."""
    Change.objects.bulk_create([Change(id=n, key="odd" if n % 2 else "even", at=NOW) for n in range(1, 11)])
    return Change.objects.all()


def ids(page: keyset.Page[Change]) -> list[int]:
    return [row.pk for row in page.rows]


def test_the_first_page_is_the_newest_and_tells_where_the_next_begins(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes, cursor=Cursor(), rows=4)

    assert ids(page) == [10, 9, 8, 7]
    assert (page.older, page.newer, page.searched_to) == (7, None, None)


def test_going_older_and_back_newer_shows_the_same_rows_again(changes: QuerySet[Change]) -> None:
    second = keyset.page(changes, cursor=Cursor(before=7), rows=4)

    again = keyset.page(changes, cursor=Cursor(after=second.newer), rows=4)

    assert ids(second) == [6, 5, 4, 3]
    assert ids(again) == [10, 9, 8, 7]
    assert (again.older, again.newer) == (7, None)


def test_the_last_page_has_nothing_older(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes, cursor=Cursor(before=3), rows=4)

    assert ids(page) == [2, 1]
    assert page.older is None


def test_rows_that_come_meanwhile_shift_no_page(changes: QuerySet[Change]) -> None:
    first = keyset.page(changes, cursor=Cursor(), rows=4)
    Change.objects.create(id=11, key="odd", at=NOW)

    second = keyset.page(changes, cursor=Cursor(before=first.older), rows=4)

    assert ids(second) == [6, 5, 4, 3]


def test_a_page_above_with_more_above_it_tells_where_to_go_on(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes, cursor=Cursor(after=2), rows=3)

    assert ids(page) == [5, 4, 3]
    assert (page.older, page.newer) == (3, 5)


def test_an_empty_page_below_a_cursor_still_leads_back(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes, cursor=Cursor(before=1), rows=4)

    assert ids(page) == []
    assert ids(keyset.page(changes, cursor=Cursor(after=page.newer), rows=1)) == [1]


def test_a_filter_without_an_index_walks_only_so_far_and_says_where_it_stopped(
    changes: QuerySet[Change],
) -> None:
    page = keyset.page(changes, cursor=Cursor(), rest=Q(key="even"), rows=4, walk=5)

    assert ids(page) == [10, 8, 6]
    assert page.searched_to == 6


def test_going_on_from_there_finds_the_rest(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes, cursor=Cursor(before=6), rest=Q(key="even"), rows=4, walk=5)

    assert ids(page) == [4, 2]
    assert page.searched_to is None


def test_a_full_page_says_nothing_of_how_far_it_searched(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes, cursor=Cursor(), rest=Q(key="even"), rows=2, walk=8)

    assert ids(page) == [10, 8]
    assert (page.older, page.searched_to) == (8, None)


def test_filtered_pages_lead_newer_as_well(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes, cursor=Cursor(after=4), rest=Q(key="even"), rows=2)

    assert ids(page) == [8, 6]
    assert page.newer == 8


def test_a_page_takes_two_queries_at_most(
    changes: QuerySet[Change], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(2):
        keyset.page(changes, cursor=Cursor(before=9), rest=Q(key="even"), rows=2, walk=5)


def test_a_search_upwards_is_bounded_and_goes_on_above(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes, cursor=Cursor(after=0), rest=Q(id=9), rows=4, walk=5)
    again = keyset.page(changes, cursor=Cursor(after=page.newer), rest=Q(id=9), rows=4, walk=5)

    assert (ids(page), page.newer, page.older) == ([], 5, 1)
    assert (ids(again), again.newer) == ([9], None)


@pytest.mark.parametrize(("row_seconds", "searched_to"), [(0.0125, 5), (1.0, 7), (0.0, None)])
def test_a_slow_search_ends_before_its_rows_do(
    changes: QuerySet[Change], monkeypatch: pytest.MonkeyPatch, row_seconds: float, searched_to: int | None
) -> None:
    monkeypatch.setattr(keyset, "FIRST_ROWS", 2)
    clock = iter([0.0, row_seconds * 2, row_seconds * 2])

    page = keyset.page(changes, cursor=Cursor(), rest=Q(key="none"), clock=lambda: next(clock))

    assert page.searched_to == searched_to  # 80 ms are 6 rows of 12.5 ms; never less than two pieces


def test_rows_come_from_the_whole_by_their_keys(changes: QuerySet[Change]) -> None:
    page = keyset.page(changes.filter(key="even"), cursor=Cursor(), whole=changes, rows=2)

    assert ids(page) == [10, 8]
    assert page.older == 8


@pytest.mark.parametrize(
    ("indexed", "other", "split"),
    [
        ([], [], (Q(), None)),
        ([Q(a=1)], [], (Q(a=1), None)),
        ([Q(a=1), Q(b=1)], [], (Q(a=1), Q(Q(b=1)))),
        ([], [Q(c=1)], (Q(), Q(Q(c=1)))),
        ([Q(a=1)], [Q(c=1)], (Q(a=1), Q(Q(c=1)))),
    ],
)
def test_one_index_serves_and_the_rest_is_judged_row_by_row(
    indexed: list[Q], other: list[Q], split: tuple[Q, Q | None]
) -> None:
    assert keyset.narrow(indexed, other) == split
