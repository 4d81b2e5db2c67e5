"""People, nodes and a clean database for the dashboard's tests."""

from collections.abc import Iterator
from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections
from django.test import TransactionTestCase

from dashboard.models import Node
from dashboard.services import audit_triggers, nodes
from dashboard.services.actor import SYSTEM

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="session", autouse=True)
def _audit_triggers_let_the_flush_pass() -> Iterator[None]:
    """A transactional test empties all tables at its end; the flush's `post_migrate` puts the triggers back."""
    flush = TransactionTestCase._fixture_teardown

    def without_triggers(case: TransactionTestCase) -> None:
        for connection in connections.all():
            audit_triggers.remove(connection)
        flush(case)

    with patch.object(TransactionTestCase, "_fixture_teardown", without_triggers):
        yield


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
