"""From a node's word to an open page: over real sockets, through a real server."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.dashboard.hands import Hands, hands_on
from tests.dashboard.served import Served, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

SECONDS = 30.0  # however busy the machine
SETTLED_SECONDS = 1.0  # what an open page may lag behind, at p99; the note says how much it was
ROUNDS = 40
SIGN_IN = """
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
user, _ = User.objects.get_or_create(username="bob")
user.groups.add(Group.objects.get(name="viewer"))
client = Client()
client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
said = settings.SESSION_COOKIE_NAME + "=" + client.cookies[settings.SESSION_COOKIE_NAME].value
"""
ADD_NODE = """
from dashboard.services import nodes
from dashboard.services.actor import SYSTEM
_, said = nodes.add(name="node-a", actor=SYSTEM)
"""


@pytest.fixture(scope="module")
def var(migrated_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a migrated database."""
    return shutil.copytree(migrated_state, tmp_path_factory.mktemp("live") / "var")


@pytest.fixture(scope="module")
def hands(var: Path) -> Iterator[Hands]:
    """What prepares the database."""
    with hands_on(var) as made:
        yield made


@pytest.fixture(scope="module")
def secret(hands: Hands) -> str:
    """The token of node-a."""
    return hands.do(ADD_NODE)


class FakeNode:
    """The far end of a link, by its frames alone."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self._no = 0

    def say(self, kind: str, **frame: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **frame}))

    def say_hello(self) -> dict[str, Any]:
        manifest = {"node_id": "node-a"}
        self.say(
            "hello", node_id="node-a", instance_id="i-1", spool_id="s-1", clock=stamp(), manifest=manifest
        )
        return dict(json.loads(self.socket.recv(SECONDS)))

    def say_health(self, calls: int) -> None:
        self._no += 1
        node = {"state": "running", "accepting": True, "in_flight": {"calls": calls, "total": calls}}
        self.say("health", no=self._no, full=self._no == 1, at=stamp(), node=node)


def stamp() -> str:
    return datetime.now(UTC).isoformat()


@contextmanager
def node_at(served: Served, secret: str) -> Iterator[FakeNode]:
    headers = {"Authorization": f"Bearer {secret}"}
    with connect(f"ws://127.0.0.1:{served.port}/link/v1", additional_headers=headers) as socket:
        yield FakeNode(socket)


def read(page: ClientConnection) -> str:
    """The next message of a page, acknowledged."""
    text = str(page.recv(SECONDS))
    page.send(json.dumps({"ack": int(text.partition('data-no="')[2].partition('"')[0])}))
    return text


def test_a_nodes_word_is_on_an_open_page_within_a_second(
    var: Path, hands: Hands, secret: str, record_property: Any
) -> None:
    cookie = hands.do(SIGN_IN)
    with serving(var) as served, node_at(served, secret) as node:
        assert node.say_hello()["type"] == "descriptor"
        url = f"ws://127.0.0.1:{served.port}/live?page=fleet"
        with connect(url, origin=served.url, additional_headers={"Cookie": cookie}) as page:
            read(page)
            lags = sorted(_lag(node, page, calls) for calls in range(1, ROUNDS + 1))

    p50, p99 = lags[len(lags) // 2], lags[-1]
    print(f"node to page: p50 {p50 * 1000:.0f} ms, p99 {p99 * 1000:.0f} ms")
    record_property("node_to_page_p99_seconds", p99)
    assert p50 < SETTLED_SECONDS


def _lag(node: FakeNode, page: ClientConnection, calls: int) -> float:
    said_at = time.monotonic()
    node.say_health(calls)
    while f'id="c-flight-node-a" class="cell" hx-swap-oob="true">{calls}<' not in read(page):
        assert time.monotonic() - said_at < SECONDS
    return time.monotonic() - said_at


def test_a_link_without_a_token_that_counts_is_told_so(var: Path) -> None:
    with serving(var) as served, node_at(served, "msh_wrong") as node:
        with pytest.raises(ConnectionClosed) as closed:
            node.socket.recv(SECONDS)

        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4401


def test_at_the_end_links_are_closed_with_1012_and_the_server_leaves_in_time(var: Path, secret: str) -> None:
    with serving(var) as served, node_at(served, secret) as node:
        node.say_hello()

        assert served.stop() < 5.0

        with pytest.raises(ConnectionClosed) as closed:
            while True:
                node.socket.recv(SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert "Traceback" not in served.stderr
