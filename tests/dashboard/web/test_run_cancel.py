"""Cancelling a run by the button."""

from datetime import timedelta

import pytest
from django.test import Client

from dashboard.models import AuditEntry, OutboxRow, Run
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db
ID = "run_k3v9x2_1"
CANCEL = f"/runs/{ID}/cancel/"


@pytest.fixture(autouse=True)
def run() -> Run:
    """A live run of node-a."""
    factory.seen_node("node-a", now=NOW, log_id="k3v9x2ffff")
    return factory.run(ID, at=NOW - timedelta(seconds=41))


def test_the_button_opens_the_second_step_and_that_gives_the_order(operator: Client) -> None:
    page = operator.get(f"/runs/{ID}/").content.decode()
    form = operator.get(f"/runs/{ID}/?confirm=cancel").content.decode()
    alone = operator.get(f"/runs/{ID}/?confirm=cancel", headers=HTMX).content.decode()
    answer = operator.post(CANCEL, {"reason": "wrong one"})

    assert f'href="/runs/{ID}/?confirm=cancel"' in page and "Cancel this run?" not in page
    assert "Cancel this run?" in form and alone.strip().startswith("<form")
    assert answer.status_code == 302 and answer["Location"] == f"/runs/{ID}/"
    order = OutboxRow.objects.get()
    assert (order.run_id, order.event["by"], order.event["reason"]) == (ID, "alice", "wrong one")


def test_htmx_gets_a_word_in_place_and_the_rows_are_fetched(operator: Client) -> None:
    answer = operator.post(CANCEL, {"reason": "wrong one"}, headers=HTMX)

    assert "Asked to cancel it" in answer.content.decode()
    assert answer["HX-Trigger"] == '{"rows-changed": {}}' or "rows-changed" in answer["HX-Trigger"]


@pytest.mark.parametrize("htmx", [False, True])
def test_without_a_reason_nothing_is_ordered_and_it_is_on_record(operator: Client, htmx: bool) -> None:
    answer = operator.post(CANCEL, {"reason": "no"}, headers=HTMX if htmx else {})

    assert answer.status_code == 422
    assert "Say why" in answer.content.decode() and 'value="no"' in answer.content.decode()
    assert not OutboxRow.objects.exists()
    assert AuditEntry.objects.get().outcome == "refused"


def test_a_run_that_has_ended_is_not_cancelled_and_has_no_button(operator: Client) -> None:
    Run.objects.update(status="completed", ended_at=NOW)

    page = operator.get(f"/runs/{ID}/?confirm=cancel").content.decode()
    answer = operator.post(CANCEL, {"reason": "too late"}, headers=HTMX)

    assert "Cancel" not in page.replace("Cancelled", "")
    assert (answer.status_code, "completed already" in answer.content.decode()) == (409, True)
    assert not OutboxRow.objects.exists()


def test_a_viewer_sees_why_not(viewer: Client) -> None:
    page = viewer.get(f"/runs/{ID}/?confirm=cancel").content.decode()

    assert "Cancelling runs is for operators and admins." in page and "Cancel this run?" not in page
    assert viewer.post(CANCEL, {"reason": "wrong one"}).status_code == 403


def test_an_unknown_run_is_not_found(operator: Client) -> None:
    assert operator.post("/runs/run_k3v9x2_9/cancel/", {"reason": "wrong"}).status_code == 404
