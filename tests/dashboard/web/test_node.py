"""A node's own page."""

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node
from meshcore.breaker import BreakerState
from meshcore.drain import ActiveWork, NodeState
from tests.dashboard.web import example_mesh, factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db


def read(browser: Client, path: str) -> str:
    response = browser.get(path)
    assert response.status_code == 200
    return " ".join(response.content.decode().split())


def test_it_shows_state_figures_providers_capabilities_and_past(operator: Client) -> None:
    example_mesh.make(now=NOW)

    page = read(operator, "/nodes/node-b/")

    for words in (
        "degraded",
        "connect timeout after 1.0 s",
        "open <time",
        "qwen-32b",
        "2 / 2",
        "probe answered",
    ):
        assert words in page
    assert 'data-live-page="node:node-b"' in page


@pytest.mark.parametrize("others", [1, 9])
def test_the_number_of_nodes_changes_no_number_of_queries(
    operator: Client, others: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    example_mesh.make(now=NOW)
    for n in range(others):
        factory.seen_node(f"other-{n}", now=NOW)

    with django_assert_num_queries(
        12
    ):  # 3 for who asks, 1 cursor, 3 for all nodes, 1 its traffic, 1 its drain, 3 its past
        assert operator.get("/nodes/node-a/").status_code == 200


def test_a_drain_shows_its_progress_and_what_it_waits_for(operator: Client) -> None:
    drain = factory.desired_drain(now=NOW)
    work = (ActiveWork(id="call-1", kind="stream", age_seconds=12.4, provider="ollama"),)
    factory.seen_node(
        "node-a",
        now=NOW,
        state=NodeState.DRAINING,
        in_flight=5,
        at_start=14,
        edge=2,
        drain=drain,
        active=work,
    )

    factory.order(Node.objects.get(), generation=1, drains=True, seconds_ago=40, now=NOW)

    page = read(operator, "/nodes/node-a/")

    assert '<progress value="9" max="14" aria-label="9 of 14 finished">' in page
    assert "of 14 in flight, 2 passed on to peers" in page
    assert "by <b>operator</b>" in page and "kernel update" in page
    assert "call-1" in page and "12 s" in page
    assert "?confirm=undrain" in page and "?confirm=change" in page


def test_a_drain_asked_for_on_the_machine_says_which_command_ends_it(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW, state=NodeState.DRAINED, drain=factory.local_drain(now=NOW))

    page = read(operator, "/nodes/node-a/")

    assert "Drained locally on the node by <b>root</b>" in page
    assert "rm HOME/.drain_request.json" in page


@pytest.mark.parametrize(("seconds", "word"), [(3, "pending"), (12, "not acknowledged")])
def test_an_order_that_the_node_does_not_act_on_yet(operator: Client, seconds: float, word: str) -> None:
    factory.order(
        factory.seen_node("node-a", now=NOW), generation=1, drains=True, seconds_ago=seconds, now=NOW
    )

    page = read(operator, "/nodes/node-a/")

    assert f"</svg>{word}</span>" in page
    assert f"Generation 1 (drain) was asked {seconds} s ago; the node acts on 0." in page


def test_a_viewer_sees_the_button_disabled_with_the_reason(viewer: Client) -> None:
    factory.seen_node("node-a", now=NOW)

    page = read(viewer, "/nodes/node-a/?confirm=drain")

    assert '<button type="button" disabled title="Draining is for operators and admins.">' in page
    assert "data-confirm" not in page


def test_the_second_step_comes_in_place(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW)
    in_place = {**HTMX, "HX-Target": "confirm"}

    opened = operator.get("/nodes/node-a/?confirm=drain", headers=in_place).content.decode()
    closed = operator.get("/nodes/node-a/?confirm=none", headers=in_place).content.decode()

    assert opened.strip().startswith('<form class="confirm"')
    assert closed == ""


def test_the_rows_come_alone_with_the_button_beside_the_drain(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW)

    part = operator.get("/nodes/node-a/", headers=HTMX).content.decode()

    assert part.strip().startswith('<div id="rows"')
    assert '<div id="control" hx-swap-oob="true">' in part
    assert "<html" not in part


def test_the_page_has_the_button_once(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW)

    assert read(operator, "/nodes/node-a/").count('id="control"') == 1


def test_a_node_that_never_spoke_has_a_page_that_says_so(operator: Client) -> None:
    Node.objects.create(name="node-a", created_at=NOW)

    page = read(operator, "/nodes/node-a/")

    assert "never seen" in page
    assert "It has told of no provider yet." in page
    assert "It has never been drained from here." in page


def test_what_a_provider_says_is_never_markup(operator: Client) -> None:
    node = factory.seen_node("node-a", now=NOW, providers=())
    factory.breaker(node, "<b>x</b>", now=NOW, state=BreakerState.OPEN, error="<img src=x>")

    page = read(operator, "/nodes/node-a/")

    assert "<b>x</b>" not in page and "<img" not in page


def test_a_node_that_is_not_there_is_named(operator: Client) -> None:
    response = operator.get("/nodes/nowhere/")

    assert response.status_code == 404
    assert "nowhere" in response.content.decode()
