"""The marker's content: stale only when it is surely left over."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import drain_request
from meshcore.drain import DrainSource
from meshcore.drain_request import Witness
from meshcore.testing import START

HERE = Witness(boot_epoch="boot-2", instance_id="process-2", now=START)


def marker(**changes: Any) -> dict[str, Any]:
    content = drain_request.payload(
        principal="nas", reason="update", sticky=False, instance_id="", boot_epoch="boot-2", now=START
    )
    return content | changes


def test_a_marker_survives_its_file() -> None:
    content = marker()

    assert drain_request.decode(drain_request.encode(content)) == content
    assert content["action"] == "drain"
    assert "instance_id" not in content


@pytest.mark.parametrize(
    "data",
    [b"", b"{not valid json", b"[]", b"null", b'"drain"', b"\xff\xfe", b"[" * 100_000, b" " * 70_000 + b"{}"],
)
def test_what_is_no_marker_is_an_empty_one_and_drains(data: bytes) -> None:
    content = drain_request.decode(data)

    assert content == {}
    assert drain_request.why_stale(content, HERE) == ""
    assert drain_request.drain_info(content).reason == "the marker can't be read as JSON"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_dictionary(data: bytes) -> None:
    assert isinstance(drain_request.decode(data), dict)


@pytest.mark.parametrize(
    ("changes", "stale"),
    [
        ({}, False),
        ({"boot_epoch": "boot-1"}, True),
        ({"boot_epoch": "boot-1", "sticky": True}, False),
        ({"boot_epoch": ""}, False),
        ({"boot_epoch": 3}, False),
        ({"requested_at": (START - timedelta(seconds=3660)).isoformat()}, True),
        ({"requested_at": (START - timedelta(seconds=3600)).isoformat()}, False),
        ({"requested_at": (START - timedelta(seconds=3660)).isoformat(), "sticky": True}, False),
        ({"requested_at": (START - timedelta(seconds=3660)).replace(tzinfo=None).isoformat()}, True),
        ({"requested_at": (START + timedelta(days=9)).isoformat()}, False),
        ({"requested_at": "yesterday"}, False),
        ({"requested_at": None}, False),
        ({"instance_id": "process-1"}, True),
        ({"instance_id": "process-1", "sticky": True}, True),
        ({"instance_id": "process-2"}, False),
    ],
)
def test_only_what_is_surely_left_over_is_stale(changes: dict[str, Any], stale: bool) -> None:
    assert bool(drain_request.why_stale(marker(**changes), HERE)) is stale


@pytest.fixture
def _far_from_greenwich(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("_far_from_greenwich")
def test_a_time_without_a_zone_is_utc_wherever_the_machine_stands() -> None:
    naive = START.replace(tzinfo=None).isoformat()

    assert drain_request.requested_at(marker(requested_at=naive)) == START


def test_an_unknown_boot_never_counts_as_another_one() -> None:
    witness = Witness(boot_epoch="", instance_id="", now=START)

    assert drain_request.why_stale(marker(boot_epoch="boot-1", instance_id="process-1"), witness) == ""


def test_the_readout_names_who_asked_and_why() -> None:
    info = drain_request.drain_info(marker(sticky=True))

    assert (info.source, info.by, info.reason, info.since) == (DrainSource.LOCAL, "nas", "update", START)
    assert info.sticky


def test_a_marker_may_be_bound_to_one_process() -> None:
    content = drain_request.payload(
        principal="hook", reason="", sticky=False, instance_id="process-1", boot_epoch="", now=START
    )

    assert content["instance_id"] == "process-1"
