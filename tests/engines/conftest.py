"""Fixtures of the tests with real servers, which `script/test-engines` provides."""

import os

import pytest

from tests.dashboard.conftest import (  # what Django's tests have, on PostgreSQL
    _audit_triggers_let_the_flush_pass,
    _fast_passwords,
    alice,
    bob,
    caller,
    charlie,
    node,
    now,
    online,
)
from tests.e2e.conftest import measured, mesh
from tests.engines.servers import Engines

__all__ = [
    "_audit_triggers_let_the_flush_pass",
    "_fast_passwords",
    "alice",
    "bob",
    "caller",
    "charlie",
    "measured",
    "mesh",
    "node",
    "now",
    "online",
]


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run on SQLite: the tests here would say nothing."""
    if not os.environ.get("DATABASE_URL", "").startswith("postgres"):
        raise pytest.UsageError("tests/engines needs real servers: run script/test-engines")


@pytest.fixture(scope="session")
def engines() -> Engines:
    """The servers: `postgres_url` is the database that Django's own tests are on, `redis_url` a layer."""
    return Engines.from_environment()
