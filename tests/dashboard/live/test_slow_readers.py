"""Pages that read nothing, or a byte a second: others don't notice, and the server's memory stays flat."""

import json
import os
import re
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from websockets.sync.client import ClientConnection, connect

from tests.dashboard.hands import hands_on
from tests.dashboard.served import Served, serving

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

DEAF = int(os.environ.get("MESH_DEAF_PAGES", "20"))
SLOW = 5
CHANGES = int(os.environ.get("MESH_DEAF_CHANGES", "6"))
NODES = 100  # on one page; a first message has some 300 kB, more than the kernel takes for the deaf
MORE_MIB = 30.0  # a message kept of each change for each of them would be 45
SECONDS = 60.0

SERVER = """
import os, sys
os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
sys.path.insert(0, os.getcwd())
from django.core.management import execute_from_command_line
import django
django.setup()
from dashboard.live import browser
from dashboard.selectors import nodes
nodes.PAGE_ROWS = {rows}
browser.POLICY = browser.ViewerPolicy(quiet_seconds=1.0, ack_seconds={ack_seconds})
execute_from_command_line(["manage.py", *sys.argv[1:]])
"""
FILL = """
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.test import Client
from dashboard.models import Node, NodeLink
from meshcore.clock import utcnow
now = utcnow()
names = ["node-%03d" % n for n in range({nodes})]
Node.objects.bulk_create(
    Node(name=name, created_at=now, state="running", accepting=True, last_heard_at=now) for name in names
)
NodeLink.objects.bulk_create(
    NodeLink(node=node, connection_no=1, opened_at=now) for node in Node.objects.all()
)
user = User.objects.create(username="alice")
user.groups.add(Group.objects.get(name="operator"))
client = Client()
client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
said = settings.SESSION_COOKIE_NAME + "=" + client.cookies[settings.SESSION_COOKIE_NAME].value
"""
HEARD = """
from dashboard.models import Node
from dashboard.services import changes
from django.db import transaction
from meshcore.clock import utcnow
Node.objects.update(in_flight={calls}, last_heard_at=utcnow())
with transaction.atomic():
    changes.publish(*("node:node-%03d" % n for n in range({nodes})), now=utcnow())
"""


@pytest.fixture(scope="module")
def var(migrated_state: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shutil.copytree(migrated_state, tmp_path_factory.mktemp("live") / "var")


@contextmanager
def mute_page(served: Served, cookie: str, *, slowly: bool) -> Iterator[socket.socket]:
    """A page whose websocket is open and which reads nothing, or a byte a second."""
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.settimeout(SECONDS)
        wire.connect(("127.0.0.1", served.port))
        wire.sendall(
            b"GET /live?page=fleet HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nOrigin: %s\r\nCookie: %s\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            % (served.port, served.url.encode(), cookie.encode())
        )
        assert b" 101 " in wire.recv(64)
        ended = threading.Event()
        reader = threading.Thread(target=_read_slowly, args=(wire, ended))
        if slowly:
            reader.start()
        try:
            yield wire
        finally:
            ended.set()
            if slowly:
                reader.join()


def _read_slowly(wire: socket.socket, ended: threading.Event) -> None:
    while not ended.wait(1.0) and wire.recv(1):
        pass


def pages_open(served: Served) -> int:
    """How many pages the server says are open."""
    with urlopen(f"{served.url}/metrics", timeout=SECONDS) as answer:
        found = re.search(r"^\w*live_pages(?:\{[^}]*\})? (\d+)", answer.read().decode(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def read_until(page: ClientConnection, calls: int) -> None:
    """Read and acknowledge until every node shows `calls`."""
    seen: set[str] = set()
    cell = re.compile(rf'id="c-flight-(node-\d+)" class="cell" hx-swap-oob="true">{calls}<')
    give_up_at = time.monotonic() + SECONDS
    while len(seen) < NODES:
        text = str(page.recv(max(give_up_at - time.monotonic(), 0)))
        page.send(json.dumps({"ack": int(text.partition('data-no="')[2].partition('"')[0])}))
        seen.update(cell.findall(text))


def watched(var: Path, *, ack_seconds: float) -> tuple[float, float]:
    """Let one page read among deaf and slow ones; return the server's MiB before and behind all changes."""
    with ExitStack() as stack:
        hands = stack.enter_context(hands_on(var))
        cookie = hands.do(FILL.format(nodes=NODES))
        served = stack.enter_context(serving(var, code=SERVER.format(rows=NODES, ack_seconds=ack_seconds)))
        page = stack.enter_context(
            connect(
                f"ws://127.0.0.1:{served.port}/live?page=fleet",
                origin=served.url,  # type: ignore[arg-type]
                additional_headers={"Cookie": cookie},
            )
        )
        hands.do(HEARD.format(nodes=NODES, calls=1))
        read_until(page, 1)
        before = served.resident_mib
        wires = [stack.enter_context(mute_page(served, cookie, slowly=n >= DEAF)) for n in range(DEAF + SLOW)]
        for calls in range(2, CHANGES + 2):
            hands.do(HEARD.format(nodes=NODES, calls=calls))
            read_until(page, calls)
        behind = served.resident_mib
        give_up_at = time.monotonic() + SECONDS
        while pages_open(served) != 1:  # the deaf were given up, the reading one wasn't
            assert time.monotonic() < give_up_at
            hands.do(HEARD.format(nodes=NODES, calls=1))
            read_until(page, 1)
        assert all(wire.fileno() >= 0 for wire in wires)
    return before, behind


def test_deaf_and_slow_pages_change_nothing_for_the_others(var: Path) -> None:
    before, behind = watched(var, ack_seconds=float(os.environ.get("MESH_DEAF_ACK_SECONDS", "3")))

    print(f"{before:.0f} MiB before {DEAF} deaf and {SLOW} slow pages, {behind:.0f} MiB with them")
    assert behind < before + MORE_MIB
