"""Trace ids that other systems understand: W3C Trace Context, header `traceparent`.

    00-<trace id: 32 hex digits>-<parent id: 16 hex digits>-<flags: 2 hex digits>

A call that comes with one keeps its trace id and passes on a parent id of this node; one that comes without,
or with a malformed one, begins a trace.
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

HEADER = "traceparent"
RandomBytes = Callable[[int], bytes]
"""Returns so many random bytes."""

_SAMPLED = "01"
_ID_BYTES = 16
_PARENT_BYTES = 8
_IDS_AT_ONCE = 256  # 8 kB of text; to ask the system for random bytes costs as much as ten ids
# A version above 00 may append fields; ff is no version; ids of zeros are no ids (Trace Context §3.2.2).
_FORM = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)


class TraceContext(NamedTuple):
    """Where a call belongs: its trace id, and the header that says so to whom it is passed on."""

    trace_id: str
    traceparent: str


def trace_context(header: str, random: RandomBytes) -> TraceContext:
    """Return the context of a call that came with `header`, "" when it came with none."""
    digits = random(_ID_BYTES + _PARENT_BYTES).hex()  # at once, for each asking costs as much as ten ids
    parent_id = digits[2 * _ID_BYTES :]
    trace_id, flags = (_parse(header) if header else None) or (digits[: 2 * _ID_BYTES], _SAMPLED)
    return TraceContext(trace_id, f"00-{trace_id}-{parent_id}-{flags}")


def trace_ids(random: RandomBytes) -> Iterator[str]:
    """Yield new trace ids without end, for calls that nothing is to be passed on of."""
    digits = 2 * _ID_BYTES
    while True:
        portion = random(_ID_BYTES * _IDS_AT_ONCE).hex()
        for start in range(0, len(portion), digits):
            yield portion[start : start + digits]


def _parse(header: str) -> tuple[str, str] | None:
    match = _FORM.fullmatch(header)
    if match is None:
        return None
    version, trace_id, parent_id, flags = match.groups()
    has_more = len(match[0]) > 55
    if (version == "00" and has_more) or int(trace_id, 16) == 0 or int(parent_id, 16) == 0:
        return None
    return trace_id, flags
