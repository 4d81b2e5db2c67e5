"""Latency histograms that add up.

Percentiles of several nodes or minutes can't be averaged; counts in fixed buckets can be added
(link-and-telemetry, "Histograms"). Bucket i holds durations with i = floor(log(max(ms, 1)) / log 1.05),
0…273, so that a bucket's middle is at most 2.5 % off and the last one begins beyond 10 minutes. Only counts
above zero are kept.
"""

import math
from collections.abc import Mapping

VERSION = 1  # sent beside the counts: other bucket borders need another number
GROWTH = 1.05
LAST_BUCKET = 273
_LOG_GROWTH = math.log(GROWTH)

Counts = dict[int, int]
"""Bucket number -> count above zero."""


def bucket_of(milliseconds: float) -> int:
    """Return the bucket of a duration; below 1 ms is bucket 0, beyond the last border the last bucket."""
    return min(int(math.log(max(milliseconds, 1.0)) / _LOG_GROWTH), LAST_BUCKET)


def middle_of(bucket: int) -> float:
    """Return the duration in milliseconds that stands for a bucket: its arithmetic middle."""
    return GROWTH**bucket * (1 + GROWTH) / 2


def add(counts: Counts, milliseconds: float, times: int = 1) -> None:
    """Count a duration, in place."""
    bucket = bucket_of(milliseconds)
    counts[bucket] = counts.get(bucket, 0) + times


def merge(into: Counts, other: Mapping[int, int]) -> Counts:
    """Add `other` to `into`, in place, and return `into`."""
    for bucket, count in other.items():
        into[bucket] = into.get(bucket, 0) + count
    return into


def total(counts: Mapping[int, int]) -> int:
    """Return how many durations were counted."""
    return sum(counts.values())


def quantile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the duration in milliseconds at `share` (0 < share <= 1) by nearest rank, or None when
    nothing was counted.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share={share!r}: expected a number above 0 and up to 1")
    rank = math.ceil(share * total(counts))
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= rank:
            return middle_of(bucket)
    return None
