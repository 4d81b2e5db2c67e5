"""The audit as a page."""

import pytest
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import ControlHead, Node
from dashboard.selectors import keyset
from dashboard.services import drain
from dashboard.services.actor import of_user
from meshcore.frames import DrainStepItem
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db


@pytest.fixture
def drained(alice: User) -> Node:
    """node-a: asked to drain by alice, and acknowledged by itself."""
    node, _ = (factory.seen_node(f"node-{name}", now=NOW) for name in "ab")
    drain.request(node=node, actor=of_user(alice, address="192.0.2.7"), reason="kernel update", now=NOW)
    item = DrainStepItem(seq=1, at=NOW, generation=1, step="gate_closed")
    drain.record_node_step(node=node, item=item, received_at=NOW)
    return node


def read(browser: Client, path: str, status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status
    return " ".join(response.content.decode().split())


def test_it_says_who_what_why_and_from_where(operator: Client, drained: Node) -> None:
    page = read(operator, "/audit/")

    for words in (
        "<b>alice</b>",
        "node:node-a",
        "generation 1",
        "kernel update",
        "192.0.2.7",
        "</svg>done</span>",
    ):
        assert words in page


def test_effect_and_cause_lead_to_each_other(operator: Client, drained: Node) -> None:
    page = read(operator, "/audit/")

    assert '#n2">gate closed</a>' in page
    assert '#n1">came of 1</a>' in page


def test_the_chain_is_shown_joined_or_not(operator: Client, drained: Node) -> None:
    assert "chain ends as its head says" in read(operator, "/audit/")

    ControlHead.objects.update(audit_n=9)

    assert "the newest entry is not the one the head names" in read(operator, "/audit/")


@pytest.mark.parametrize("query", ["", "?actor=alice&action=drain&target=node-a"])
def test_a_page_has_a_fixed_number_of_queries(
    operator: Client, drained: Node, query: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_max_num_queries(9):  # 3 for who asks, 1 cursor, 2 chain, 3 rows
        assert operator.get(f"/audit/{query}").status_code == 200


def test_filters_that_fit_nothing_and_filters_that_cannot_be(operator: Client, drained: Node) -> None:
    assert "No entry fits the filter" in read(operator, "/audit/?actor=nobody")
    assert "action=&#x27;dance&#x27;" in read(operator, "/audit/?action=dance", 400)


def test_an_empty_audit_says_what_will_be_in_it(operator: Client) -> None:
    assert "Nothing has been done yet" in read(operator, "/audit/")


def test_a_search_that_stopped_says_how_far_it_came(
    operator: Client, drained: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keyset, "WALK_ROWS", 1)

    page = read(operator, "/audit/?target=node-a&actor=nobody")

    assert "Searched back to entry 2." in page


def test_the_rows_come_alone(operator: Client, drained: Node) -> None:
    assert operator.get("/audit/", headers=HTMX).content.decode().strip().startswith('<div id="rows"')
