"""What came of a drain, in words."""

from datetime import datetime
from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.templatetags.pills import note_pill
from dashboard.templatetags.times import clock, span, until

register = template.Library()


@register.simple_tag
def came_of(row: Any, now: datetime) -> str | SafeString:
    """Return what came of a drain, a row of selectors.drain_list, or what comes next while it goes on."""
    return _next(row, now) if row.active else _end(row)


@register.simple_tag
def deadline(at: datetime | None, force: bool, exceeded: bool, now: datetime) -> str | SafeString:
    """Return when a drain that goes on has its deadline, and what happens then."""
    if at is None:
        return "none: it waits for as long as the work takes"
    if exceeded:
        pill = note_pill("warn", "timer-off", "deadline exceeded")
        return format_html("{} it was {}; work was left then", pill, clock(at, now))
    then = "what is left then is ended by force" if force else "then it is only said that work is left"
    if at <= now:
        return format_html("was {}", clock(at, now))
    return format_html("in {}, at {}; {}", until(at, now), clock(at, now), then)


@register.filter
def stands_against(blocker: Any) -> str:
    """Return what a guard has against a drain, as a sentence."""
    detail = str(blocker.detail)
    if blocker.kind != "too_many_draining" or not blocker.subject:
        return f"{detail}."
    return f"{detail}; {blocker.subject} drain{'' if ',' in blocker.subject else 's'} already."


def _next(row: Any, now: datetime) -> str | SafeString:
    if row.standing == "safe to stop":
        return f"safe to stop{_after(row.safe_seconds)}"
    if row.standing == "drained":
        return f"drained{_after(row.drained_seconds)}; calls it passes on are still open"
    if not row.known:
        return "the node has not told of it yet"
    deadline_at = row.drain.deadline_at
    if deadline_at is None:
        return "no deadline"
    what = "what is left is ended by force" if row.drain.force else "deadline"
    if deadline_at <= now:
        return f"{what}: now"
    return format_html("{} in {}", what, until(deadline_at, now))


def _end(row: Any) -> str:
    if row.safe_seconds is not None:
        return f"was safe to stop{_after(row.safe_seconds)}"
    if row.drained_seconds is not None:
        return f"was drained{_after(row.drained_seconds)}, never safe to stop"
    return f"ended with {row.left} in flight" if row.known else "the node never told of it"


def _after(seconds: float | None) -> str:
    return "" if seconds is None else f" after {span(seconds)}"
