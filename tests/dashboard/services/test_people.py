"""The first operator, and what is audited of people."""

from datetime import datetime

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import User
from django.test import RequestFactory

from dashboard.models import AuditEntry, Change
from dashboard.services import people
from dashboard.services.actor import SYSTEM, of_user

pytestmark = pytest.mark.django_db


def signs_in(password: str) -> bool:
    """Return whether the operator gets in with `password`."""
    return authenticate(RequestFactory().post("/"), username="operator", password=password) is not None


def test_the_first_start_makes_an_operator_with_a_random_password(now: datetime) -> None:
    password = people.ensure_operator(actor=SYSTEM, now=now)

    assert password is not None
    assert len(password) == 20
    assert signs_in(password)
    operator = User.objects.get()
    assert (operator.is_staff, operator.is_superuser) == (True, False)
    assert set(operator.groups.values_list("name", flat=True)) == {"operator", "admin"}
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target) == ("user.add", "user:operator")
    assert password not in entry.canonical


def test_later_starts_leave_the_operator_alone(now: datetime) -> None:
    password = people.ensure_operator(actor=SYSTEM, now=now)

    assert people.ensure_operator(actor=SYSTEM, now=now) is None

    assert password is not None
    assert signs_in(password)


def test_a_new_password_replaces_the_old_one_and_is_audited(now: datetime) -> None:
    old = people.ensure_operator(actor=SYSTEM, now=now)

    new = people.ensure_operator(actor=SYSTEM, new_password=True, now=now)

    assert old is not None
    assert new is not None
    assert signs_in(new)
    assert not signs_in(old)
    assert AuditEntry.objects.order_by("n").values_list("action", flat=True).last() == "password.new"


def test_signing_in_is_audited_with_the_address(alice: User, now: datetime) -> None:
    people.record_login(user=alice, actor=of_user(alice, address="192.0.2.1"), now=now)

    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target, entry.address) == ("login", "user:alice", "192.0.2.1")


def test_who_may_other_things_than_before_is_told_to_open_pages(alice: User, now: datetime) -> None:
    people.record_login(user=alice, actor=of_user(alice), now=now)
    signed_in = keys_changed()

    opened = people.begin(user_id=alice.pk)
    people.finish(opened, user=alice, actor=SYSTEM, now=now)

    assert signed_in == ["audit"]
    assert keys_changed() == ["audit", "audit", "people"]


def keys_changed() -> list[str]:
    return list(Change.objects.order_by("id").values_list("key", flat=True))
