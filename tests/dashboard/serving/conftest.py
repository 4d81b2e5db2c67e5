"""One server for the tests that don't stop it, and a migrated database for each of those that do."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.served import Served, environment, manage, serving

SIGN_IN = """
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
user, _ = User.objects.get_or_create(username="bob")
user.groups.add(Group.objects.get(name="viewer"))
client = Client()
client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
print(settings.SESSION_COOKIE_NAME + "=" + client.cookies[settings.SESSION_COOKIE_NAME].value)
"""


@pytest.fixture(scope="session")
def pattern(migrated_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to copy, with a database whose migrations are applied."""
    return shutil.copytree(migrated_state, tmp_path_factory.mktemp("pattern") / "var")


@pytest.fixture(scope="session")
def signed_in(pattern: Path) -> str:
    """The cookie of somebody who may look, in every copy of the pattern."""
    made = manage("shell", "--command", SIGN_IN, env=environment(pattern))
    assert made.returncode == 0, made.stderr
    return made.stdout.strip().splitlines()[-1]


@pytest.fixture
def migrated(pattern: Path, signed_in: str, tmp_path: Path) -> Path:
    """A folder with a migrated database, for one server."""
    return shutil.copytree(pattern, tmp_path / "var")


@pytest.fixture(scope="module")
def served(pattern: Path, signed_in: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that tests share and leave running."""
    with serving(shutil.copytree(pattern, tmp_path_factory.mktemp("served") / "var")) as running:
        yield running
