"""One server for the tests that don't stop it, and a migrated database for each of those that do."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.served import Served, environment, manage, serving


@pytest.fixture(scope="session")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to copy, with a database whose migrations are applied."""
    var = tmp_path_factory.mktemp("var")
    done = manage("migrate", "--verbosity=0", env=environment(var))
    assert done.returncode == 0, done.stderr
    return var


@pytest.fixture
def migrated(pattern: Path, tmp_path: Path) -> Path:
    """A folder with a migrated database, for one server."""
    return shutil.copytree(pattern, tmp_path / "var")


@pytest.fixture(scope="module")
def served(pattern: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server that tests share and leave running."""
    with serving(shutil.copytree(pattern, tmp_path_factory.mktemp("served") / "var")) as running:
        yield running
