"""What may be asked of a drain."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from dashboard.models import Drain
from dashboard.services.drain_wish import InvalidWish, Wish, facts


def test_an_empty_wish_leaves_a_drain_as_it_is(now: datetime) -> None:
    drain = Drain(reason="r", force=True, sticky=True, meta={"a": 1}, deadline_at=now, expires_at=now)
    before = facts(drain)

    Wish().apply_to(drain, now=now)

    assert facts(drain) == before


def test_a_full_wish_replaces_all_of_it(now: datetime) -> None:
    drain = Drain(reason="r", force=True, sticky=True, meta={"a": 1}, deadline_at=now, expires_at=now)

    Wish(reason="s", force=False, sticky=False, meta={}, deadline_seconds=2.5, expires_seconds=None).apply_to(
        drain, now=now
    )

    assert facts(drain) == {
        "reason": "s",
        "deadline_at": (now + timedelta(seconds=2.5)).isoformat(),
        "force": False,
        "sticky": False,
        "expires_at": None,
        "meta": {},
    }


@pytest.mark.parametrize("reason", ["x" * 500, "two\nlines\tof text\r\n", "Wartung für 👩‍🔧", ""])
def test_a_reason_is_any_text_of_people(reason: str) -> None:
    assert Wish(reason=reason).reason == reason


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"reason": "x" * 501}, "501 characters"),
        ({"reason": "\x1b[2J"}, "control characters"),
        ({"reason": "\x00"}, "control characters"),
        ({"reason": "\ud800"}, "surrogate"),
        ({"meta": {"\x00": 1}}, "control characters"),
        ({"meta": {"a": ["\ud800"]}}, "surrogate"),
        ({"meta": {"a": float("nan")}}, "finite"),
        ({"meta": {"a": "x" * 4096}}, "at most 4096"),
        ({"meta": {"a": [[[[[[[[]]]]]]]]}}, "deep"),
        ({"deadline_seconds": 0}, "force"),
        ({"deadline_seconds": 10**400}, "1000000000"),
        ({"expires_seconds": -0.1}, "-0.1"),
    ],
)
def test_what_is_not_allowed_is_named(wish: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidWish, match=message) as refused:
        Wish(**wish)

    assert refused.value.field in wish


def test_a_week_and_a_month_are_the_bounds() -> None:
    assert Wish(deadline_seconds=604_800, expires_seconds=2_592_000)
