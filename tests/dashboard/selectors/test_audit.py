"""The audit as a list."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth.models import User
from pytest_django import DjangoAssertNumQueries

from dashboard.models import ControlHead, Node
from dashboard.selectors import audit
from dashboard.selectors.audit import AuditFilter
from dashboard.selectors.keyset import Cursor
from dashboard.services import drain
from dashboard.services.actor import of_user
from meshcore.frames import DrainStepItem
from tests.dashboard.web import factory

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
