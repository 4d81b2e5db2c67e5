"""The audit as a list."""

from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from dashboard.models import AuditEntry, ControlHead, Node
from dashboard.selectors import audit, keyset
from dashboard.selectors.audit import AuditFilter
from dashboard.selectors.keyset import Cursor
from dashboard.services import drain
from dashboard.services.actor import of_user
from meshcore.frames import DrainStepItem
from tests.dashboard.services.trail import write
from tests.dashboard.web import factory

SECOND = timedelta(seconds=1)
NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)

pytestmark = pytest.mark.django_db


@pytest.fixture
def nodes(alice: User, bob: User) -> list[Node]:
    """1: alice drains node-a, 2: it acknowledges, 3: bob drains node-b, 4: alice gives node-a back."""
    a, b, *_ = (factory.seen_node(f"node-{name}", now=NOW) for name in "abcd")
    drain.request(node=a, actor=of_user(alice), reason="kernel update", now=NOW)
    item = DrainStepItem(seq=1, at=NOW, generation=1, step="acknowledged")
    drain.record_node_step(node=a, item=item, received_at=NOW)
    drain.request(node=b, actor=of_user(bob), reason="disk", now=NOW)
    drain.cancel(node=a, actor=of_user(alice), now=NOW)
    return [a, b]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (AuditFilter(), [4, 3, 2, 1]),
        (AuditFilter(actor="alice"), [4, 1]),
        (AuditFilter(action="drain"), [3, 1]),
        (AuditFilter(target="node-a"), [4, 2, 1]),
        (AuditFilter(target="node:node-b"), [3]),
        (AuditFilter(actor="alice", action="drain"), [1]),
        (AuditFilter(outcome="done"), [4, 3, 2, 1]),
        (AuditFilter(outcome="refused"), []),
        (AuditFilter(text="KERNEL"), [1]),
        (AuditFilter(text="%"), []),
        (AuditFilter(since=NOW), [4, 3, 2, 1]),
        (AuditFilter(since=NOW + SECOND), []),
        (AuditFilter(until=NOW), []),
        (AuditFilter(since=NOW, until=NOW + SECOND, target="node-b", text="disk"), [3]),
    ],
)
def test_each_filter_narrows_the_list(nodes: list[Node], wanted: AuditFilter, found: list[int]) -> None:
    page = audit.page(wanted=wanted, cursor=Cursor())

    assert [told.entry.n for told in page.told] == found


def test_an_entry_is_told_with_what_came_of_it(nodes: list[Node]) -> None:
    told = {each.entry.n: each for each in audit.page(wanted=AuditFilter(), cursor=Cursor()).told}

    assert [effect.n for effect in told[1].effects] == [2]
    assert told[2].entry.cause_n == 1
    assert told[3].effects == ()


INDEXES = {
    "target": ("node-a", "audit_by_target"),
    "actor": ("alice", "audit_by_actor"),
    "action": ("drain", "audit_by_action"),
    "outcome": ("refused", "audit_by_outcome"),
}


@pytest.mark.sqlite
@pytest.mark.parametrize("name", INDEXES)
def test_an_index_serves_each_filter(nodes: list[Node], name: str) -> None:
    value, index = INDEXES[name]
    served, rest = AuditFilter(**{name: value}).split()

    assert rest is None
    entries = AuditEntry.objects.filter(served).order_by("-n")[:50]
    assert f"USING INDEX {index}" in entries.explain()


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "wanted", [AuditFilter(since=NOW), AuditFilter(until=NOW), AuditFilter(since=NOW, until=NOW)]
)
def test_an_index_alone_tells_which_numbers_a_time_has(nodes: list[Node], wanted: AuditFilter) -> None:
    with CaptureQueriesContext(connection) as queries:
        audit.page(wanted=wanted, cursor=Cursor())

    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {queries[0]['sql']}")
        assert "USING COVERING INDEX audit_by_time" in str(cursor.fetchall())


def test_a_clock_that_was_set_back_hides_no_entry(nodes: list[Node]) -> None:
    for now in (NOW + 9 * SECOND, NOW - SECOND):
        write(now)

    for since, until, found in (
        (NOW + 5 * SECOND, None, [5]),
        (None, NOW, [6]),
        (NOW, None, [5, 4, 3, 2, 1]),
    ):
        page = audit.page(wanted=AuditFilter(since=since, until=until), cursor=Cursor())
        assert [told.entry.n for told in page.told] == found


def test_a_text_in_the_reason_walks_a_bounded_way(
    nodes: list[Node], django_assert_num_queries: DjangoAssertNumQueries, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "WALK_ROWS", 2)

    page = audit.page(wanted=AuditFilter(text="kernel"), cursor=Cursor())

    assert (page.told, page.page.searched_to) == ([], 3)
    assert audit.page(wanted=AuditFilter(text="kernel"), cursor=Cursor(before=3)).told[0].entry.n == 1


def test_a_filter_tells_what_it_asks_for() -> None:
    assert AuditFilter().told() == {}
    assert AuditFilter(actor="alice", since=NOW).told() == {"actor": "alice", "since": NOW.isoformat()}
    assert not AuditFilter().condition()


def test_a_page_says_what_it_shows(nodes: list[Node]) -> None:
    page = audit.page(wanted=AuditFilter(), cursor=Cursor(before=4), rows=2)

    assert page.span == (2, 3)
    assert audit.page(wanted=AuditFilter(actor="nobody"), cursor=Cursor()).span is None
    assert "reason" in [line.path for line in page.told[0].lines]


def test_a_page_takes_three_queries_at_most(
    nodes: list[Node], django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(3):
        audit.page(wanted=AuditFilter(actor="alice", action="drain"), cursor=Cursor(before=9))


def test_the_chain_is_joined_while_the_newest_entry_is_the_one_that_the_head_names(nodes: list[Node]) -> None:
    assert (audit.chain().length, audit.chain().joined) == (4, True)

    ControlHead.objects.update(audit_hash="f" * 64)

    assert not audit.chain().joined


def test_an_empty_chain_is_joined(db: None) -> None:
    assert (audit.chain().length, audit.chain().joined) == (0, True)
