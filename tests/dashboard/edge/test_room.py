"""The disk is full: orders go on with the ballast's room, and pages say so.

The disk is SQLite's own bound on pages, which fails as a full disk does; the ballast's file takes its share.
`tests/e2e/test_full_disk.py` tells the same of a real small disk and a real server.
"""

from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import resolve

from dashboard.edge import room
from dashboard.models import AuditEntry, Node, Scope
from dashboard.services import audit, ballast
from dashboard.services.ballast import BALLAST_BYTES, Ballast
from meshcore.clock import utcnow

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True)]

PIECE = 8 << 10
REASON = "disk " * 80  # longer than what may be left in a page
ORDERS_MAX = 60


class SmallDisk:
    """Bounds the database to as many pages as it has, and what the ballast gives up."""

    def __init__(self, held: Ballast) -> None:
        self._held = held
        self.pages = self._pragma("page_count")
        self.given_pages = BALLAST_BYTES // self._pragma("page_size")

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        room = 0 if self._held.held_bytes else self.given_pages
        context["connection"].connection.execute(f"PRAGMA max_page_count={self.pages + room}")
        return execute(sql, params, many, context)

    def fill(self) -> None:
        """Write into what is left inside the file until nothing is."""
        connection.connection.execute("CREATE TABLE IF NOT EXISTS filler (piece BLOB)")
        self.pages = self._pragma("page_count")
        for size in (PIECE, 100):
            while self._fits(size):
                pass

    def _fits(self, size: int) -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute("INSERT INTO filler VALUES (zeroblob(%s))", [size])
        except OperationalError as exc:
            assert ballast.is_full(exc)
            return False
        return True

    def _pragma(self, name: str) -> int:
        with connection.cursor() as cursor:
            return int(cursor.execute(f"PRAGMA {name}").fetchone()[0])


@pytest.fixture
def held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ballast:
    kept = Ballast(tmp_path / "db.ballast")
    assert kept.make()
    monkeypatch.setattr(ballast, "_current", kept)
    return kept


@pytest.fixture
def disk(online: Node, held: Ballast, alice: User) -> Iterator[SmallDisk]:
    """A full disk, with a node and a person on it."""
    small = SmallDisk(held)
    with connection.execute_wrapper(small):
        small.fill()
        yield small
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA max_page_count=4294967294")
        cursor.execute("DROP TABLE filler")


def browser(user: User, disk: SmallDisk) -> Client:
    client = Client(raise_request_exception=False)
    disk.pages += 8  # the test's own session
    client.force_login(user)
    disk.fill()
    return client


def is_sound() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA integrity_check")
        return bool(cursor.fetchall() == [("ok",)] and audit.verify().fault is None)


def by_hand(person: Client) -> Callable[[], int]:
    """Return what drains and gives back by a browser's form, and returns the status."""
    steps = cycle(("drain", "undrain"))
    form = {"reason": REASON, "override_guards": "on"}
    return lambda: int(person.post(f"/nodes/node-a/{next(steps)}/", form).status_code)


def by_program(program: Any) -> Callable[[], int]:
    """Return what drains and gives back by the API, and returns the status."""
    steps = cycle(("", ', "action": "cancel"'))
    order = '{"reason": "%s"%s}'
    return lambda: int(
        program.send("nodes/node-a/drain", (order % (REASON, next(steps))).encode()).status_code
    )


def until_full(order: Callable[[], int], held: Ballast) -> list[int]:
    """Give orders until one needs the ballast: a few fit into what its tables' pages have left."""
    statuses = []
    while held.held_bytes and len(statuses) < ORDERS_MAX:
        statuses.append(order())
    return statuses


@pytest.mark.parametrize("whose", ["a person's", "a program's"])
def test_orders_go_on_with_the_ballasts_room(
    disk: SmallDisk, held: Ballast, alice: User, caller: Any, whose: str
) -> None:
    person = browser(alice, disk)
    disk.pages += 16
    order = by_hand(person) if whose == "a person's" else by_program(caller(Scope.NODES_DRAIN))
    disk.fill()

    statuses = [*until_full(order, held), order(), order()]

    assert set(statuses) <= {200, 202, 302}, statuses
    assert held.held_bytes == 0
    assert AuditEntry.objects.filter(action__in=("drain", "undrain")).count() == len(statuses)
    page = person.get("/").content.decode()
    assert 'id="disk-full"' in page and "go on with the room that was kept" in page
    assert is_sound()


@pytest.mark.parametrize("whose", ["a person's", "a program's"])
def test_where_even_that_is_full_it_is_said_how_to_drain_locally(
    disk: SmallDisk, held: Ballast, alice: User, caller: Any, whose: str
) -> None:
    person = browser(alice, disk)
    disk.pages += 16
    program = caller(Scope.NODES_DRAIN)
    disk.given_pages = 0
    disk.fill()

    order = by_hand(person) if whose == "a person's" else by_program(program)
    statuses: list[int] = []
    while 507 not in statuses and len(statuses) < ORDERS_MAX:
        statuses.append(order())

    assert held.held_bytes == 0
    assert statuses[-1] == 507
    assert set(statuses[:-1]) <= {200, 202, 302}
    assert AuditEntry.objects.filter(action__in=("drain", "undrain")).count() == len(statuses) - 1
    assert is_sound()


def test_what_is_said_then_has_the_file_to_write(rf: RequestFactory, held: Ballast) -> None:
    assert "HOME/.drain_request.json" in room._full(rf.get("/")).content.decode()


def test_other_errors_stay_what_they_were(rf: RequestFactory, held: Ballast) -> None:
    request, passing = rf.get("/"), room.RoomForOrders(lambda request: HttpResponse("fine"))
    request.resolver_match = resolve("/")

    assert passing(request).status_code == 200
    assert passing.process_exception(request, OperationalError("database is locked")) is None
    assert passing.process_exception(request, ValueError("full")) is None
    assert held.notice is None


def test_pages_say_nothing_while_there_is_room(online: Node, held: Ballast, alice: User) -> None:
    client = Client()
    client.force_login(alice)

    assert "disk-full" not in client.get("/").content.decode()
    held.stop_telemetry(now=utcnow())
    assert "have room of their own" in client.get("/").content.decode()
