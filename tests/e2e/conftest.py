"""Fixtures of the tests with real processes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Mesh


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Mesh]:
    """Processes that end with the test; what they logged is printed, so a failure shows it."""
    mesh = Mesh(tmp_path)
    try:
        yield mesh
    finally:
        mesh.end()
