"""Who gets in, and in which size."""

import pytest
from django.contrib.auth.models import User
from django.test import Client, RequestFactory
from django_htmx.middleware import HtmxDetails

from dashboard.models import AuditEntry, DesiredState
from dashboard.web import guard
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db

PAGES = ("/", "/nodes/node-a/", "/traces/", "/traces/1/", "/audit/", "/live/cells?page=fleet")
READABLE = ("/", "/nodes/node-a/", "/traces/", "/live/cells?page=fleet")
POSTS = ("/nodes/node-a/drain/", "/nodes/node-a/undrain/")


@pytest.fixture(autouse=True)
def node() -> None:
    factory.seen_node("node-a", now=NOW)


@pytest.mark.parametrize("path", PAGES)
def test_nobody_is_asked_to_sign_in_and_comes_back_here(client: Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 302
    assert response["Location"].startswith("/login/?next=/")


@pytest.mark.parametrize("path", [*PAGES, *POSTS])
def test_a_swap_without_a_session_takes_the_whole_page_to_the_login(client: Client, path: str) -> None:
    response = client.post(path, headers=HTMX) if path in POSTS else client.get(path, headers=HTMX)

    assert response["HX-Redirect"] == "/login/"
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("path", PAGES)
def test_who_belongs_to_no_group_sees_no_page(stranger: Client, path: str) -> None:
    response = stranger.get(path)

    assert response.status_code == 403
    assert "no group" in response.content.decode() or path == "/audit/"


@pytest.mark.parametrize("path", READABLE)
def test_a_viewer_sees_what_is_there_to_see(viewer: Client, path: str) -> None:
    assert viewer.get(path).status_code == 200


def test_the_audit_is_not_for_viewers_and_the_page_says_for_whom(viewer: Client) -> None:
    response = viewer.get("/audit/")

    assert response.status_code == 403
    assert "The audit is for operators, auditors and admins." in response.content.decode()


@pytest.mark.parametrize("path", POSTS)
def test_a_viewer_changes_nothing(viewer: Client, path: str) -> None:
    response = viewer.post(path, {"reason": "because I can"})

    assert response.status_code == 403
    assert not DesiredState.objects.exists()
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("path", POSTS)
def test_looking_at_the_address_of_a_button_does_nothing(operator: Client, path: str) -> None:
    assert operator.get(path).status_code == 405
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("path", POSTS)
def test_a_button_pressed_from_another_site_is_refused(alice: User, path: str) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)

    response = browser.post(path, {"reason": "kernel update"})

    assert response.status_code == 403
    assert "out of date" in response.content.decode()
    assert not AuditEntry.objects.exists()


def test_a_person_who_was_switched_off_is_out_with_the_next_request(operator: Client, alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(is_active=False)

    assert operator.get("/").status_code == 302


def test_no_cache_keeps_a_page(viewer: Client) -> None:
    assert "no-store" in viewer.get("/")["Cache-Control"]


@pytest.mark.parametrize(
    ("headers", "fragment"),
    [
        ({}, False),
        ({"HX-Request": "true"}, True),
        ({"HX-Request": "true", "HX-Boosted": "true"}, False),
        ({"HX-Request": "true", "HX-History-Restore-Request": "true"}, False),
    ],
)
def test_only_a_swap_gets_a_part_of_a_page(headers: dict[str, str], fragment: bool) -> None:
    request = RequestFactory().get("/", headers=headers)
    request.htmx = HtmxDetails(request)  # type: ignore[attr-defined]

    assert guard.is_fragment(request) is fragment
    assert guard.template_for(request, "fleet.html") == ("fleet.html#rows" if fragment else "fleet.html")


def test_the_actor_is_the_person_with_the_address_of_the_request(alice: User) -> None:
    request = RequestFactory().get("/", REMOTE_ADDR="192.0.2.7")

    actor = guard.actor_of(request, guard.Visitor(user=alice, rights=frozenset()))

    assert (actor.kind, actor.name, actor.address) == ("user", "alice", "192.0.2.7")
    assert len(actor.request_id) == 32
