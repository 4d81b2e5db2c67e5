"""Dashboard and nodes are killed, and the network fails, in the middle of real traffic: the ledger balances.

`MESH_LEDGER_SECONDS` says for how long.
"""

import json
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from typing import Any

import pytest

from tests.e2e.cable import Cable
from tests.e2e.conftest import Measured
from tests.e2e.harness import Node
from tests.e2e.ledger import (
    IMPATIENT,
    SECONDS,
    assert_rolled_up,
    ended_and_emptied,
    journaled_node,
    killed,
    merged,
    traffic,
    until_settled,
    wreak,
)
from tests.e2e.room import Room

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(SECONDS + 280)]

SPOOL_ITEMS = 200  # of node-b, which has to drop while the dashboard is away
HOLD_SECONDS = 0.7
DELAY_SECONDS = 0.03


class Wreckage:
    """Everything that goes wrong here."""

    def __init__(self, room: Room, cable: Cable, node_a: Node, chance: random.Random) -> None:
        self._room = room
        self._cable = cable
        self._node_a = node_a
        self._chance = chance

    def dashboard_killed(self) -> None:
        killed(self._room.dashboard, self._chance)
        self._room.dashboard.wait_until_ready()

    def node_killed(self) -> None:
        killed(self._node_a, self._chance)

    def network_held_and_cut(self) -> None:
        self._cable.hold()
        time.sleep(HOLD_SECONDS)
        self._cable.cut()

    def network_half_open(self) -> None:
        self._cable.hold()
        time.sleep(HOLD_SECONDS / 2)
        self._cable.cut_near()

    def network_delayed(self) -> None:
        self._cable.delay_seconds = DELAY_SECONDS - self._cable.delay_seconds

    def drained_and_back(self) -> None:
        for body in ({"reason": "wreckage", "override_guards": True}, {"action": "cancel"}):
            self._room.send("POST", "nodes/node-b/drain", json.dumps(body).encode(), program="deployer")
            time.sleep(0.1)


def test_everything_recorded_is_stored_once_or_counted_as_dropped(room: Room, measured: Measured) -> None:
    chance = random.Random()
    mocks = [room.mesh.mock("alpha"), room.mesh.mock("beta")]
    providers = {mock.name: f"{mock.url}/v1" for mock in mocks}
    cable = Cable(room.dashboard.url)
    node_a, journal_a = journaled_node(room, "node-a")
    node_b, journal_b = journaled_node(room, "node-b", items=SPOOL_ITEMS)
    for node in (node_a, node_b):
        room.configure(node, providers=providers, through=cable.url, extra=IMPATIENT)
    wreckage = Wreckage(room, cable, node_a, chance)
    havoc = [getattr(wreckage, name) for name in vars(Wreckage) if not name.startswith("_")]

    room.start(node_a, node_b)
    with traffic([node_a, node_b], mocks, chance):
        done = wreak(havoc, chance)
    cable.delay_seconds = 0.0
    ended_and_emptied([node_a, node_b])
    journals = {"node-a": journal_a, "node-b": journal_b}
    seen = until_settled(journals, lambda sql: read(room, sql))

    assert_rolled_up(*seen["node-b"])
    assert "none changed, removed, inserted or moved" in room.dashboard.manage("verify_audit")
    for name, (journal, books) in seen.items():
        measured(f"{name}: traces recorded", len(journal.written["trace"]), "")
        measured(f"{name}: traces dropped", books.dropped["trace"], "")
        measured(f"{name}: transitions", len(journal.written["transition"]), "")
        measured(f"{name}: transitions merged or dropped", merged(journal, books), "")
        measured(f"{name}: drain steps", len(journal.written["drain_step"]), "")
    print(f"measured: {dict(done)}")


def read(room: Room, sql: str) -> Sequence[Sequence[Any]]:
    """Ask the database file, beside its dashboard."""
    with closing(
        sqlite3.connect(f"file:{room.mesh.folder / 'var' / 'meshboard.sqlite3'}?mode=ro", uri=True)
    ) as file:
        return file.execute(sql).fetchall()
