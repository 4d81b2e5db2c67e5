"""Desired state: newer counts, what can't be read keeps the node out of service."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import desired
from meshcore.drain import DrainInfo, DrainSource
from meshcore.errors import FrameError
from meshcore.frames import Desired, DesiredDrain
from meshcore.testing import START

DRAIN = DesiredDrain(since=START, by="alice", reason="update", deadline_at=START, sticky=True)


@pytest.mark.parametrize(("offered", "newer"), [(4, False), (5, False), (6, True)])
def test_only_a_higher_generation_counts(offered: int, newer: bool) -> None:
    assert desired.is_newer(Desired(generation=offered), Desired(generation=5)) is newer


def test_any_order_is_newer_than_one_that_cannot_be_read() -> None:
    assert desired.is_newer(Desired(generation=0), desired.UNREADABLE)


def test_a_desired_drain_is_shown_as_the_dashboard_wants_it() -> None:
    assert desired.drain_asked(Desired(generation=7, drain=DRAIN)) == DrainInfo(
        source=DrainSource.DESIRED,
        generation=7,
        since=START,
        by="alice",
        reason="update",
        deadline_at=START,
        sticky=True,
    )


def test_no_desired_drain_asks_for_none() -> None:
    assert desired.drain_asked(Desired(generation=7)) is None


def test_what_cannot_be_read_drains() -> None:
    asked = desired.drain_asked(desired.UNREADABLE)

    assert asked is not None
    assert asked.source is DrainSource.DESIRED


def test_desired_state_survives_its_file() -> None:
    held = Desired(generation=3, drain=DRAIN, overrides=({"key": "alpha"},), aliases={"mesh/a": ["p/m"]})

    assert desired.decode(desired.encode(held)) == held


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"type": "desired", "generation": "3"}', b"[" * 100_000, b"\xff"]
)
def test_a_broken_file_is_named(data: bytes) -> None:
    with pytest.raises(FrameError, match="desired state: "):
        desired.decode(data)


@given(st.binary(max_size=100))
def test_any_bytes_are_refused_as_a_frame(data: bytes) -> None:
    with pytest.raises(FrameError):
        desired.decode(data)
