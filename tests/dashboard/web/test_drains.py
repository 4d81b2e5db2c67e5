"""The list of drains, and the record of one."""

import re

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Drain, DrainStatus
from dashboard.services import drain as drains
from tests.dashboard.services.trail import ALICE
from tests.dashboard.web import example_mesh, factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db


def read(browser: Client, path: str = "/drains/", status: int = 200) -> str:
    response = browser.get(path)
    assert response.status_code == status
    return " ".join(response.content.decode().split())


def row_of(page: str, drain: Drain) -> str:
    """Return the words of a row of the list."""
    rows = [row for row in page.split("<tr data-row>")[1:] if f'href="/drains/{drain.pk}/"' in row]
    return " ".join(re.sub(r"<[^>]+>", " ", rows[0].partition("</tr>")[0]).split())


def test_each_drain_tells_node_state_who_why_how_long_and_what_came_of_it(viewer: Client) -> None:
    example_mesh.make(now=NOW)
    found = example_mesh.drains(now=NOW)
    factory.order(found["waiting"].node, generation=1, drains=True, seconds_ago=30, now=NOW)

    page = read(viewer)

    for name, words in {
        "going": "draining operator : kernel update 14:20:27 40 s 5 of 14, 2 passed on deadline in 14 min",
        "done": "cancelled operator : new GPU driver 12:17:47 5 min 0 of 6 was safe to stop after 44 s",
        "waiting": "not acknowledged deploy token : rack 7 14:20:37 30 s – the node has not told of it yet",
        "gone": "unreachable operator gave no reason 14:19:27 100 s – the node has not told of it yet",
    }.items():
        drain = found[name]
        assert row_of(page, drain) == f"{drain.node.name} , drain {drain.pk} {words}"
    assert 'data-live-page="drains"' in page and 'aria-current="page">Drains</a>' in page


@pytest.mark.parametrize(
    ("query", "shown", "hidden"),
    [
        ("?node=node-a", "kernel update", "GPU"),
        ("?status=cancelled", "GPU", "kernel update"),
        ("?by=deploy", "rack 7", "kernel update"),
    ],
)
def test_filters_are_in_the_address(viewer: Client, query: str, shown: str, hidden: str) -> None:
    example_mesh.make(now=NOW)
    example_mesh.drains(now=NOW)

    page = read(viewer, f"/drains/{query}")

    assert shown in page and hidden not in page
    assert f'hx-get="/drains/{query}"' in page


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?node=nowhere", "node=&#x27;nowhere&#x27;: expected one of"),
        ("?status=gone", "expected one of active, cancelled, expired, ended_by_restart"),
        (f"?by={'x' * 151}", "151 characters"),
        ("?before=soon", "expected a key from the list"),
    ],
)
def test_a_typo_in_the_address_is_told(viewer: Client, query: str, words: str) -> None:
    assert words in read(viewer, f"/drains/{query}", 400)


def test_older_pages_follow_and_are_not_moved_under_the_reader(viewer: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    for n in range(52):
        node.drains.create(
            first_generation=n,
            generation=n,
            started_at=NOW,
            ended_at=NOW,
            status=DrainStatus.CANCELLED.value,
            by_kind="user",
            by_name="alice",
        )

    first = read(viewer)
    older = re.search(r'href="(\?before=\d+)" rel="next"', first)
    assert older is not None
    second = read(viewer, f"/drains/{older[1]}")

    assert (first.count("<tr data-row>"), second.count("<tr data-row>")) == (50, 2)
    assert "data-live-page" not in second


def test_no_drain_yet_says_how_to_begin(viewer: Client) -> None:
    factory.seen_node("node-a", now=NOW)

    assert "/api/v1/nodes/node-a/drain" in read(viewer)
    assert "No drain fits the filter" in read(viewer, "/drains/?by=nobody")


def test_the_rows_come_alone(viewer: Client) -> None:
    part = viewer.get("/drains/", headers=HTMX).content.decode()

    assert part.strip().startswith('<div id="rows"')
    assert "<form" not in part


def test_the_list_takes_a_fixed_number_of_queries(
    viewer: Client, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    example_mesh.make(now=NOW)
    example_mesh.drains(now=NOW)

    with django_assert_num_queries(8):  # 3 for who asks, 1 cursor, 1 names, 3 for the rows
        read(viewer)


def test_a_record_has_all_steps_with_both_times_the_numbers_and_who_asked(operator: Client) -> None:
    example_mesh.make(now=NOW)
    node = factory.Node.objects.get(name="node-a")
    asked = drains.request(
        node=node,
        actor=ALICE,
        reason="kernel update",
        deadline_seconds=900,
        force=True,
        meta={"job": 7},
        now=NOW,
    )
    factory.step(asked.drain, "gate_closed", at=NOW, in_flight=14, lag_seconds=0.21)

    page = read(operator, f"/drains/{asked.drain.pk}/")

    for words in (
        "gate closed",
        "0.21 s",
        "192.0.2.1",
        "<q>kernel update</q>",
        "what is left is ended by force",
    ):
        assert words in page
    assert f"/api/v1/drains/{asked.drain.pk}" in page
    assert "job <code>7</code>" in page


def test_where_it_was_asked_from_is_for_those_who_may_read_the_audit(viewer: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    asked = drains.request(node=node, actor=ALICE, reason="kernel update", override_guards=True, now=NOW)

    page = read(viewer, f"/drains/{asked.drain.pk}/")

    assert "192.0.2.1" not in page
    assert "The audit is for operators, auditors and admins." in page


@pytest.mark.parametrize("ident", ["7", "soon", "9" * 19, "9" * 30])
def test_a_drain_that_never_was_is_named(viewer: Client, ident: str) -> None:
    assert ident[:40] in read(viewer, f"/drains/{ident}/", 404)


def test_a_reason_is_never_markup(viewer: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    drain = drains.request(
        node=node, actor=ALICE, reason="<b>x</b>", meta={"<s>": "<u>"}, override_guards=True, now=NOW
    ).drain

    for path in ("/drains/", f"/drains/{drain.pk}/", "/nodes/node-a/"):
        page = read(viewer, path)
        assert "<b>x" not in page and "<s>" not in page and "<u>" not in page


def test_a_stranger_is_refused(stranger: Client) -> None:
    assert stranger.get("/drains/").status_code == 403
    assert stranger.get("/drains/1/").status_code == 403
