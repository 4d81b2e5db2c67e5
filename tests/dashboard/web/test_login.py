"""Signing in and out."""

from typing import Any

import pytest
import time_machine
from django.contrib.auth.models import User
from django.test import Client

from dashboard.models import AuditEntry, Change
from dashboard.services import people
from dashboard.services.actor import SYSTEM
from tests.dashboard.web.conftest import NOW

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


def fail(client: Client, times: int, *, address: str = "192.0.2.7", path: str = "/login/") -> Any:
    """Try wrong passwords; returns the last answer."""
    for _ in range(times):
        form = {"username": "alice", "password": "wrong"}
        answer = client.post(path, form, REMOTE_ADDR=address)
    return answer


@pytest.mark.parametrize("path", ["/login/", "/admin/login/"])
def test_after_too_many_tries_a_page_says_when_to_try_again(client: Client, alice: User, path: str) -> None:
    answer = fail(client, 5, path=path)

    page = answer.content.decode()
    assert (answer.status_code, answer["Retry-After"]) == (429, "900")
    assert "5 wrong passwords" in page
    assert ">15 min</time>" in page
    assert ">14:36:07</time> UTC" in page


def test_while_it_is_locked_the_right_password_counts_as_little_and_the_end_stays(
    client: Client, alice: User
) -> None:
    with time_machine.travel(NOW, tick=False) as clock:
        fail(client, 5)
        clock.shift(600)

        locked = client.post(
            "/login/", {"username": "alice", "password": "alice knows the way"}, REMOTE_ADDR="192.0.2.7"
        )
        assert (locked.status_code, locked["Retry-After"]) == (429, "300")

        clock.shift(301)
        assert sign_in(client) == "/"


def test_others_are_not_locked_out_with_somebody(client: Client, alice: User) -> None:
    fail(client, 5)

    assert fail(client, 1, address="192.0.2.8").status_code == 200


def test_a_client_that_changes_its_address_within_its_network_is_one(client: Client, alice: User) -> None:
    answers = [fail(client, 1, address=f"2001:db8::{number}") for number in range(1, 6)]

    assert answers[-1].status_code == 429


def test_a_new_password_from_the_shell_lifts_the_lock(client: Client, db: None) -> None:
    people.ensure_operator(actor=SYSTEM, now=NOW)
    for _ in range(5):
        client.post("/login/", {"username": "operator", "password": "wrong"}, REMOTE_ADDR="192.0.2.7")

    password = people.ensure_operator(actor=SYSTEM, new_password=True, now=NOW)

    form = {"username": "operator", "password": password}
    assert client.post("/login/", form, REMOTE_ADDR="192.0.2.7").status_code == 302


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


def choose(client: Client, old: str, new: str) -> Any:
    return client.post("/password/", {"old_password": old, "new_password1": new, "new_password2": new})


def test_who_may_not_look_may_choose_a_password_and_others_sessions_end(
    client: Client, charlie: User
) -> None:
    elsewhere = Client()
    for browser in (client, elsewhere):
        browser.force_login(charlie, backend="django.contrib.auth.backends.ModelBackend")

    answer = choose(client, "charlie knows the way", "charlie knows another")

    assert answer["Location"] == "/"
    assert client.get("/password/").status_code == 200
    assert elsewhere.get("/password/").status_code == 302
    entry = AuditEntry.objects.latest("n")
    assert (entry.action, entry.actor_name) == ("password.new", "charlie")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("wrong", "charlie knows another", "old password was entered incorrectly"),
        ("charlie knows the way", "short", "at least 12 characters"),
        ("charlie knows the way", "1234567890123", "entirely numeric"),
    ],
)
def test_a_password_that_will_not_do_says_why(
    old: str, new: str, said: str, client: Client, charlie: User
) -> None:
    client.force_login(charlie, backend="django.contrib.auth.backends.ModelBackend")

    assert said in choose(client, old, new).content.decode()
    assert not AuditEntry.objects.exists()
    assert User.objects.get().check_password("charlie knows the way")


def test_the_page_for_a_password_is_for_whoever_is_signed_in(client: Client) -> None:
    assert client.get("/password/")["Location"] == "/login/?next=/password/"


def test_no_cache_keeps_the_page_for_a_password(client: Client, charlie: User) -> None:
    client.force_login(charlie, backend="django.contrib.auth.backends.ModelBackend")

    assert "no-store" in client.get("/password/")["Cache-Control"]
