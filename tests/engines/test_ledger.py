"""Dashboards, nodes, PostgreSQL and Redis are killed in the middle of real traffic: the ledger balances.

Two dashboards on servers of their own, started from wheels. `MESH_LEDGER_SECONDS` says for how long.
"""

import json
import os
import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from tests.e2e.conftest import Measured
from tests.e2e.enrolment import enrol
from tests.e2e.harness import Dashboard, Mesh, Node, until
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
from tests.engines.servers import Mode, NoServer, Server, new_postgres, new_redis
from tests.engines.switchboard import Switchboard, switchboard
from tests.engines.test_two_dashboards import host_of

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(SECONDS + 280),
    pytest.mark.skipif(
        os.environ.get("MESH_TEST_ENGINES") == Mode.SERVICES,
        reason="kills servers: with those from wheels, once",
    ),
]

SPOOL_ITEMS = 200  # of node-b, which has to drop while no dashboard is there
AWAY_SECONDS = 0.5


class House(NamedTuple):
    """Everything that can be killed here; `front` is what nodes know as the dashboard."""

    room: Room
    dashboards: list[Dashboard]
    front: Switchboard
    postgres: Server
    redis: Server


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Two dashboards that don't run yet, on a PostgreSQL and a Redis of their own that do."""
    mesh = Mesh(tmp_path)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-ledger-")))
        folder.chmod(0o711)  # PostgreSQL is another user's
        postgres, redis = new_postgres(folder), new_redis(folder)
        stack.enter_context(postgres.running())
        stack.enter_context(redis.running())
        front = stack.enter_context(switchboard())
        stack.callback(mesh.end)
        env = {"DATABASE_URL": postgres.url, "CHANNEL_LAYER_URL": redis.url}
        dashboards = [
            mesh.dashboard(name="one", env=env),
            mesh.dashboard("--no-worker", name="other", env=env),
        ]
        front.targets = [host_of(dashboard.url) for dashboard in dashboards]
        room = Room(mesh, enrol(dashboards[0]), dashboard=dashboards[0])
        yield House(room, dashboards, front, postgres, redis)


class Wreckage:
    """Everything that goes wrong here."""

    def __init__(self, house: House, node_a: Node, chance: random.Random) -> None:
        self._house = house
        self._node_a = node_a
        self._chance = chance

    def dashboard_killed(self) -> None:
        dashboard = self._chance.choice(self._house.dashboards)
        killed(dashboard, self._chance)
        dashboard.wait_until_ready()

    def node_killed(self) -> None:
        killed(self._node_a, self._chance)

    def link_moved_to_the_other_dashboard(self) -> None:
        self._house.front.targets.reverse()
        self._house.front.cut()
        self._house.front.mend()

    def postgres_killed(self) -> None:
        self._house.postgres.kill()
        time.sleep(AWAY_SECONDS)
        until(lambda: _started(self._house.postgres), "PostgreSQL is back")

    def redis_killed(self) -> None:
        self._house.redis.kill()
        time.sleep(AWAY_SECONDS)
        self._house.redis.start()

    def drained_and_back(self) -> None:
        for body in ({"reason": "wreckage", "override_guards": True}, {"action": "cancel"}):
            with suppress(OSError):
                self._house.room.send(
                    "POST", "nodes/node-b/drain", json.dumps(body).encode(), program="deployer"
                )
            time.sleep(0.1)


def _started(server: Server) -> bool:
    """Start a server; one that was killed has children that need a moment to notice."""
    with suppress(NoServer):
        server.start()
        return True
    return False


def test_everything_recorded_is_stored_once_or_counted_as_dropped(house: House, measured: Measured) -> None:
    chance = random.Random()
    room = house.room
    mocks = [room.mesh.mock("alpha"), room.mesh.mock("beta")]
    node_a, journal_a = journaled_node(room, "node-a")
    node_b, journal_b = journaled_node(room, "node-b", items=SPOOL_ITEMS)
    for node in (node_a, node_b):
        providers = {mock.name: f"{mock.url}/v1" for mock in mocks}
        room.configure(node, providers=providers, through=f"http://{house.front.address}", extra=IMPATIENT)
    wreckage = Wreckage(house, node_a, chance)
    havoc = [getattr(wreckage, name) for name in vars(Wreckage) if not name.startswith("_")]

    house.dashboards[1].start()
    room.start(node_a, node_b)
    house.dashboards[1].wait_until_ready()
    with traffic([node_a, node_b], mocks, chance):
        done = wreak(havoc, chance)
    ended_and_emptied([node_a, node_b])
    seen = until_settled({"node-a": journal_a, "node-b": journal_b}, lambda sql: read(house.postgres, sql))

    assert_rolled_up(*seen["node-b"])
    assert "none changed, removed, inserted or moved" in room.dashboard.manage("verify_audit")
    for name, (journal, books) in seen.items():
        measured(f"{name}: traces recorded", len(journal.written["trace"]), "")
        measured(f"{name}: traces dropped", books.dropped["trace"], "")
        measured(f"{name}: transitions", len(journal.written["transition"]), "")
        measured(f"{name}: transitions merged or dropped", merged(journal, books), "")
    print(f"measured: {dict(done)}")


def read(server: Server, sql: str) -> Sequence[Sequence[Any]]:
    """Ask the database, beside its dashboards."""
    with psycopg.connect(server.url) as connection:
        return connection.execute(sql).fetchall()  # type: ignore[call-overload,no-any-return]  # no user's text
