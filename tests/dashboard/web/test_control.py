"""Drain and give back, by button."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from dashboard.models import AuditEntry, DesiredState, Drain, DrainStatus, Node
from dashboard.services import drain as drains
from tests.dashboard.services.trail import ALICE
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db

IN_PLACE = {**HTMX, "HX-Target": "confirm"}


@pytest.fixture(autouse=True)
def node() -> Node:
    """node-a, beside two that can do all that it can."""
    for name in ("node-b", "node-c"):
        factory.seen_node(name, now=NOW)
    return factory.seen_node("node-a", now=NOW, in_flight=2)


def only_drain() -> Drain:
    return Drain.objects.get()


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
    post(operator, "drain", reason="kernel update", deadline="900", sticky="1")

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


@pytest.mark.parametrize("what", ["drain", "undrain"])
def test_what_is_refused_to_somebody_who_may_is_in_the_audit_at_once(operator: Client, what: str) -> None:
    post(operator, what, reason="x" * 501)

    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.action, entry.target) == ("alice", what, "node:node-a")
    assert (entry.outcome, entry.address) == ("refused", "192.0.2.7")
    assert "501 characters" in entry.reason


def test_what_the_service_itself_wrote_down_is_not_written_down_again(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW, providers=("ollama", "vllm"))

    against_guards = post(operator, "drain", reason="kernel update")
    too_late = post(operator, "drain", generation="7", reason="kernel", deadline="keep", expires="keep")

    assert (against_guards.status_code, too_late.status_code) == (409, 412)
    assert [entry.outcome for entry in AuditEntry.objects.all()] == ["refused", "refused"]


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


def test_all_of_a_drain_can_be_asked_for(operator: Client) -> None:
    post(operator, "drain", reason="disk", deadline="own", minutes="7", force="1", expires="3600")

    drain = only_drain()
    assert (drain.reason, drain.force, drain.sticky) == ("disk", True, False)
    assert drain.deadline_at == NOW + timedelta(minutes=7)
    assert drain.expires_at == NOW + timedelta(hours=1)


def test_what_stands_against_it_is_told_and_has_to_be_overridden(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW, providers=("ollama", "vllm"))

    before = operator.get("/nodes/node-a/?confirm=drain").content.decode()
    refused = post(operator, "drain", reason="kernel update", deadline="900")
    assert not Drain.objects.exists()
    done = post(operator, "drain", reason="kernel update", deadline="900", override_guards="1")

    told = "node-a has the last healthy provider of llm.chat for qwen-32b."
    assert told in before and 'name="override_guards"' in before
    assert refused.status_code == 409
    page = refused.content.decode()
    assert told in page and 'value="kernel update"' in page and '<option value="900" selected>' in page
    assert done.status_code == 302
    assert only_drain().override_guards and only_drain().blockers


def test_without_anything_against_it_there_is_nothing_to_override(operator: Client) -> None:
    assert "override_guards" not in operator.get("/nodes/node-a/?confirm=drain").content.decode()


def test_a_drain_that_goes_on_is_changed_and_keeps_its_beginning(operator: Client) -> None:
    post(operator, "drain", reason="kernel update", deadline="900", sticky="1")
    opened = operator.get("/nodes/node-a/?confirm=change").content.decode()
    assert '<input type="hidden" name="generation" value="1">' in opened

    changed = operator.post(
        "/nodes/node-a/drain/",
        {"generation": "1", "reason": "disk", "deadline": "keep", "expires": "86400", "force": "1"},
        follow=True,
    )

    assert "Changed the drain of node-a, generation 2." in changed.content.decode()
    drain = only_drain()
    assert (drain.first_generation, drain.reason, drain.force, drain.sticky) == (1, "disk", True, False)
    assert drain.deadline_at == NOW + timedelta(minutes=15)


def test_the_same_again_is_no_new_order_and_says_so(operator: Client) -> None:
    post(operator, "drain", reason="kernel update", sticky="1")

    again = operator.post(
        "/nodes/node-a/drain/",
        {"generation": "1", "reason": "kernel update", "deadline": "keep", "expires": "keep", "sticky": "1"},
        follow=True,
    )

    assert "node-a was asked just that already, generation 1." in again.content.decode()


@pytest.mark.parametrize("in_place", [True, False])
def test_whoever_was_slower_is_told_and_keeps_what_was_typed(operator: Client, in_place: bool) -> None:
    post(operator, "drain", reason="kernel update", sticky="1")
    drains.request(node=only_drain().node, actor=ALICE, reason="disk too", now=NOW)
    mine = {"generation": "1", "reason": "only the kernel", "deadline": "300", "expires": "keep"}

    response = operator.post("/nodes/node-a/drain/", mine, headers=IN_PLACE if in_place else {})

    page = response.content.decode()
    assert response.status_code == 412
    assert "generation 1 was on your screen, 2 is asked" in page
    assert 'value="only the kernel"' in page and '<option value="300" selected>' in page
    assert '<input type="hidden" name="generation" value="2">' in page
    assert only_drain().reason == "disk too"


def test_a_change_of_a_drain_that_ended_meanwhile_drains_nothing(operator: Client) -> None:
    post(operator, "drain", reason="kernel update", sticky="1")
    post(operator, "undrain")

    response = post(operator, "drain", generation="1", reason="kernel", deadline="keep", expires="keep")

    assert response.status_code == 412
    assert "Drain node-a?" in response.content.decode()
    assert only_drain().status == DrainStatus.CANCELLED.value


@pytest.mark.parametrize(
    ("form", "marked"),
    [
        ({"deadline": "0"}, 'name="force" value="1" aria-invalid="true"'),
        ({"deadline": "own", "minutes": "soon"}, 'value="soon" inputmode="decimal"'),
        ({"reason": "a\x00bc"}, "control characters"),
    ],
)
def test_what_is_wrong_is_marked_in_its_place(operator: Client, form: dict[str, str], marked: str) -> None:
    response = post(operator, "drain", **{"reason": "kernel update", **form})

    assert response.status_code == 422
    assert marked in " ".join(response.content.decode().split())
    assert not Drain.objects.exists()


@pytest.mark.parametrize("what", ["drain", "undrain"])
def test_a_node_that_is_not_there_is_a_404(operator: Client, what: str) -> None:
    response = operator.post(f"/nodes/nowhere/{what}/", {"reason": "kernel update"})

    assert response.status_code == 404
    assert not AuditEntry.objects.exists()


def test_a_reason_from_a_person_is_never_markup(operator: Client) -> None:
    post(operator, "drain", reason="<script>alert(1)</script>")

    for path in ("/", "/nodes/node-a/", "/audit/"):
        assert "<script>alert" not in operator.get(path).content.decode()
