"""A backup made while everything runs gives back all that was there, and nodes go on by themselves."""

import json
from pathlib import Path

import pytest

from tests.e2e import manual
from tests.e2e.calls import call
from tests.e2e.harness import until
from tests.e2e.room import Room

pytestmark = pytest.mark.e2e


def drain_b(room: Room) -> None:
    body = json.dumps({"reason": "new disk", "sticky": True}).encode()
    assert room.send("POST", "nodes/node-b/drain", body, program="deployer").status in (200, 202)
    room.wait_for("node-b", "drained")


def test_what_was_there_at_the_backup_is_there_again_and_nodes_go_on(
    room: Room, checkout: Path, tmp_path: Path
) -> None:
    node_a, node_b, _, _ = room.pair()
    before = call(node_a)
    room.trace(before.trace_id)
    backup = tmp_path / "backup"
    backup.mkdir()
    env = {"MESH_VAR": str(room.mesh.folder / "var"), "MESH_URL": room.dashboard.url, "BACKUP": str(backup)}

    manual.run("back up SQLite", checkout=checkout, env=env)
    lost = call(node_a)
    room.trace(lost.trace_id)
    drain_b(room)
    room.dashboard.kill()
    said = manual.run("restore SQLite", checkout=checkout, env=env)
    room.dashboard.start_and_wait()

    room.wait_for("node-b", "running")
    assert "none changed, removed, inserted or moved" in said
    assert room.trace(before.trace_id)["trace_id"] == before.trace_id
    assert (
        len(room.ask("traces", trace_id=lost.trace_id)["results"]) <= 1
    )  # what its node still had comes again
    assert room.trace(call(node_a).trace_id)["outcome"] == "ok"
    until(node_b.ready, "node-b takes calls")
    assert "reports are missing, as the database is an older copy" in room.dashboard.log()
    assert [entry["target"] for entry in room.audit(action="desired.restore")] == ["node:node-b"]
    assert "none changed" in room.dashboard.manage("verify_audit", "--head", str(backup / "audit-head"))
