"""Two `serve` processes and a worker on PostgreSQL and Redis are one dashboard, also while a part is away."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.calls import call, chunks
from tests.e2e.conftest import Measured
from tests.e2e.enrolment import enrol
from tests.e2e.harness import Mesh, Mock, Node, Process, ask, status_of, until
from tests.e2e.room import Room
from tests.e2e.run_stage import make
from tests.e2e.run_viewers import Frame, frames_in
from tests.e2e.window import Window, running_chromium
from tests.engines.servers import Engines
from tests.engines.switchboard import Switchboard, switchboard

pytestmark = [pytest.mark.e2e, pytest.mark.browser]

STATE = "#c-state-node-a"
CHUNKS = 60


class House(NamedTuple):
    """Everything, behind the addresses that tests may cut."""

    one: Room  # as seen by whoever talks to the first process
    other: Room
    worker: Process
    node: Node
    front: Switchboard  # what nodes know as the dashboard: the first process, else the other
    database: Switchboard
    layer: Switchboard


def behind(url: str, board: Switchboard) -> str:
    """Return the URL of the server at `url` by way of a switchboard."""
    scheme, _, rest = url.partition("://")
    user, at, place = rest.rpartition("@")
    return f"{scheme}://{user}{at}{board.address}/{place.partition('/')[2]}"


def host_of(url: str) -> str:
    return url.partition("://")[2].rpartition("@")[2].partition("/")[0]


@pytest.fixture(scope="module")
def house(engines: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Two servers without work of their own, a worker, and node-a and node-b, linked to the first."""
    database_url, layer_url = engines.new_database(), engines.new_layer()
    mesh = Mesh(tmp_path_factory.mktemp("house"))
    with (
        switchboard(host_of(database_url)) as database,
        switchboard(host_of(layer_url)) as layer,
        switchboard() as front,
    ):
        env = {"DATABASE_URL": behind(database_url, database), "CHANNEL_LAYER_URL": behind(layer_url, layer)}
        dashboards = [mesh.dashboard("--no-worker", name=name, env=env) for name in ("one", "other")]
        enrolment = enrol(dashboards[0])
        rooms = [Room(mesh, enrolment, dashboard=dashboard) for dashboard in dashboards]
        env |= {"MESH_VAR": str(mesh.folder / "var")}
        worker = mesh.process("worker", [*dashboards[0].argv[:2], "worker"], env=env)
        front.targets = [host_of(dashboard.url) for dashboard in dashboards]
        try:
            for process in (*dashboards, worker):
                process.start()
            for dashboard in dashboards:
                dashboard.wait_until_ready()
            node = start_nodes(rooms[0], front, mesh.mock("alpha"))
            yield House(*rooms, worker, node, front, database, layer)
        finally:
            mesh.end()


def start_nodes(room: Room, front: Switchboard, mock: Mock) -> Node:
    """Start node-a and node-b, which serve the same and know the dashboard by its front."""
    nodes = [room.node("node-a"), room.node("node-b")]
    here = f'[dashboard]\nurl = "http://{front.address}"\ntoken_env = "NODE_TOKEN"\n'
    here += f'[runs]\nlog = "sqlite:///{room.mesh.folder}/runs.sqlite3"\n'
    for node in nodes:
        room.mesh.configure(node, providers={"alpha": f"{mock.url}/v1"}, extra=here)
        node.start_and_wait()
    for node in nodes:
        until(node.ready, f"{node.name} takes calls")
        room.wait_for(node.name, "running")
    for node in nodes:
        names = {each.name for each in nodes}
        until(partial(room.may_choose, node, names), f"{node.name} knows its peer")
    return nodes[0]


@pytest.fixture
def whole(house: House) -> Iterator[House]:
    """The house, which is whole again behind the test."""
    yield house
    house.one.mesh.print_logs()
    house.layer.mend()
    house.database.mend()
    if house.one.dashboard.exit_code() is not None:
        house.one.dashboard.start_and_wait()
    until(lambda: house.other.send("GET", "nodes", program="reader").status == 200, "the API answers")
    house.other.undrain("node-a")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with running_chromium() as browser:
        yield browser


def drain(room: Room, **more: object) -> None:
    room.wait_for("node-b", "running")  # the guards let nobody go while nobody else is there
    body = json.dumps({"reason": "new disk", "sticky": True} | more).encode()
    answer = room.send("POST", "nodes/node-a/drain", body, program="deployer")
    assert answer.status in (200, 202), answer


def linked_to(room: Room) -> set[str]:
    """Return the nodes that a process has links to."""
    log = room.dashboard.log_file.read_text()
    return {name for name in ("node-a", "node-b") if f"{name} is connected" in log}


def test_a_drain_asked_of_one_process_reaches_the_node_on_the_other(whole: House, measured: Measured) -> None:
    assert (linked_to(whole.one), linked_to(whole.other)) == ({"node-a", "node-b"}, set())

    asked_at = time.monotonic()
    drain(whole.other)
    until(lambda: not whole.node.ready(), "the gate is closed")
    measured("API call at one process to the gate closed by way of the other", time.monotonic() - asked_at)
    for room in (whole.one, whole.other):
        room.wait_for("node-a", "drained")

    assert call(whole.node).routed_via == "node-b"


def test_somebody_signed_in_at_one_process_sees_on_the_other_what_happens(
    whole: House, chromium: Browser, measured: Measured
) -> None:
    window = Window(chromium, whole.one.dashboard.url)
    elsewhere = Window(chromium, whole.other.dashboard.url, window.sign_in("bob"))
    page = elsewhere.open_live("/")
    expect(page.locator(STATE)).to_have_text("running")

    asked_at = time.monotonic()
    drain(whole.one)

    expect(page.locator(STATE)).to_have_text("drained")
    measured("API call at one process to the page of the other", time.monotonic() - asked_at)
    window.close()
    elsewhere.close()


def test_a_killed_process_is_replaced_by_the_other_and_orders_are_kept(whole: House) -> None:
    drain(whole.other)
    whole.one.wait_for("node-a", "drained")
    generation = whole.other.drain_of("node-a")["generation"]

    whole.one.dashboard.kill()
    until(lambda: linked_to(whole.other) == {"node-a", "node-b"}, "the nodes are linked to the other process")

    whole.other.wait_for("node-a", "drained")
    assert whole.other.drain_of("node-a")["generation"] == generation
    assert status_of(f"{whole.node.url}/readyz") == 503
    whole.other.undrain("node-a")
    until(whole.node.ready, "the node takes calls")


def test_a_run_is_watched_at_one_process_over_a_link_of_the_other_until_that_is_killed(whole: House) -> None:
    until(lambda: linked_to(whole.other) == {"node-a", "node-b"}, "the links are at the other process")
    run_id = make(whole.node, f"slow:{CHUNKS}x100")
    frames: list[Frame] = []
    follower = threading.Thread(target=follow, args=(whole.one, run_id, frames), daemon=True)
    follower.start()
    until(lambda: len(frames) > 5, "it grows at the first process")
    relayed = len(frames)

    whole.other.dashboard.kill()
    try:
        follower.join(60)
    finally:
        whole.other.dashboard.start_and_wait()

    texts = [frame.data["delta"].get("content") or "" for frame in frames if frame.name == "chunk"]
    assert "".join(texts) == chunks(CHUNKS)
    assert frames[-1].name == "end"
    assert len(frames) > relayed
    seqs = [frame.seq for frame in frames]
    assert seqs == sorted(set(seqs))


def follow(room: Room, run_id: str, frames: list[Frame]) -> None:
    """Read a run at a process, on one connection."""
    token = room.enrolment.program_tokens["reader"]
    url = f"{room.dashboard.url}/api/v1/runs/{run_id}/stream"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with ask(request, seconds=60) as answer:
        for frame in frames_in(answer):
            frames.append(frame)


def test_without_redis_everything_goes_on_by_looking_every_second(whole: House) -> None:
    whole.layer.cut()

    drain(whole.other)
    whole.one.wait_for("node-a", "drained")
    whole.other.undrain("node-a")
    whole.one.wait_for("node-a", "running")

    whole.layer.mend()
    until(lambda: hint_crosses(whole), "hints cross again")


def hint_crosses(house: House) -> bool:
    drain(house.other)
    house.one.wait_for("node-a", "drained")
    house.other.undrain("node-a")
    house.one.wait_for("node-a", "running")
    return "hints from and to other processes again" in house.other.dashboard.log()


def test_while_postgresql_is_away_nodes_serve_and_afterwards_nothing_is_missing(whole: House) -> None:
    whole.database.cut()
    answers = [call(whole.node) for _ in range(3)]
    assert whole.one.send("GET", "nodes", program="reader").status == 503

    whole.database.mend()

    until(lambda: whole.one.send("GET", "nodes", program="reader").status == 200, "the API answers")
    assert [whole.one.trace(answer.trace_id)["outcome"] for answer in answers] == ["ok"] * 3
    drain(whole.other)
    whole.one.wait_for("node-a", "drained")


def test_the_worker_ends_what_is_over_and_pages_hear_of_it(whole: House) -> None:
    drain(whole.other, sticky=False, expires_seconds=1.0)

    until(lambda: whole.one.drain_of("node-a")["drain"] is None, "the drain is over")

    whole.one.wait_for("node-a", "running")
    assert whole.worker.exit_code() is None


def test_each_of_them_ends_when_it_is_asked_to(house: House) -> None:
    for process in (house.worker, house.one.dashboard, house.other.dashboard):
        process.ask_to_end()

        assert process.wait() == 0
