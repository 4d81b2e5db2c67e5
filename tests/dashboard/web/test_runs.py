"""The list of runs, and one of them."""

from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Action, AuditEntry, Node, Run
from dashboard.selectors import keyset
from dashboard.services import outbox
from tests.dashboard.services.trail import ALICE
from tests.dashboard.web import example_mesh, factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db
ID = "run_k3v9x2_1"


def read(browser: Client, path: str, status: int = 200, *, htmx: bool = False) -> str:
    response = browser.get(path, headers=HTMX if htmx else {})
    assert response.status_code == status
    return " ".join(response.content.decode().split())


@pytest.fixture
def run() -> Run:
    """A live run of node-a, which is there."""
    factory.seen_node("node-a", now=NOW, log_id="k3v9x2ffff")
    return factory.run(ID, at=NOW - timedelta(seconds=41))


def test_a_row_says_who_owns_a_run_and_how_far_it_is(viewer: Client, run: Run) -> None:
    page = read(viewer, "/runs/")

    assert f'href="/runs/{ID}/"' in page
    assert "1 running" in page and ">node-a</span>" in page and ">41 s</time>" in page


def test_the_tally_does_not_call_running_what_its_row_says_was_running(viewer: Client, run: Run) -> None:
    factory.silent_for(Node.objects.get(name="node-a"), 600, now=NOW)

    page = read(viewer, "/runs/")

    assert ">was running</span>" in page
    assert "1 was running" in page and "1 running" not in page


def test_runs_beyond_what_nodes_could_tell_are_said(viewer: Client, run: Run) -> None:
    Node.objects.update(runs_more=3)

    assert "3 more that their nodes have no room to tell of" in read(viewer, "/runs/")
    assert "3 more are beyond what it has room to tell of" in read(viewer, "/nodes/node-a/")


@pytest.mark.parametrize("query", ["", "?node=node-b&live=1", "?status=failed"])
def test_a_page_of_the_list_has_a_fixed_number_of_queries(
    viewer: Client, query: str, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    example_mesh.make(now=NOW)
    example_mesh.runs(now=NOW)

    with django_assert_max_num_queries(13):  # 3 for who asks, 1 cursor, 1 names of nodes, 4 tally, 4 rows
        assert viewer.get(f"/runs/{query}").status_code == 200


def test_the_pager_leads_on_with_the_filter_kept(viewer: Client, run: Run) -> None:
    for n in range(keyset.PAGE_ROWS):
        factory.run(f"run_k3v9x2_a{n}", at=NOW)

    first = viewer.get("/runs/?node=node-a")
    last = viewer.get(f"/runs/?node=node-a&before={first.context['page'].older}")

    assert [row.run.run_id for row in last.context["rows"]] == [ID]


@pytest.mark.parametrize(
    ("query", "named"),
    [("node=nowhere", "node="), ("status=odd", "status="), ("live=2", "live="), ("before=x", "before=")],
)
def test_a_filter_that_cannot_be_is_an_error_that_names_it(viewer: Client, query: str, named: str) -> None:
    assert named in read(viewer, f"/runs/?{query}", 400)


def test_an_empty_list_says_what_to_do(viewer: Client) -> None:
    assert "/v1/runs" in read(viewer, "/runs/")
    assert "No run fits the filter" in read(viewer, "/runs/?live=1")


def test_the_list_follows_and_can_be_paused(viewer: Client, run: Run) -> None:
    assert 'data-live-page="runs"' in read(viewer, "/runs/")
    assert "data-live-page" not in read(viewer, "/runs/?pause=1")
    assert read(viewer, "/runs/", htmx=True).startswith('<div id="rows"')


def test_a_run_tells_who_owned_which_part_and_what_was_checked(viewer: Client) -> None:
    example_mesh.make(now=NOW)
    made = example_mesh.runs(now=NOW)

    page = read(viewer, f"/runs/{made['again'].run_id}/")

    assert "node-c owned events 2 to 60, replaced later" in page
    assert "No gap: events 1 to 301 are all there" in page
    assert "begun anew 1 ×" in page and 'href="/nodes/node-b/"' in page


def test_a_run_whose_owner_is_silent_says_so(viewer: Client) -> None:
    example_mesh.make(now=NOW)
    made = example_mesh.runs(now=NOW)

    page = read(viewer, f"/runs/{made['silent'].run_id}/")

    assert "was running" in page and "data-stale" in page


def test_a_run_names_its_calls_and_a_call_its_run(viewer: Client, run: Run) -> None:
    trace = factory.trace(Node.objects.get(), at=NOW, run_id=ID)

    assert f'href="/traces/{trace.pk}/"' in read(viewer, f"/runs/{ID}/")
    assert f'href="/runs/{ID}/"' in read(viewer, f"/traces/{trace.pk}/")


def test_a_node_shows_its_live_runs(viewer: Client, run: Run) -> None:
    assert f'href="/runs/{ID}/"' in read(viewer, "/nodes/node-a/")


def test_an_unknown_run_is_not_found(viewer: Client) -> None:
    assert "There is no run" in read(viewer, "/runs/run_k3v9x2_9/", 404)


def test_the_page_of_a_run_has_a_fixed_number_of_queries(
    viewer: Client, run: Run, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(10):  # 3 for who asks, 1 cursor, 3 the run, nodes, order, calls
        viewer.get(f"/runs/{ID}/")


def test_what_was_asked_of_a_run_is_shown(operator: Client, run: Run) -> None:
    outbox.cancel_run(run_id=ID, reason="wrong one", actor=ALICE, now=NOW)

    page = read(operator, f"/runs/{ID}/")

    assert "by alice: <q>wrong one</q>; it waits for a node of its log" in page
    assert AuditEntry.objects.filter(action=Action.RUN_CANCEL.value).count() == 1
