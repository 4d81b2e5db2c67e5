"""Times and numbers for people."""

from datetime import UTC, datetime, timedelta

import pytest

from dashboard.templatetags import times

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (-3, "0 s"),
        (0.9, "0 s"),
        (41.7, "41 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (86_399, "23 h"),
        (86_400 * 5, "5 d"),
    ],
)
def test_a_span_has_one_unit(seconds: float | None, words: str) -> None:
    assert times.span(seconds) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "–"),
        (0, "0.00 s"),
        (0.214, "0.21 s"),
        (-0.3, "\u22120.30 s"),
        (59.9, "59.90 s"),
        (130, "2 min"),
    ],
)
def test_a_lag_is_told_in_hundredths(seconds: float | None, words: str) -> None:
    assert times.exact(seconds) == words


def test_what_goes_on_says_since_when_so_that_it_can_be_counted_on() -> None:
    html = times.since(NOW - timedelta(seconds=41), NOW)

    assert html == (
        '<time data-since="2026-03-05T14:20:26+00:00" datetime="2026-03-05T14:20:26+00:00">41 s</time>'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (4.12, "4.1"), (9.97, "10"), (268.3, "268"), (12345.6, "12\u202f346")],
)
def test_milliseconds_are_as_exact_as_they_matter(value: float | None, text: str) -> None:
    assert times.ms(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0, "0.0"), (8.44, "8.4"), (99.96, "100"), (1234.5, "1\u202f234")]
)
def test_rates(value: float | None, text: str) -> None:
    assert times.rate(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0, "0.0 %"), (0.04, "< 0.1 %"), (6.23, "6.2 %")])
def test_a_few_errors_are_never_shown_as_none(value: float | None, text: str) -> None:
    assert times.percent(value) == text


def test_an_age_can_go_on_growing() -> None:
    html = times.heard(NOW - timedelta(seconds=3), NOW)

    assert html == (
        '<time data-heard="2026-03-05T14:21:04+00:00" datetime="2026-03-05T14:21:04+00:00">3 s</time>'
    )


def test_the_time_left_can_go_on_shrinking() -> None:
    assert ">41 s</time>" in times.until(NOW + timedelta(seconds=41), NOW)
    assert ">0 s</time>" in times.until(NOW - timedelta(seconds=41), NOW)


def test_a_time_of_another_day_has_its_date() -> None:
    assert ">14:20:07<" in times.clock(NOW - timedelta(minutes=1), NOW)
    assert ">04 Mar 14:21:07<" in times.clock(NOW - timedelta(days=1), NOW)


def test_how_long_ago_has_the_moment_on_hover() -> None:
    assert times.ago(NOW - timedelta(minutes=5), NOW) == (
        '<time datetime="2026-03-05T14:16:07+00:00" title="2026-03-05 14:16:07 UTC">5 min ago</time>'
    )


def test_what_never_was_is_a_dash() -> None:
    assert times.heard(None, NOW) == times.ago(None, NOW) == times.clock(None, NOW) == "<span>–</span>"
    assert times.number(None) == "–"
