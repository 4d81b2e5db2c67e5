"""Histograms that add up: what they promise about buckets and quantiles."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore import histogram

durations = st.floats(min_value=1.0, max_value=600_000.0)


@given(durations)
def test_a_buckets_middle_is_at_most_two_and_a_half_percent_off(ms: float) -> None:
    middle = histogram.middle_of(histogram.bucket_of(ms))

    assert abs(middle - ms) / ms <= 0.0251


def test_the_ends_catch_everything() -> None:
    assert histogram.bucket_of(0.0) == 0
    assert histogram.bucket_of(0.999) == 0
    assert histogram.bucket_of(600_000.0) <= histogram.LAST_BUCKET
    assert histogram.bucket_of(1e12) == histogram.LAST_BUCKET


@given(st.lists(durations, min_size=1), st.lists(durations), st.sampled_from([0.5, 0.95, 0.99, 1.0]))
def test_merged_histograms_give_the_quantile_of_all_raw_durations(
    first: list[float], second: list[float], share: float
) -> None:
    one: histogram.Counts = {}
    other: histogram.Counts = {}
    for ms in first:
        histogram.add(one, ms)
    for ms in second:
        histogram.add(other, ms)

    merged = histogram.merge(one, other)

    raw = sorted(first + second)[math.ceil(share * len(first + second)) - 1]
    got = histogram.quantile(merged, share)
    assert got is not None
    assert abs(got - raw) / raw <= 0.0251
    assert histogram.total(merged) == len(first) + len(second)


def test_nothing_counted_has_no_quantile() -> None:
    assert histogram.quantile({}, 0.5) is None


@pytest.mark.parametrize("share", [0.0, -0.1, 1.01])
def test_a_share_outside_the_range_is_named(share: float) -> None:
    with pytest.raises(ValueError, match=f"share={share}"):
        histogram.quantile({1: 1}, share)
