"""A real disk runs full under a real dashboard: a drain works, telemetry waits with its node, nothing breaks.

The disk is a small file system in memory, in a namespace of the dashboard's own, which needs no rights but
those that Linux gives everybody. Where even that is forbidden, as in some containers, the same story is told
by `tests/dashboard/edge/test_room.py`, whose disk is SQLite's own bound; that one runs everywhere.
"""

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.calls import call
from tests.e2e.conftest import Measured
from tests.e2e.enrolment import Enrolment
from tests.e2e.harness import Mesh, until
from tests.e2e.room import Room

pytestmark = pytest.mark.e2e

DISK_MIB = 96
MOUNT = 'mount -t tmpfs -o size=$1m,mode=700 none "$2" && cp -a "$3"/. "$2" && shift 3 && exec "$@"'
IN_NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]
MIB = 1 << 20


def may_mount() -> bool:
    """Return whether Linux lets us have a small disk."""
    if shutil.which("unshare") is None:
        return False
    tried = subprocess.run([*IN_NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True)
    return tried.returncode == 0


class SmallDisk:
    """The dashboard's disk, seen from outside its namespace."""

    def __init__(self, room: Room) -> None:
        self._room = room

    @property
    def folder(self) -> Path:
        return Path(f"/proc/{self._room.dashboard.pid}/root{self._room.mesh.folder}/var")

    def fill(self) -> None:
        """Write until nothing fits any more; only where that isn't much."""
        disk = os.statvfs(self.folder)
        assert disk.f_blocks * disk.f_frsize <= DISK_MIB * MIB
        piece = b"\xff" * MIB
        with contextlib.suppress(OSError), (self.folder / "filler").open("ab", buffering=0) as filler:
            while True:
                filler.write(piece)
        with contextlib.suppress(OSError), (self.folder / "filler").open("ab", buffering=0) as filler:
            while True:
                filler.write(b"\xff" * 512)

    def free(self) -> None:
        """Make room again."""
        (self.folder / "filler").unlink()


@pytest.fixture
def cramped(enrolled: tuple[Path, Enrolment], tmp_path: Path) -> Iterator[Room]:
    """A control room whose dashboard has a disk of 96 MiB."""
    if not may_mount():
        pytest.skip("no file system can be mounted here; tests/dashboard/edge/test_room.py has this story")
    like, enrolment = enrolled
    mesh = Mesh(tmp_path)
    room = Room(mesh, enrolment, like=like)
    shutil.move(tmp_path / "var", tmp_path / "state")
    (tmp_path / "var").mkdir()
    place = [str(DISK_MIB), str(tmp_path / "var"), str(tmp_path / "state")]
    room.dashboard.argv[:0] = [
        shutil.which("unshare") or "",
        *IN_NAMESPACE[1:],
        "sh",
        "-c",
        MOUNT,
        "sh",
        *place,
    ]
    try:
        yield room
    finally:
        mesh.end()


def metrics(room: Room) -> dict[str, float]:
    """Return the figures of /metrics."""
    with urllib.request.urlopen(f"{room.dashboard.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(text) for name, text in (line.rsplit(" ", 1) for line in lines if line[0] != "#")}


def test_a_drain_works_on_a_full_disk_and_telemetry_waits_with_its_node(
    cramped: Room, measured: Measured
) -> None:
    room = cramped
    node_a, _, _, _ = room.pair()
    disk = SmallDisk(room)
    first = call(node_a)
    room.trace(first.trace_id)
    assert metrics(room)["meshboard_ballast_bytes"] >= 16 * MIB
    assert metrics(room)["meshboard_telemetry_stopped"] == 0

    disk.fill()
    began = time.monotonic()
    waiting = [call(node_a).trace_id for _ in range(5)]
    until(lambda: metrics(room)["meshboard_telemetry_stopped"] == 1, "telemetry stops")
    body = json.dumps({"reason": "full", "override_guards": True, "sticky": True}).encode()
    answer = room.send("POST", "nodes/node-b/drain", body, program="deployer")

    assert answer.status in (200, 202), answer
    room.wait_for("node-b", "drained")
    measured("drained on a full disk", time.monotonic() - began)
    assert [entry["action"] for entry in room.audit(target="node:node-b", action="drain")] == ["drain"]
    assert "is full: telemetry stopped" in room.dashboard.log()
    seen = {trace["trace_id"] for trace in room.traces()}

    disk.free()
    until(lambda: metrics(room)["meshboard_telemetry_stopped"] == 0, "telemetry goes on")
    for trace_id in waiting:
        assert room.trace(trace_id)["outcome"] == "ok"
    assert not {*waiting} <= seen
    assert metrics(room)["meshboard_ballast_bytes"] >= 16 * MIB
    assert len([trace for trace in room.traces() if trace["trace_id"] in waiting]) == len(waiting)
    with contextlib.closing(sqlite3.connect(disk.folder / "meshboard.sqlite3")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert room.ask("audit/verify", program="auditor")["ok"]
