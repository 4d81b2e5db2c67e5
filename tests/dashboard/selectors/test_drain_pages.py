"""Drains as a list, and one with its steps."""

from collections.abc import Callable
from datetime import datetime
from typing import Any
from unittest.mock import patch

import pytest

from dashboard.models import Drain, DrainStep, Node
from dashboard.selectors import drain_pages
from dashboard.selectors.drain_pages import DrainFilter
from dashboard.selectors.keyset import Cursor
from dashboard.services import drain
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
Budget = Callable[..., Any]


def test_a_page_needs_two_queries(node: Node, now: datetime, django_assert_max_num_queries: Budget) -> None:
    for _ in range(3):
        drain.request(node=node, actor=SYSTEM, now=now)
        drain.cancel(node=node, actor=SYSTEM, now=now)

    with django_assert_max_num_queries(2):
        page = drain_pages.page(wanted=DrainFilter(node="node-a", status="cancelled"), cursor=Cursor())
        assert [each.node.name for each in page.rows] == ["node-a"] * 3


def test_a_record_is_bounded_and_says_what_it_leaves_out(
    node: Node, now: datetime, django_assert_max_num_queries: Budget
) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)
    [one] = Drain.objects.all()
    for number in range(4):
        DrainStep.objects.create(
            drain=one, step="in_flight", source="node", at=now, received_at=now, edge=number
        )

    with patch.object(drain_pages, "STEPS_MAX", 3), django_assert_max_num_queries(3):
        cut = drain_pages.record(drain_pk=one.pk)
    whole = drain_pages.record(drain_pk=one.pk)

    assert cut is not None
    assert whole is not None
    assert (len(cut.steps), cut.left_out) == (3, 2)
    assert (len(whole.steps), whole.left_out) == (5, 0)


def test_a_drain_that_is_not_there_has_no_record() -> None:
    assert drain_pages.record(drain_pk=7) is None
