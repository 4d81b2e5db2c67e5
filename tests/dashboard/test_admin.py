"""The admin: a look at everything, and people, whose changes are audited."""

from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission, User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from dashboard.admin import ROWS_MAX, BoundedPaginator, ReadOnly
from dashboard.models import AuditEntry, Drain, DrainStep, Node, Trace
from dashboard.services import audit, drain, people
from dashboard.services.actor import SYSTEM, of_user

pytestmark = pytest.mark.django_db
OURS = sorted(
    model._meta.model_name or "" for model in admin.site._registry if model._meta.app_label == "dashboard"
)


def staff(user: User, *groups: str) -> Client:
    """Let a person into the admin."""
    user.is_staff = True
    user.save()
    user.groups.add(*Group.objects.filter(name__in=groups))
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def root(charlie: User) -> Client:
    """A browser whose person may administer."""
    return staff(charlie, "admin")


def user_form(**more: Any) -> dict[str, Any]:
    """Return the form of a user."""
    return {"username": "dora", "is_active": "on", "first_name": "", "last_name": "", "email": "", **more}


@pytest.mark.parametrize("model", OURS)
def test_every_table_can_be_looked_at_and_none_changed(model: str, root: Client, node: Node) -> None:
    base = f"/admin/dashboard/{model}/"

    assert root.get(base).status_code == 200
    assert root.get(f"{base}add/").status_code == 403
    assert f'href="{base}add/"' not in root.get(base).content.decode()


def test_the_audit_shows_who_drained_what_when_why_and_from_where(
    node: Node, alice: User, root: Client
) -> None:
    drain.request(node=node, actor=of_user(alice, address="192.0.2.1"), reason="kernel update")
    entry = AuditEntry.objects.get(action="drain")

    page = root.get("/admin/dashboard/auditentry/?action=drain").content.decode()
    detail = root.get(f"/admin/dashboard/auditentry/{entry.n}/change/")

    for said in ("alice", "node:node-a", "kernel update", "192.0.2.1"):
        assert said in page
    assert detail.status_code == 200
    assert 'name="_save"' not in detail.content.decode()
    assert "Delete" not in detail.content.decode()


@pytest.mark.parametrize("what", ["change", "delete"])
def test_an_entry_can_not_be_changed_or_deleted_here(what: str, node: Node, root: Client) -> None:
    entry = AuditEntry.objects.earliest("n")

    answer = root.post(f"/admin/dashboard/auditentry/{entry.n}/{what}/", {"reason": "nothing", "post": "yes"})

    assert answer.status_code == 403
    assert audit.verify().ok


def test_an_operator_on_staff_sees_the_audit_and_a_viewer_does_not(alice: User, bob: User) -> None:
    call_command("migrate", verbosity=0)

    assert staff(alice).get("/admin/dashboard/auditentry/").status_code == 200
    assert staff(bob).get("/admin/dashboard/auditentry/").status_code == 403
    assert staff(bob).get("/admin/dashboard/node/").status_code == 200


def test_who_is_not_on_staff_stays_outside(alice: User) -> None:
    browser = Client()
    browser.force_login(alice)

    assert browser.get("/admin/dashboard/auditentry/").status_code == 302


def test_a_token_s_digest_is_not_shown(node: Node, root: Client) -> None:
    token = node.tokens.get()

    page = root.get(f"/admin/dashboard/token/{token.pk}/change/").content.decode()

    assert token.prefix in page
    assert token.digest not in page


def test_lists_follow_no_row_by_itself(node: Node, now: datetime, root: Client) -> None:
    begun = drain.request(node=node, actor=SYSTEM, now=now).drain
    address = "/admin/dashboard/drainstep/"
    with CaptureQueriesContext(
        connection,
    ) as few:
        root.get(address)

    for number in range(20):
        at = now + timedelta(seconds=number)
        DrainStep.objects.create(drain=begun, step="in_flight", source="node", at=at, received_at=at)
    with CaptureQueriesContext(connection) as many:
        root.get(address)

    assert len(many) == len(few)


def test_counting_stops_at_a_bound() -> None:
    paginator = BoundedPaginator(Trace.objects.order_by("-id"), 100)
    with CaptureQueriesContext(connection) as queries:
        assert paginator.count == 0

    assert f"LIMIT {ROWS_MAX}" in queries[0]["sql"]


def test_a_new_user_is_audited_with_groups_and_without_password(root: Client) -> None:
    word = "long enough to pass"

    root.post(
        "/admin/auth/user/add/",
        {"username": "dora", "usable_password": "true", "password1": word, "password2": word},
    )

    assert User.objects.filter(username="dora").exists()
    entry = AuditEntry.objects.get(action="user.add")
    assert (entry.actor_name, entry.target, entry.address) == ("charlie", "user:dora", "127.0.0.1")
    assert entry.after is not None
    assert entry.after["groups"] == []
    assert word not in entry.canonical


def test_a_changed_user_is_audited_with_before_and_after(bob: User, root: Client) -> None:
    groups = [str(Group.objects.get(name="operator").pk)]

    answer = root.post(f"/admin/auth/user/{bob.pk}/change/", user_form(username="bob", groups=groups))

    assert answer.status_code == 302
    entry = AuditEntry.objects.get(action="user.change")
    assert entry.before is not None
    assert entry.after is not None
    assert (entry.before["groups"], entry.after["groups"]) == (["viewer"], ["operator"])
    assert audit.verify().ok


def test_nobody_becomes_a_superuser_here(bob: User, root: Client) -> None:
    root.post(f"/admin/auth/user/{bob.pk}/change/", user_form(username="bob", is_superuser="on"))

    bob.refresh_from_db()
    assert not bob.is_superuser


def test_a_superuser_is_changed_by_superusers_alone(bob: User, alice: User, root: Client) -> None:
    User.objects.filter(pk=bob.pk).update(is_superuser=True)
    User.objects.filter(pk=alice.pk).update(is_superuser=True, is_staff=True)
    alice.refresh_from_db()
    word = {"password1": "another long word", "password2": "another long word"}
    form = user_form(username="bob")

    assert root.post(f"/admin/auth/user/{bob.pk}/change/", form).status_code == 403
    assert root.post(f"/admin/auth/user/{bob.pk}/password/", word).status_code == 403
    assert staff(alice).post(f"/admin/auth/user/{bob.pk}/change/", form).status_code == 302


def test_nobody_is_deleted(bob: User, root: Client) -> None:
    assert root.post(f"/admin/auth/user/{bob.pk}/delete/", {"post": "yes"}).status_code == 403
    root.post("/admin/auth/user/", {"action": "delete_selected", "_selected_action": [bob.pk], "post": "yes"})

    assert User.objects.filter(pk=bob.pk).exists()


def test_a_password_set_for_somebody_is_audited_and_one_that_is_refused_is_not(
    bob: User, root: Client
) -> None:
    address = reverse("admin:auth_user_password_change", args=[bob.pk])
    word = "a new long word"

    root.get(address)
    root.post(address, {"usable_password": "true", "password1": word, "password2": "another"})
    assert not AuditEntry.objects.filter(action="password.new").exists()
    root.post(address, {"usable_password": "true", "password1": word, "password2": word})

    bob.refresh_from_db()
    assert bob.check_password(word)
    entry = AuditEntry.objects.get(action="password.new")
    assert (entry.actor_name, entry.target, entry.after) == ("charlie", "user:bob", None)


def test_groups_are_looked_at_only(root: Client) -> None:
    group = Group.objects.get(name="viewer")

    assert root.get(f"/admin/auth/group/{group.pk}/change/").status_code == 200
    assert root.post(f"/admin/auth/group/{group.pk}/change/", {"name": "operator2"}).status_code == 403


def test_the_first_operator_gets_in() -> None:
    people.ensure_operator(actor=SYSTEM)
    browser = Client()
    browser.force_login(User.objects.get(username="operator"))

    assert browser.get("/admin/dashboard/auditentry/").status_code == 200
    assert browser.get("/admin/auth/user/").status_code == 200
    assert not Drain.objects.exists()


def test_the_last_admin_stays_here_too(bob: User, charlie: User) -> None:
    dora = staff(charlie, "admin")

    answer = dora.post(f"/admin/auth/user/{charlie.pk}/change/", user_form(username="charlie", groups=[]))

    assert answer.status_code == 403
    assert "your own right to administer" in answer.content.decode()
    assert charlie.groups.get().name == "admin"
    assert not AuditEntry.objects.exists()


def test_nothing_but_people_can_be_changed_here_by_anybody() -> None:
    others = {model: each for model, each in admin.site._registry.items() if model is not User}

    assert [model._meta.label for model, each in others.items() if not isinstance(each, ReadOnly)] == []
    assert [model._meta.label for model, each in others.items() if each.inlines or each.actions] == []


@pytest.mark.parametrize("model", [*(f"dashboard/{model}" for model in OURS), "auth/group", "auth/user"])
def test_no_action_on_many_rows_changes_or_deletes_any(
    model: str, node: Node, alice: User, bob: User
) -> None:
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    alice.refresh_from_db()
    drain.request(node=node, actor=SYSTEM)
    table = apps.get_model(model.replace("/", "."))
    rows = list(table._default_manager.values_list("pk", flat=True))

    form = {"action": "delete_selected", "_selected_action": rows, "post": "yes", "index": 0}
    page = staff(alice).post(f"/admin/{model}/", form, follow=True).content.decode()

    assert list(table._default_manager.values_list("pk", flat=True)) == rows
    assert "delete_selected" not in page
    assert audit.verify().ok


@pytest.mark.parametrize("what", ["add/", "{}/change/", "{}/password/", "{}/delete/"])
@pytest.mark.parametrize("group", ["viewer", "operator", "auditor"])
def test_only_admins_change_people(what: str, group: str, alice: User, charlie: User) -> None:
    call_command("migrate", verbosity=0)
    form = user_form(username="mallory", password1="a long enough word", password2="a long enough word")

    answer = staff(charlie, group).post(f"/admin/auth/user/{what.format(alice.pk)}", form)

    assert answer.status_code == 403
    alice.refresh_from_db()
    assert (alice.username, User.objects.count()) == ("alice", 2)
    assert not AuditEntry.objects.exists()


def test_rights_come_from_groups_alone(bob: User, root: Client) -> None:
    permissions = [str(pk) for pk in Permission.objects.values_list("pk", flat=True)]

    form = user_form(username="bob", user_permissions=permissions, is_superuser="on", is_staff="on")
    root.post(f"/admin/auth/user/{bob.pk}/change/", form)

    bob.refresh_from_db()
    assert (bob.is_staff, bob.is_superuser, bob.user_permissions.count()) == (True, False, 0)
    after = AuditEntry.objects.get(action="user.change").after or {}
    assert (after["is_staff"], after["groups"]) == (True, [])


def test_a_form_with_a_mistake_changes_and_audits_nothing(bob: User, root: Client) -> None:
    answer = root.post(f"/admin/auth/user/{bob.pk}/change/", user_form(username="charlie"))

    assert answer.status_code == 200
    bob.refresh_from_db()
    assert bob.username == "bob"
    assert not AuditEntry.objects.exists()


def test_taking_a_password_away_is_audited_too(bob: User, root: Client) -> None:
    root.post(f"/admin/auth/user/{bob.pk}/password/", {"usable_password": "false", "unset-password": "1"})

    bob.refresh_from_db()
    assert not bob.has_usable_password()
    assert AuditEntry.objects.get().action == "password.new"


def test_what_fails_halfway_leaves_neither_the_change_nor_its_entry(bob: User, root: Client) -> None:
    root.raise_request_exception = False
    groups = [str(Group.objects.get(name="operator").pk)]

    with patch.object(people, "finish", side_effect=RuntimeError("no")):
        answer = root.post(f"/admin/auth/user/{bob.pk}/change/", user_form(username="bobby", groups=groups))

    assert answer.status_code == 500
    bob.refresh_from_db()
    assert (bob.username, bob.groups.get().name) == ("bob", "viewer")
    assert not AuditEntry.objects.exists()
