"""Charts as SVG: they print, need no library, and each has its text equivalent.

No style attributes: only presentation attributes and classes, so the strict Content-Security-Policy holds.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from dashboard.templatetags.journeys import refusal, splice_reasons, where
from dashboard.templatetags.times import ms

register = template.Library()

SPARK_WIDTH, SPARK_HEIGHT, SPARK_ERRORS = 120, 28, 5  # the errors' bars have the bottom to themselves
FALL_WIDTH, FALL_LABEL, FALL_NOTE = 760, 200, 170  # the bars get what is left between label and note
STRIP_STEP, STRIP_HEIGHT = 4, 20
STRIP_HEIGHTS = {"UNKNOWN": 1, "CALM": 3, "DOUBT": 10, "DOWN": 20}
LEFT = mark_safe('preserveAspectRatio="xMinYMid"')
STRETCHED = mark_safe('preserveAspectRatio="none"')
FALL_ROW, FALL_BAR, FALL_TOP = 30, 14, 12
AXIS_HEIGHT, SPLICE_HEIGHT = 22, 18


@register.simple_tag
def sparkline(rates: Sequence[float], bad: Sequence[int]) -> SafeString:
    """Return requests a second as a line, the oldest left, and minutes with errors as marks below it."""
    if not rates:
        return _svg("spark", SPARK_WIDTH, SPARK_HEIGHT, "no requests in the last 15 minutes", "")
    points = _points(rates)
    words = (
        f"requests a second: {max(rates):.1f} at most, {rates[-1]:.1f} now, {sum(bad)} errors in 15 minutes"
    )
    floor = SPARK_HEIGHT - SPARK_ERRORS
    return _svg(
        "spark",
        SPARK_WIDTH,
        SPARK_HEIGHT,
        words,
        format_html(
            '<polygon points="0,{} {} {},{}"/><polyline points="{}"/>{}',
            floor,
            points,
            SPARK_WIDTH,
            floor,
            points,
            _error_marks(bad),
        ),
    )


def _points(rates: Sequence[float]) -> str:
    room = SPARK_HEIGHT - SPARK_ERRORS - 2
    top = max(*rates, 1e-9)
    step = SPARK_WIDTH / max(len(rates) - 1, 1)
    return " ".join(f"{i * step:.1f},{2 + room * (1 - rate / top):.1f}" for i, rate in enumerate(rates))


def _error_marks(bad: Sequence[int]) -> SafeString:
    step = SPARK_WIDTH / max(len(bad) - 1, 1)
    marks = [
        (f"{min(i * step, SPARK_WIDTH - 3):.1f}", SPARK_HEIGHT - 4) for i, errors in enumerate(bad) if errors
    ]
    return format_html_join("", '<rect class="err" x="{}" y="{}" width="3" height="4" rx="1"/>', marks)


@register.simple_tag
def day_strip(slots: Sequence[enum.IntEnum], words: str) -> SafeString:
    """Return how bad each quarter of an hour was, the oldest left: by colour and by height."""
    bars, at = [], 0
    for level, group in groupby(slots):
        width = len(list(group))
        height = STRIP_HEIGHTS[level.name]
        bars.append((level.name.lower(), at * STRIP_STEP, STRIP_HEIGHT - height, width * STRIP_STEP, height))
        at += width
    body = format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', bars)
    return _svg("strip", at * STRIP_STEP, STRIP_HEIGHT, f"The last 24 hours: {words}", body, fit=STRETCHED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One row of a waterfall; times in ms from the call's start. `wait_ms`: until the first token."""

    label: str
    note: str
    kind: str  # ok, bad, skip: a class
    begin_ms: float = 0.0
    wait_ms: float = 0.0
    ms: float = 0.0


@register.simple_tag
def waterfall(
    attempts: Sequence[dict[str, Any]],
    candidates: Sequence[dict[str, Any]],
    node: str,
    splices: Sequence[dict[str, Any]] = (),
) -> SafeString:
    """Return the attempts of a call on one time axis, who was passed over, and each splice."""
    bars = [*_tried(attempts, node), *_passed_over(candidates, node)]
    longest = max([bar.begin_ms + bar.ms for bar in bars] or [0.0]) or 1.0
    height = FALL_TOP + FALL_ROW * len(bars) + AXIS_HEIGHT + SPLICE_HEIGHT * bool(splices)
    words = "; ".join([*(f"{bar.label}: {bar.note}" for bar in bars), *splice_reasons(splices, node)])
    rows = [_row(bar, FALL_TOP + FALL_ROW * i, longest) for i, bar in enumerate(bars)]
    marks = _spliced(splices, longest, height)
    body = format_html_join("", "{}", [(part,) for part in (*_axis(longest, height), *marks, *rows)])
    return _svg("fall", FALL_WIDTH, height, f"Attempts. {words}", body)


def _tried(attempts: Sequence[dict[str, Any]], node: str) -> list[Bar]:
    return [
        Bar(
            label=f"{attempt['n']} · {where(attempt, node)}",
            note=f"{attempt.get('code') or 'ok'}, {ms(attempt.get('ms', 0.0))} ms",
            kind="ok" if attempt.get("outcome", "ok") == "ok" else "bad",
            begin_ms=attempt.get("started_ms", 0.0),
            wait_ms=attempt.get("ttft_ms") or 0.0,
            ms=attempt.get("ms", 0.0),
        )
        for attempt in attempts
    ]


def _passed_over(candidates: Sequence[dict[str, Any]], node: str) -> list[Bar]:
    return [
        Bar(label=f"– · {where(each, node)}", note=f"passed over: {refusal(each)}", kind="skip")
        for each in candidates
        if each.get("reason")
    ]


def _spliced(splices: Sequence[dict[str, Any]], longest: float, height: int) -> list[SafeString]:
    """Return a line through all rows where another provider went on with the answer."""
    mark = (
        '<line class="splice" x1="{0}" y1="4" x2="{0}" y2="{1}"/>'
        '<text class="tick" x="{0}" y="{2}">{3}</text>'
    )
    return [
        format_html(
            mark,
            f"{_x(min(splice.get('at_ms') or 0.0, longest), longest):.1f}",
            height - AXIS_HEIGHT - SPLICE_HEIGHT + 4,
            height - AXIS_HEIGHT - 2,
            f"spliced after {splice.get('after_chunks', '?')} chunks",
        )
        for splice in splices
    ]


def _x(milliseconds: float, longest: float) -> float:
    return FALL_LABEL + (FALL_WIDTH - FALL_LABEL - FALL_NOTE) * milliseconds / longest


def _row(bar: Bar, top: int, longest: float) -> SafeString:
    left, right = (
        _x(bar.begin_ms, longest),
        max(_x(bar.begin_ms + bar.ms, longest), _x(bar.begin_ms, longest) + 3),
    )
    middle = _x(bar.begin_ms + min(bar.wait_ms, bar.ms), longest)
    text = top + FALL_BAR - 3
    label = format_html('<text class="n" x="0" y="{}">{}</text>', text, bar.label)
    if bar.kind == "skip":
        line = '{}<line class="skip" x1="{}" y1="{}" x2="{}" y2="{}"/><text x="{}" y="{}">{}</text>'
        at = top + FALL_BAR // 2
        return format_html(line, label, FALL_LABEL, at, FALL_LABEL + 22, at, FALL_LABEL + 30, text, bar.note)
    wait = _rect("wait", left, middle, top) if bar.wait_ms else ""
    return format_html(
        '{}{}{}<text x="{}" y="{}">{}</text>',
        label,
        wait,
        _rect(bar.kind, middle if bar.wait_ms else left, right, top),
        f"{right + 8:.1f}",
        text,
        bar.note,
    )


def _rect(kind: str, left: float, right: float, top: int) -> SafeString:
    return format_html(
        '<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="3"/>',
        kind,
        f"{left:.1f}",
        top,
        f"{max(right - left, 2):.1f}",
        FALL_BAR,
    )


def _axis(longest: float, height: int) -> list[SafeString]:
    line = '<line x1="{0}" y1="4" x2="{0}" y2="{1}"/><text class="tick" x="{0}" y="{2}">{3}</text>'
    return [
        format_html(
            line, f"{_x(longest * share, longest):.1f}", height - 18, height - 4, _tick(longest * share)
        )
        for share in (0.0, 0.5, 1.0)
    ]


def _tick(milliseconds: float) -> str:
    if not milliseconds:
        return "0"
    return f"{milliseconds / 1000:.1f} s" if milliseconds >= 1000 else f"{milliseconds:.0f} ms"


def _svg(
    name: str, width: int, height: int, words: str, body: SafeString | str, *, fit: SafeString = LEFT
) -> SafeString:
    return format_html(
        '<svg class="{}" viewBox="0 0 {} {}" {} role="img" aria-label="{}">{}</svg>',
        name,
        width,
        height,
        fit,
        words,
        body,
    )
