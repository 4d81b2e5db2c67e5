"""Signing in and out."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dashboard.models import AuditEntry, Change

pytestmark = pytest.mark.django_db


def sign_in(client: Client, password: str = "alice knows the way", **more: str) -> str:
    response = client.post(
        "/login/", {"username": "alice", "password": password, **more}, REMOTE_ADDR="192.0.2.7"
    )
    return response.get("Location", response.content.decode())


def test_who_signs_in_goes_where_they_wanted_and_is_in_the_audit(client: Client, alice: User) -> None:
    assert sign_in(client, next="/traces/?node=a") == "/traces/?node=a"

    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.action, entry.address) == ("alice", "login", "192.0.2.7")


def test_nobody_is_led_to_another_site(client: Client, alice: User) -> None:
    assert sign_in(client, next="https://evil.example/") == "/"


def test_a_wrong_password_says_so_and_leaves_no_session(client: Client, alice: User) -> None:
    page = sign_in(client, "wrong")

    assert "Please enter a correct username and password" in page
    assert client.get("/").status_code == 302
    assert not AuditEntry.objects.exists()


def test_after_too_many_tries_it_says_so_on_a_page(client: Client, alice: User) -> None:
    answers = [client.post("/login/", {"username": "alice", "password": "wrong"}) for _ in range(5)]

    assert answers[-1].status_code == 429
    assert "5 wrong passwords" in answers[-1].content.decode()
    assert "15 min" in answers[-1].content.decode()


def test_an_empty_form_says_what_is_missing(client: Client) -> None:
    assert "Name and password are both needed." in client.post("/login/", {}).content.decode()


def test_signing_out_takes_a_press_of_a_button(client: Client, alice: User) -> None:
    sign_in(client)

    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/")["Location"] == "/login/"
    assert client.get("/").status_code == 302


def test_open_pages_are_told_when_somebody_signs_out_who_was_signed_in(client: Client, alice: User) -> None:
    sign_in(client)

    client.post("/logout/")
    client.post("/logout/")

    assert list(Change.objects.order_by("id").values_list("key", flat=True)) == ["audit", "people"]


def test_who_may_not_look_can_at_least_sign_out(client: Client, charlie: User) -> None:
    client.force_login(charlie)

    page = client.get("/").content.decode()

    assert 'action="/logout/"' in page
