"""What nodes say is made to fit, or refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import connection

from dashboard.services import columns
from dashboard.services.columns import Unfit
from meshcore.frames import InboundAck

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_nul_characters_are_replaced_everywhere() -> None:
    assert columns.clean(InboundAck(bufferId="a\x00b")) == InboundAck(bufferId="a\ufffdb")
    assert columns.plain(InboundAck(bufferId="\x00")) == {"type": "inbound_ack", "bufferId": "\ufffd"}


def test_what_fits_stays_as_it_is() -> None:
    local = NOW.astimezone(timezone(timedelta(hours=2)))

    assert columns.key("key", "alpha", most=5) == "alpha"
    assert columns.count("n", columns.COUNT_MAX) == columns.COUNT_MAX
    assert columns.count("n", None) is columns.duration("ms", None) is None
    assert columns.duration("ms", 0.5) == 0.5
    assert columns.stamp("at", local) is local


@pytest.mark.parametrize(
    ("check", "named"),
    [
        (lambda: columns.key("key", "", most=5), "key of 0 characters: expected 1 to 5"),
        (lambda: columns.key("key", "toolong", most=5), "key of 7 characters"),
        (lambda: columns.count("tokens_in", -1), "tokens_in=-1"),
        (lambda: columns.count("tokens_in", 2**31), "tokens_in=2147483648"),
        (lambda: columns.duration("ttft_ms", -0.1), "ttft_ms=-0.1"),
        (lambda: columns.duration("ttft_ms", 1e300), "ttft_ms=1e"),
        (lambda: columns.stamp("at", NOW.replace(tzinfo=None)), "expected a time zone"),
        (lambda: columns.stamp("at", datetime(1, 1, 1, tzinfo=UTC)), "expected 2000 to 2200"),
        (lambda: columns.stamp("at", datetime(9999, 1, 1, tzinfo=UTC)), "expected 2000 to 2200"),
    ],
)
def test_what_does_not_fit_is_named(check: Callable[[], object], named: str) -> None:
    with pytest.raises(Unfit, match=named):
        check()


def test_a_countdown_ends_at_a_time_that_can_be_kept() -> None:
    assert columns.until(NOW, None) is None
    assert columns.until(NOW, 41.5) == NOW + timedelta(seconds=41.5)
    assert columns.until(NOW, -1) == NOW
    assert columns.until(NOW, 1e300) == NOW + columns.LONGEST


@pytest.mark.parametrize(
    "at",
    [
        NOW,
        NOW.replace(microsecond=7),
        NOW.astimezone(timezone(timedelta(hours=-5, minutes=-30))),
        datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    ],
)
def test_stamps_of_bare_rows_are_those_that_django_writes(at: datetime) -> None:
    assert columns.stamp_adapter()(at) == connection.ops.adapt_datetimefield_value(at)


def test_text_of_bare_rows_is_json_without_loss() -> None:
    text = columns.json_text([{"a": 'é\n"', "b": [1, 2.5, None, True]}])

    assert json.loads(text) == [{"a": 'é\n"', "b": [1, 2.5, None, True]}]
