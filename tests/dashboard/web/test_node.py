"""A node's own page."""

import re

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node
from dashboard.services import aliases
from dashboard.services import drain as drains
from meshcore.breaker import BreakerState
from meshcore.drain import ActiveWork, NodeState
from tests.dashboard.services.trail import ALICE
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
        22
    ):  # 3 who asks, 1 cursor, 8 all nodes, 1 its traffic, 4 its days, 1 its drain, 1 its runs, 3 its past
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


def test_what_the_node_could_not_take_of_its_orders_is_told_on_its_page_and_on_the_fleet(
    operator: Client,
) -> None:
    node = factory.seen_node("node-a", now=NOW)
    node.readout["problems"] = ["aliases of the dashboard: mesh/<b>: expected PROVIDER/MODEL"]
    node.save()

    page, fleet = read(operator, "/nodes/node-a/"), read(operator, "/")

    said = "holds to what it had: aliases of the dashboard: mesh/&lt;b&gt;: expected PROVIDER/MODEL"
    assert f"It {said}" in page
    assert f"node-a could not take what was asked and {said}" in fleet


def test_the_panel_tells_all_of_a_drain_that_is_asked_for(operator: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    drains.request(
        node=node,
        actor=ALICE,
        reason="kernel update",
        deadline_seconds=900,
        force=True,
        sticky=False,
        expires_seconds=7200,
        override_guards=True,
        now=NOW,
    )

    page = read(operator, "/nodes/node-a/")

    told = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    for words in (
        "by alice since 14:21:07 : kernel update",
        "in 15 min , at 14:36:07 ; what is left then is ended by force",
        "ends when its machine or container starts anew",
        "in 2 h , at 16:21:07",
        "requested by alice 14:21:07 0.00 s here",
    ):
        assert words in told


@pytest.mark.parametrize(
    ("state", "edge", "safe", "words"),
    [
        (NodeState.DRAINED, 0, True, "nothing runs on it and nothing passes through it"),
        (NodeState.DRAINED, 1, False, "not yet: drained, but 1 call still passes through"),
        (NodeState.DRAINED, 2, False, "not yet: drained, but 2 calls still pass through"),
        (NodeState.DRAINING, 0, False, "<dt>Safe to stop</dt><dd>not yet</dd>"),
    ],
)
def test_safe_to_stop_is_a_fact_of_its_own(
    operator: Client, state: NodeState, edge: int, safe: bool, words: str
) -> None:
    factory.seen_node(
        "node-a",
        now=NOW,
        state=state,
        edge=edge,
        in_flight=0 if state is NodeState.DRAINED else 1,
        drain=factory.desired_drain(now=NOW),
        safe_to_stop=safe,
    )

    assert words in read(operator, "/nodes/node-a/")


def test_of_a_silent_node_nobody_knows_whether_it_is_safe_to_stop(operator: Client) -> None:
    drain = factory.desired_drain(now=NOW)
    node = factory.seen_node("node-a", now=NOW, state=NodeState.DRAINED, drain=drain, safe_to_stop=True)
    factory.silent_for(node, 60, now=NOW)
    factory.order(node, generation=2, drains=True, seconds_ago=5, now=NOW)

    page = read(operator, "/nodes/node-a/")

    assert "not known</span> it is not heard; it was, when it was" in page
    assert "</svg>unreachable</span> Generation 2 (drain)" in page
    assert "It will act when it is back." in page


def test_a_drain_from_the_machine_alone_offers_one_from_here(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW, state=NodeState.DRAINED, drain=factory.local_drain(now=NOW))

    page = read(operator, "/nodes/node-a/")

    assert "?confirm=drain" in page and "?confirm=undrain" not in page


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "http://node-a.mesh.example:8100/v1/aliases"),
        ({}, "The dashboard wants it to have none."),
        ({"mesh/fast": ["groq/l3", "ollama/l3"]}, "groq/l3 → ollama/l3"),
    ],
)
def test_aliases_are_told_with_their_source(
    operator: Client, table: dict[str, list[str]] | None, words: str
) -> None:
    node = factory.seen_node("node-a", now=NOW)
    aliases.put(nodes=[node], table=table, reason="faster", actor=ALICE, now=NOW)

    page = read(operator, "/nodes/node-a/")

    assert words in page
    assert ("from the node's own file" in page) is (table is None)


def test_a_node_that_was_never_asked_anything_goes_by_its_own_aliases(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW)

    assert "from the node's own file" in read(operator, "/nodes/node-a/")


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
