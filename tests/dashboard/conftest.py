"""People, nodes and a clean database for the dashboard's tests."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connections
from django.test import Client, TransactionTestCase

from dashboard.models import Node, NodeLink, Scope
from dashboard.services import audit_refusals, audit_triggers, installed, nodes, tokens
from dashboard.services.actor import SYSTEM
from dashboard.services.audit_gatherer import Gatherer
from dashboard.services.rights import GroupName
from meshcore.clock import utcnow
from tests.dashboard.served import environment, manage

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session", autouse=True)
def _audit_triggers_let_the_flush_pass() -> Iterator[None]:
    """A transactional test empties all tables; here the rows and triggers of the migrations come back."""
    flush = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]

    def without_triggers(case: TransactionTestCase) -> None:
        for connection in connections.all():
            audit_triggers.remove(connection)
        flush(case)
        Group.objects.bulk_create([Group(name=name.value) for name in GroupName], ignore_conflicts=True)
        installed.after_migrate(apps.get_app_config("dashboard"), "default")

    with patch.object(TransactionTestCase, "_fixture_teardown", without_triggers):
        yield


@pytest.fixture(scope="session")
def migrated_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a dashboard whose migrations are applied, for servers of their own: to be copied."""
    folder = tmp_path_factory.mktemp("migrated") / "var"
    folder.mkdir()
    done = manage("migrate", "--verbosity=0", env=environment(folder))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(autouse=True)
def _fast_passwords(settings: Any) -> None:
    """A password of a test guards nothing, so it needs no slow hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(autouse=True)
def gatherer(monkeypatch: pytest.MonkeyPatch) -> Gatherer:
    """What one test had refused is in no other's audit."""
    mine = Gatherer()
    monkeypatch.setattr(audit_refusals, "_gatherer", mine)
    return mine


def person(name: str, *groups: str) -> User:
    """Make a user in `groups`; a flush takes the groups away, so they are made when they aren't there."""
    user = User.objects.create_user(name, password=f"{name} knows the way")
    user.groups.set([Group.objects.get_or_create(name=group)[0] for group in groups])
    return user


@pytest.fixture
def alice(db: None) -> User:
    """Operates."""
    return person("alice", "operator")


@pytest.fixture
def bob(db: None) -> User:
    """Views."""
    return person("bob", "viewer")


@pytest.fixture
def charlie(db: None) -> User:
    """Has no access."""
    return person("charlie")


@pytest.fixture
def now() -> datetime:
    """Noon of a quiet day."""
    return NOW


@pytest.fixture
def node(db: None) -> Node:
    """node-a, which never spoke."""
    return nodes.add(name="node-a", actor=SYSTEM, now=NOW)[0]


class Caller:
    """Calls the API as a program does: with a token or without, and with the body just as it is given."""

    def __init__(self, secret: str = "") -> None:
        self._client = Client(raise_request_exception=False)
        self._headers = {"Authorization": f"Bearer {secret}"} if secret else {}

    def get(self, path: str, **headers: str) -> Any:
        """Send GET."""
        return self._client.get(f"/api/v1/{path}", headers={**self._headers, **headers})

    def send(
        self,
        path: str,
        body: bytes = b"",
        media_type: str = "application/json",
        method: str = "POST",
        headers: dict[str, str] | None = None,
    ) -> Any:
        """Send `body`."""
        all_headers = {**self._headers, **(headers or {})}
        return self._client.generic(
            method, f"/api/v1/{path}", data=body, content_type=media_type, headers=all_headers
        )


@pytest.fixture
def caller(db: None) -> Callable[..., Caller]:
    """Return what makes a caller: `caller(Scope.READ)` has a new token, `caller()` none."""

    def make(*scopes: Scope, node: Node | None = None) -> Caller:
        if not scopes:
            return Caller()
        return Caller(tokens.issue(name="ci", scopes=scopes, node=node, actor=SYSTEM)[1])

    return make


@pytest.fixture
def online(node: Node) -> Node:
    """node-a while it is connected, runs, and has done all that was asked."""
    now = utcnow()
    NodeLink.objects.filter(node=node).update(opened_at=now, closed_at=None, connection_no=1)
    Node.objects.filter(pk=node.pk).update(state="running", accepting=True, last_heard_at=now)
    return Node.objects.get(pk=node.pk)
