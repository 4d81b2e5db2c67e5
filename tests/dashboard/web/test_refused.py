"""What people may not do is counted for the audit trail, as are sign-ins that fail."""

from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from dashboard.models import AuditEntry
from dashboard.services import audit_refusals
from tests.dashboard.web import factory
from tests.dashboard.web.conftest import NOW

pytestmark = pytest.mark.django_db


def counted() -> list[tuple[Any, ...]]:
    """Write what was gathered, and tell who was refused what, how often."""
    audit_refusals.flush_all(now=NOW)
    refused = AuditEntry.objects.filter(outcome="refused").order_by("n")
    return list(refused.values_list("actor_name", "action", "target", "after__status", "count"))


def test_a_page_that_is_not_theirs_is_counted_and_says_why(viewer: Client) -> None:
    factory.seen_node("node-a", now=NOW)

    answers = [viewer.get("/audit/"), viewer.get("/audit/"), viewer.post("/nodes/node-a/drain/")]

    assert [answer.status_code for answer in answers] == [403, 403, 403]
    assert "The audit is for operators, auditors and admins." in answers[0].content.decode()
    assert counted() == [
        ("bob", "access", "GET audit/", 403, 2),
        ("bob", "access", "POST nodes/<str:name>/drain/", 403, 1),
    ]


def test_the_admin_refuses_into_the_audit_too(bob: User) -> None:
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    browser = Client()
    browser.force_login(bob)

    assert browser.get("/admin/dashboard/token/").status_code == 403
    assert counted() == [("bob", "access", "GET admin/dashboard/token/", 403, 1)]


def test_a_form_that_no_page_of_ours_gave_out_is_counted(alice: User) -> None:
    factory.seen_node("node-a", now=NOW)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(alice)

    answer = browser.post("/nodes/node-a/drain/", {"reason": "because"})

    assert answer.status_code == 403
    assert "out of date" in answer.content.decode()
    assert counted() == [("alice", "access", "POST nodes/<str:name>/drain/", 403, 1)]


@pytest.mark.parametrize("door", ["login/", "admin/login/"])
def test_sign_ins_that_fail_are_counted_without_what_was_typed(alice: User, door: str) -> None:
    for word in ("hunter2-hunter2", "correct horse"):
        Client().post(f"/{door}", {"username": "my secret by mistake", "password": word})

    assert counted() == [("127.0.0.0/24", "login", f"POST {door}", 401, 2)]
    told = AuditEntry.objects.get(outcome="refused").canonical
    assert not [typed for typed in ("mistake", "hunter2", "horse") if typed in told]


def test_a_sign_in_that_is_locked_goes_on_being_counted(alice: User) -> None:
    answers = [Client().post("/login/", {"username": "alice", "password": "wrong"}) for _ in range(7)]

    assert answers[-1].status_code == 429
    assert counted()[0][-1] == 7


def test_a_visitor_who_has_to_sign_in_first_is_no_refusal() -> None:
    assert Client().get("/audit/").status_code == 302

    assert counted() == []


@pytest.mark.parametrize(
    ("path", "form", "action", "target"),
    [
        ("/nodes/node-a/drain/", {"reason": ""}, "drain", "node:node-a"),
        ("/nodes/node-a/undrain/", {"reason": "x" * 501}, "undrain", "node:node-a"),
        ("/providers/override/", {"key": "ollama", "action": "reset"}, "breaker.reset", "breaker:ollama"),
        ("/providers/override/", {"key": "ollama", "action": "?"}, "breaker.force_open", "breaker:ollama"),
        ("/access/tokens/", {"name": "ci"}, "token.issue", "tokens"),
        ("/access/nodes/", {"name": "not a name"}, "node.add", "nodes"),
        ("/access/people/", {"name": ""}, "user.add", "users"),
        ("/access/nodes/node-a/forget/", {"reason": ""}, "node.forget", "node:node-a"),
    ],
)
def test_what_an_entitled_person_asks_for_in_vain_is_written_at_once(
    alice: User, path: str, form: dict[str, str], action: str, target: str
) -> None:
    factory.seen_node("node-a", now=NOW)
    alice.groups.add(Group.objects.get_or_create(name="admin")[0])
    browser = Client()
    browser.force_login(alice)

    assert browser.post(path, form).status_code == 422

    entry = AuditEntry.objects.get()
    assert (entry.actor_name, entry.action, entry.target) == ("alice", action, target)
    assert (entry.outcome, entry.address) == ("refused", "127.0.0.1")
    assert entry.reason


def test_what_the_service_wrote_itself_is_written_once(operator: Client) -> None:
    for name in ("node-a", "node-b"):
        factory.seen_node(name, now=NOW)
    operator.post("/nodes/node-a/drain/", {"reason": "kernel update"})

    assert operator.post("/nodes/node-b/drain/", {"reason": "kernel update"}).status_code == 409

    assert AuditEntry.objects.filter(outcome="refused").count() == 1
