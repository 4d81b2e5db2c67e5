"""One server for the tests that don't stop it, and a migrated database for those that do."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dashboard.served import Served, environment, manage, serving


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database whose migrations are applied."""
    var = tmp_path_factory.mktemp("var")
    done = manage("migrate", "--verbosity=0", env=environment(var))
    assert done.returncode == 0, done.stderr
    return var


@pytest.fixture(scope="module")
def served(migrated: Path) -> Iterator[Served]:
    """A server that tests share and leave running."""
    with serving(migrated) as running:
        yield running
