"""The admin's own ways to sign in and to change a password leave their entries in the audit."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dashboard.models import AuditEntry
from dashboard.services import accounts
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db


@pytest.fixture
def staff(bob: User) -> User:
    """Bob, who may look at the admin."""
    bob.is_staff = True
    bob.set_password("the old word of bob")
    bob.save()
    return bob


def test_signing_in_at_the_admin_is_in_the_audit(staff: User) -> None:
    word = {"username": "bob", "password": "the old word of bob"}
    browser = Client()

    assert browser.post("/admin/login/", {**word, "password": "wrong"}).status_code == 200
    assert not AuditEntry.objects.exists()

    assert browser.post("/admin/login/", word, REMOTE_ADDR="192.0.2.7").status_code == 302
    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.action, entry.address) == ("bob", "login", "192.0.2.7")


def test_changing_ones_own_password_is_in_the_audit(staff: User) -> None:
    browser = Client()
    browser.force_login(staff)
    form = {"old_password": "wrong", "new_password1": "a new word 4 bob", "new_password2": "a new word 4 bob"}

    assert browser.get("/admin/password_change/").status_code == 200
    assert browser.post("/admin/password_change/", form).status_code == 200
    assert not AuditEntry.objects.exists()

    form["old_password"] = "the old word of bob"
    assert browser.post("/admin/password_change/", form).status_code == 302
    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.action, entry.target) == ("bob", "password.new", "user:bob")
    assert "a new word" not in entry.canonical


def test_a_password_that_others_know_opens_no_admin(staff: User) -> None:
    password = accounts.new_password(user=staff, actor=SYSTEM)
    browser = Client()

    browser.post("/admin/login/", {"username": "bob", "password": password})

    assert browser.get("/admin/")["Location"] == "/admin/login/?next=/admin/"
    assert browser.get("/")["Location"] == "/password/"
