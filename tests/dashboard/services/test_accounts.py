"""Accounts: who may come in, and that somebody always may let others in."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from axes.models import AccessAttempt
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, User
from django.test import RequestFactory

from dashboard.models import AuditEntry, Change, OneTimePassword
from dashboard.services import accounts, people
from dashboard.services.accounts import InvalidPerson
from dashboard.services.actor import SYSTEM, of_user
from dashboard.services.people import AdminNeeded
from dashboard.services.rights import GroupName, Right, user_rights
from tests.dashboard.conftest import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def dora(db: None) -> User:
    """Administers."""
    return person("dora", "admin")


def signs_in(name: str, password: str) -> bool:
    return authenticate(RequestFactory().post("/"), username=name, password=password) is not None


def test_a_new_person_signs_in_with_a_password_that_only_the_answer_has(dora: User, now: datetime) -> None:
    user, password = accounts.add(username="eve", groups=[GroupName.VIEWER], actor=of_user(dora), now=now)

    assert signs_in("eve", password)
    assert user_rights(user) == {Right.READ}
    assert accounts.has_one_time_password(user)
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.target, entry.actor_name) == ("user.add", "user:eve", "dora")
    assert (entry.after or {})["groups"] == ["viewer"]
    assert password not in entry.canonical


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("", "at least one"),
        ("a b", "letters, digits"),
        ("a\n", "letters, digits"),
        ("x" * 151, "151 characters"),
        ("Dora", "somebody has this name"),
    ],
)
def test_a_name_that_is_none_or_taken_makes_nobody(name: str, said: str, dora: User) -> None:
    with pytest.raises(InvalidPerson, match=said):
        accounts.add(username=name, groups=[], actor=SYSTEM)

    assert User.objects.get() == dora
    assert not AuditEntry.objects.exists()


def test_groups_are_changed_whole_and_those_of_others_stay(bob: User, now: datetime) -> None:
    bob.groups.add(Group.objects.create(name="friends"))

    accounts.set_groups(user=bob, groups=[GroupName.AUDITOR], actor=SYSTEM, reason="new part", now=now)

    assert set(bob.groups.values_list("name", flat=True)) == {"auditor", "friends"}
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.reason) == ("user.change", "new part")
    assert (entry.before or {})["groups"] == ["friends", "viewer"]
    assert (entry.after or {})["groups"] == ["auditor", "friends"]


def test_whoever_is_deactivated_is_out_and_comes_back_as_they_were(bob: User, now: datetime) -> None:
    accounts.deactivate(user=bob, actor=SYSTEM, reason="left", now=now)
    assert not signs_in("bob", "bob knows the way")

    accounts.reactivate(user=bob, actor=SYSTEM, now=now)
    assert signs_in("bob", "bob knows the way")
    assert list(Change.objects.order_by("id").values_list("key", flat=True)) == ["audit", "people"] * 2


def test_a_new_password_ends_the_old_one_and_a_lock(bob: User, now: datetime) -> None:
    AccessAttempt.objects.create(username="bob", ip_address="192.0.2.7", failures_since_start=5)

    password = accounts.new_password(user=bob, actor=SYSTEM, reason="forgotten", now=now)

    assert not AccessAttempt.objects.exists()
    assert signs_in("bob", password)
    assert not signs_in("bob", "bob knows the way")
    assert OneTimePassword.objects.get().given_at == now
    assert AuditEntry.objects.get().reason == "forgotten"


def test_an_own_password_is_no_one_time_password(bob: User, now: datetime) -> None:
    accounts.new_password(user=bob, actor=SYSTEM, now=now)

    with accounts.choosing_password(user=bob, actor=of_user(bob), now=now):
        bob.set_password("my own way to get in")
        bob.save()

    assert not accounts.has_one_time_password(bob)
    assert AuditEntry.objects.latest("n").actor_name == "bob"


def test_a_password_that_is_not_saved_is_not_audited(bob: User, now: datetime) -> None:
    accounts.new_password(user=bob, actor=SYSTEM, now=now)

    with pytest.raises(RuntimeError), accounts.choosing_password(user=bob, actor=of_user(bob), now=now):
        raise RuntimeError("the disk is full")

    assert accounts.has_one_time_password(bob)
    assert AuditEntry.objects.count() == 1


def lose_group(user: User, actor: Any) -> None:
    accounts.set_groups(user=user, groups=[GroupName.OPERATOR], actor=actor)


def lose_access(user: User, actor: Any) -> None:
    accounts.deactivate(user=user, actor=actor, reason="left")


@pytest.mark.parametrize("lose", [lose_group, lose_access])
def test_nobody_takes_away_their_own_right_to_administer(lose: Callable[..., None], dora: User) -> None:
    person("frank", "admin")

    with pytest.raises(AdminNeeded, match="your own right"):
        lose(dora, of_user(dora))

    assert Right.ADMIN in user_rights(User.objects.get(pk=dora.pk))
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("lose", [lose_group, lose_access])
@pytest.mark.parametrize("others", [[], ["inactive"]])
def test_the_last_active_admin_stays(lose: Callable[..., None], others: list[str], dora: User) -> None:
    for name in others:
        person(name, "admin")
        User.objects.filter(username=name).update(is_active=False)

    with pytest.raises(AdminNeeded, match="dora is the last active admin"):
        lose(dora, SYSTEM)

    assert Right.ADMIN in user_rights(User.objects.get(pk=dora.pk))
    assert not AuditEntry.objects.exists()


@pytest.mark.parametrize("lose", [lose_group, lose_access])
def test_one_of_two_admins_may_go(lose: Callable[..., None], dora: User) -> None:
    frank = person("frank", "admin")

    lose(frank, of_user(dora))

    assert Right.ADMIN not in user_rights(User.objects.get(pk=frank.pk))


def test_a_superuser_is_an_admin_who_stays(dora: User) -> None:
    User.objects.create_superuser("root", password="roots know the way")

    lose_access(dora, SYSTEM)

    assert User.objects.get(pk=dora.pk).is_active is False


def test_whoever_is_no_admin_may_change_in_every_way(bob: User) -> None:
    lose_access(bob, of_user(bob))

    assert User.objects.get(pk=bob.pk).is_active is False


def test_the_shell_gives_the_operator_back_what_was_taken(now: datetime) -> None:
    people.ensure_operator(actor=SYSTEM, now=now)
    operator = User.objects.get()
    person("frank", "admin")
    accounts.set_groups(user=operator, groups=[], actor=SYSTEM, now=now)
    accounts.deactivate(user=operator, actor=SYSTEM, reason="not needed", now=now)
    accounts.new_password(user=operator, actor=SYSTEM, now=now)

    password = people.ensure_operator(actor=SYSTEM, new_password=True, now=now)

    assert password is not None
    assert signs_in("operator", password)
    assert user_rights(User.objects.get(pk=operator.pk)) == set(Right)
    assert not accounts.has_one_time_password(operator)
    assert list(AuditEntry.objects.order_by("-n").values_list("action", flat=True)[:2]) == [
        "password.new",
        "user.change",
    ]


@pytest.mark.parametrize(
    "act", [lose_group, lose_access, lambda user, actor: accounts.new_password(user=user, actor=actor)]
)
def test_a_superuser_is_changed_by_superusers_and_the_shell_alone(
    act: Callable[..., None], dora: User
) -> None:
    root, other = (User.objects.create_superuser(name, password="they know the way") for name in ("a", "b"))

    with pytest.raises(AdminNeeded, match="a is a superuser"):
        act(root, of_user(dora))
    assert not AuditEntry.objects.exists()

    act(root, of_user(other))
    act(root, SYSTEM)
    assert AuditEntry.objects.count() == 2
