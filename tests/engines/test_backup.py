"""A dump of PostgreSQL gives back all that was there."""

import os
from pathlib import Path

import pytest

from tests.e2e import manual
from tests.e2e.conftest import checkout
from tests.e2e.enrolment import enrol
from tests.e2e.harness import Mesh
from tests.e2e.room import Room
from tests.engines.servers import Engines, programs_of

__all__ = ["checkout"]

pytestmark = [pytest.mark.e2e]


def test_a_restored_dump_is_the_dashboard_that_was_dumped(
    engines: Engines, checkout: Path, tmp_path: Path
) -> None:
    original, restored = engines.new_database(), engines.new_database()
    mesh, backup = Mesh(tmp_path), tmp_path / "backup"
    enrolment = enrol(mesh.dashboard(env={"DATABASE_URL": original}))
    path = f"{programs_of(original)}{os.pathsep}{os.environ['PATH']}"
    env = {"PATH": path, "MESH_VAR": str(tmp_path / "var"), "BACKUP": str(backup)}
    backup.mkdir()

    manual.run("back up PostgreSQL", checkout=checkout, env=env | {"DATABASE_URL": original})
    said = manual.run("restore PostgreSQL", checkout=checkout, env=env | {"DATABASE_URL": restored})

    room = Room(mesh, enrolment, dashboard=mesh.dashboard(name="restored", env={"DATABASE_URL": restored}))
    assert "none changed, removed, inserted or moved" in said
    try:
        room.dashboard.start_and_wait()
        assert {node["id"] for node in room.ask("nodes")["results"]} == set(enrolment.node_tokens)
    finally:
        mesh.end()
