"""Drain and give back, by button."""

from typing import Any

import pytest
from django.test import Client

from dashboard.models import AuditEntry, DesiredState, Node
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db

IN_PLACE = {**HTMX, "HX-Target": "confirm"}


@pytest.fixture(autouse=True)
def node() -> Node:
    factory.seen_node("node-b", now=NOW)  # serves the same, so that node-a may drain
    return factory.seen_node("node-a", now=NOW, in_flight=2)


def post(browser: Client, what: str, **form: Any) -> Any:
    return browser.post(f"/nodes/node-a/{what}/", form, REMOTE_ADDR="192.0.2.7")


def test_draining_without_scripts_is_two_steps_and_ends_on_the_page_of_the_node(operator: Client) -> None:
    first = operator.get("/nodes/node-a/?confirm=drain").content.decode()
    assert "Drain node-a?" in first

    second = operator.post(
        "/nodes/node-a/drain/", {"reason": "kernel update", "deadline": "900"}, follow=True
    )

    assert second.redirect_chain == [("/nodes/node-a/", 302)]
    assert "Asked node-a to drain, generation 1." in second.content.decode()


def test_the_audit_and_the_desired_state_say_who_why_and_from_where(operator: Client) -> None:
    post(operator, "drain", reason="kernel update", deadline="900")

    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.action, entry.target) == ("alice", "drain", "node:node-a")
    assert (entry.reason, entry.address, entry.generation) == ("kernel update", "192.0.2.7", 1)
    drain = DesiredState.objects.get().drain or {}
    assert (drain["by"], drain["reason"], drain["sticky"]) == ("alice", "kernel update", True)
    assert drain["deadline_at"].startswith("2026-03-05T14:36:07")


def test_a_missing_reason_is_said_beside_the_form_and_nothing_is_done(operator: Client) -> None:
    response = post(operator, "drain", reason="x", deadline="900")

    page = response.content.decode()
    assert response.status_code == 422
    assert "Say why, in 3 characters or more" in page
    assert 'value="x"' in page
    assert '<option value="900" selected>' in page
    assert not DesiredState.objects.exists()


def test_in_place_the_answer_is_a_word_and_the_rows_fetch_themselves_again(operator: Client) -> None:
    response = operator.post("/nodes/node-a/drain/", {"reason": "kernel update"}, headers=IN_PLACE)

    assert "rows-changed" in response["HX-Trigger"]
    assert "Asked node-a to drain, generation 1." in response.content.decode()
    assert "<html" not in response.content.decode()


def test_in_place_a_refusal_is_the_form_again(operator: Client) -> None:
    response = operator.post("/nodes/node-a/drain/", {"reason": ""}, headers=IN_PLACE)

    assert response.status_code == 422
    assert 'aria-invalid="true"' in response.content.decode()
    assert "<html" not in response.content.decode()


def test_giving_back_ends_the_drain(operator: Client) -> None:
    post(operator, "drain", reason="kernel update")

    response = operator.post("/nodes/node-a/undrain/", {}, follow=True)

    assert "Asked node-a to serve again, generation 2." in response.content.decode()
    assert DesiredState.objects.get().drain is None


def test_giving_back_what_was_never_asked_says_so(operator: Client) -> None:
    response = operator.post("/nodes/node-a/undrain/", {"reason": "oops"}, follow=True)

    assert "had not asked node-a to drain; nothing changed" in response.content.decode()


@pytest.mark.parametrize("what", ["drain", "undrain"])
def test_a_node_that_is_not_there_is_a_404(operator: Client, what: str) -> None:
    response = operator.post(f"/nodes/nowhere/{what}/", {"reason": "kernel update"})

    assert response.status_code == 404
    assert not AuditEntry.objects.exists()


def test_a_reason_from_a_person_is_never_markup(operator: Client) -> None:
    post(operator, "drain", reason="<script>alert(1)</script>")

    for path in ("/", "/nodes/node-a/", "/audit/"):
        assert "<script>alert" not in operator.get(path).content.decode()
