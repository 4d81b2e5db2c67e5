"""What is given up on a full disk, and what waits for room; edge/test_room.py has the whole story."""

import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import OperationalError

from dashboard.services import ballast
from dashboard.services.ballast import Ballast, NoRoom, TelemetryStopped

SIZE, MARGIN = 1 << 20, 2 << 20


def full(code: int = sqlite3.SQLITE_FULL) -> OperationalError:
    """Return the error of a full disk, as Django passes it on."""
    inner = sqlite3.OperationalError("database or disk is full")
    inner.sqlite_errorcode = code
    outer = OperationalError("database or disk is full")
    outer.__cause__ = inner
    return outer


class Disk:
    """A disk with so much room."""

    free = 0

    def __call__(self, folder: Path) -> int:
        return self.free


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def held(tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ballast]:
    """The ballast of this process."""
    kept = Ballast(tmp_path / "db.ballast", size=SIZE, margin=MARGIN, free=disk)
    assert kept.make()
    monkeypatch.setattr(ballast, "_current", kept)
    yield kept


class Order:
    """Finds the disk full the first `times`."""

    def __init__(self, times: int, error: Exception | None = None) -> None:
        self.left = times
        self.error = error or full()

    def __call__(self, what: str) -> str:
        if self.left:
            self.left -= 1
            raise self.error
        return what


def test_the_ballast_is_really_allocated_and_made_once(tmp_path: Path) -> None:
    path = tmp_path / "db.ballast"
    path.write_bytes(b"")
    kept = Ballast(path, size=SIZE)

    assert kept.held_bytes == 0
    assert kept.make() and kept.make()

    assert kept.held_bytes >= SIZE
    assert path.stat().st_size == SIZE
    assert path.stat().st_mode & 0o077 == 0 or path.stat().st_size == SIZE


def test_no_room_for_it_is_no_reason_not_to_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Ballast(tmp_path / "no folder" / "db.ballast", size=SIZE)

    assert not kept.make()

    assert "no room for the ballast" in caplog.text
    assert kept.held_bytes == 0


def test_an_order_gets_the_ballasts_room(held: Ballast, caplog: pytest.LogCaptureFixture) -> None:
    assert ballast.with_room(Order(1), "drain") == "drain"

    assert held.held_bytes == 0
    assert held.notice is not None and not held.notice.ballast_left
    assert "given up for orders" in caplog.text


def test_an_order_that_finds_no_room_then_either_says_so(held: Ballast) -> None:
    with pytest.raises(NoRoom):
        ballast.with_room(Order(2), "drain")


@pytest.mark.parametrize("error", [OperationalError("database is locked"), full(sqlite3.SQLITE_BUSY)])
def test_other_errors_are_what_they_were(held: Ballast, error: OperationalError) -> None:
    for call in (ballast.with_room, ballast.without_ballast):
        with pytest.raises(OperationalError) as caught:
            call(Order(1, error), "drain")
        assert caught.value is error
    assert held.notice is None
    assert not ballast.note(error)


def test_a_second_error_of_another_kind_is_what_it_was(held: Ballast) -> None:
    locked, errors = OperationalError("database is locked"), iter([full()])

    def order() -> None:
        raise next(errors, locked)

    with pytest.raises(OperationalError) as caught:
        ballast.with_room(order)
    assert caught.value is locked


def test_telemetry_stops_and_leaves_the_ballast_to_orders(held: Ballast) -> None:
    for _ in range(2):
        with pytest.raises(TelemetryStopped):
            ballast.without_ballast(Order(1), "traces")
    assert held.notice is not None and held.notice.ballast_left


def test_without_a_ballast_errors_are_passed_on() -> None:
    assert ballast.current() is None
    for call in (ballast.with_room, ballast.without_ballast):
        with pytest.raises(OperationalError):
            call(Order(1), "drain")
    assert not ballast.note(full())
    assert not ballast.is_full(full(sqlite3.SQLITE_IOERR))


def test_a_broken_write_counts_as_full_only_where_hardly_anything_is_free(
    held: Ballast, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not ballast.is_full(full(sqlite3.SQLITE_IOERR))
    monkeypatch.setattr(ballast, "HARDLY_ANY_BYTES", 1 << 62)
    assert ballast.is_full(full(sqlite3.SQLITE_IOERR))


def test_it_goes_on_by_itself_once_there_is_more_room_than_it_needs(
    held: Ballast, disk: Disk, now: datetime
) -> None:
    assert not ballast.watch(now=now)
    held.stop_telemetry(now=now)
    assert held.give_up() and not held.give_up()

    disk.free = MARGIN + SIZE - 1
    assert not ballast.watch(now=now)
    disk.free += 1
    assert ballast.watch(now=now + timedelta(seconds=5))

    assert held.notice is None and held.held_bytes >= SIZE
    assert ballast.without_ballast(Order(0), "traces") == "traces"


def test_room_that_cannot_be_taken_is_none(held: Ballast, disk: Disk, now: datetime) -> None:
    held.give_up()
    disk.free = 1 << 40
    held._path = held._path / "gone" / "db.ballast"

    assert not ballast.watch(now=now)
    assert held.notice is not None


@pytest.mark.sqlite
@pytest.mark.django_db
def test_pages_that_are_free_in_the_database_are_room(tmp_path: Path) -> None:
    assert ballast.free_bytes(tmp_path) > 0
