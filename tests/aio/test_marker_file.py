"""The marker's functions with real files."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from meshcore.aio.boot import boot_epoch
from meshcore.aio.marker_file import (
    clear_drain_request,
    drain_request_path,
    drain_requested,
    read_drain_request,
    write_drain_request,
)


def write_marker(home: Path, **changes: Any) -> None:
    content = write_drain_request(home) | changes
    drain_request_path(home).write_text(json.dumps(content))


def ago(seconds: float) -> datetime:
    return datetime.now(UTC) - timedelta(seconds=seconds)


def test_drain_case_23_without_a_marker_nothing_is_requested(tmp_path: Path) -> None:
    assert not drain_requested(tmp_path)
    assert read_drain_request(tmp_path) is None
    assert drain_request_path(tmp_path) == tmp_path / ".drain_request.json"


def test_drain_case_23_a_written_marker_is_json_on_disk_and_requests_a_drain(tmp_path: Path) -> None:
    payload = write_drain_request(tmp_path, principal="nas", reason="update", sticky=True)

    assert json.loads(drain_request_path(tmp_path).read_text()) == payload
    assert read_drain_request(str(tmp_path)) == payload
    assert (payload["action"], payload["principal"], payload["sticky"]) == ("drain", "nas", True)
    assert payload["boot_epoch"] == boot_epoch()
    assert drain_requested(tmp_path)


def test_drain_case_23_a_marker_can_be_cleared_once(tmp_path: Path) -> None:
    write_drain_request(tmp_path)

    assert clear_drain_request(tmp_path)
    assert not clear_drain_request(tmp_path)
    assert not drain_requested(tmp_path)


def test_drain_case_23_a_corrupt_marker_drains(tmp_path: Path) -> None:
    drain_request_path(tmp_path).write_text("{not valid json")

    assert drain_requested(tmp_path)
    assert read_drain_request(tmp_path) == {}


def test_what_the_disk_refuses_is_logged_and_not_raised(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drain_request_path(tmp_path).mkdir()

    assert read_drain_request(tmp_path) is None
    assert not clear_drain_request(tmp_path)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


@pytest.mark.parametrize(
    ("changes", "requested"),
    [
        ({"boot_epoch": "another:1"}, False),
        ({"boot_epoch": "another:1", "sticky": True}, True),
        ({"boot_epoch": ""}, True),
        ({"requested_at": ago(3660).isoformat()}, False),
        ({"requested_at": ago(3660).isoformat(), "sticky": True}, True),
        ({"requested_at": ago(3660).replace(tzinfo=None).isoformat()}, False),
        ({"requested_at": ago(-3660).isoformat()}, True),
        ({"requested_at": "garbled"}, True),
        ({"requested_at": None}, True),
    ],
)
def test_drain_case_27_a_marker_that_is_left_over_is_ignored(
    tmp_path: Path, changes: dict[str, Any], requested: bool
) -> None:
    write_marker(tmp_path, **changes)

    assert drain_requested(tmp_path) is requested


def test_drain_case_28_a_stale_marker_is_warned_of_once_and_counts_again_when_rewritten(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_marker(tmp_path, requested_at=ago(3660).isoformat())

    looks = [drain_requested(tmp_path) for _ in range(3)]
    write_drain_request(tmp_path)

    assert looks == [False, False, False]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert drain_requested(tmp_path)
