"""Runs as people read them: the ribbon of their owners, and words for how they stand.

├── node-a ──────┤ continued ├── node-b ─────────────┤
1                31          31                      58
"""

from typing import Any

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe

from dashboard.templatetags.pills import Look, note_pill, words
from dashboard.templatetags.times import number
from meshcore.run_events import ClaimReason, EndReason, RunStatus
from meshcore.run_request import LOG_CHARACTERS

register = template.Library()

LOOKS = {
    RunStatus.QUEUED: Look("none", "clock"),
    RunStatus.RUNNING: Look("ok", "play"),
    RunStatus.WAITING: Look("warn", "hourglass"),
    RunStatus.CANCELLING: Look("warn", "ban"),
    RunStatus.COMPLETED: Look("none", "check"),
    RunStatus.FAILED: Look("bad", "x"),
    RunStatus.CANCELLED: Look("none", "ban"),
}
UNKNOWN = Look("none", "circle-question-mark")
BEGINNINGS = {
    ClaimReason.STARTED: "started it",
    ClaimReason.CONTINUED: "went on behind the text so far",
    ClaimReason.RESTARTED: "began it anew",
}
REASONS = {
    EndReason.OWNER_LOST: "too many of its owners died",
    EndReason.STALLED: "nothing came for 10 minutes",
    EndReason.BUFFER_FULL: "its answer was too long",
    EndReason.LENGTH: "at the length asked for",
}
SAYS_NOTHING = frozenset({"", EndReason.STOP.value, EndReason.CANCEL_REQUESTED.value})
TONES = 4  # of owners, in the order in which they come; after that they begin again
WIDTH, BAR, MARKS, TICKS = 760, 22, 22, 20  # the marks stand above the bar, the ticks below it
LETTER = 7  # about as wide as a character of a label
LEAST = 3  # so that one event among thousands is seen
LOG_SHOWN = len("run_") + LOG_CHARACTERS + len("_")
LAST_SHOWN = 8  # 32 random bits: among 1000 runs two look alike once in 8600 times


@register.simple_tag
def run_pill(status: str, said: object = "") -> SafeString:
    """Return the pill of how a run stands; `said` stands before the word, as a count does."""
    look = LOOKS[RunStatus(status)] if status in set(RunStatus) else UNKNOWN
    return note_pill(look.tone, look.icon, f"{said} {words(status)}".strip())


@register.simple_tag
def finding_pill(good: bool | None) -> SafeString:
    """Return the pill of what was checked."""
    if good is None:
        return note_pill("none", "circle-question-mark", "not known")
    return note_pill("ok", "check", "checked") if good else note_pill("bad", "triangle-alert", "wrong")


@register.filter
def telling_reason(row: Any) -> str:
    """Return why a run ended, when its status doesn't say it all."""
    reason = str(row.run.reason)
    if reason in SAYS_NOTHING:
        return ""
    return REASONS[EndReason(reason)] if reason in set(REASONS) else words(reason)


@register.filter
def beginning(reason: str) -> str:
    """Return how an epoch began; a reason that only a newer node knows as it came."""
    return BEGINNINGS[ClaimReason(reason)] if reason in set(ClaimReason) else words(reason)


@register.filter
def short(run_id: str) -> str:
    """Return enough of a run's id to tell it from others: its log, and its last digits.

    The digits between them begin with the time, so those of runs of one minute look alike.
    """
    if len(run_id) <= LOG_SHOWN + LAST_SHOWN:
        return run_id
    return f"{run_id[:LOG_SHOWN]}…{run_id[-LAST_SHOWN:]}"


@register.filter
def used(usage: dict[str, Any]) -> str:
    """Return what a provider says that a run used: its plain numbers, each by its name."""
    counts = {name: value for name, value in usage.items() if type(value) is int}
    return ", ".join(f"{number(value)} {words(name)}" for name, value in counts.items()) or "–"


@register.filter
def untold(tally: Any) -> str:
    """Return how many runs nodes have beyond those that they had room to tell of."""
    return f"{number(tally.untold)} more that their nodes have no room to tell of"


@register.simple_tag
def owner_ribbon(ribbon: Any) -> SafeString:
    """Return which node owned which part of a run, on the numbers of its events.

    `ribbon` is a selectors.run_ribbon.Ribbon; a table beside it says the same in text.
    """
    tones = {name: f"n{index % TONES}" for index, name in enumerate(dict.fromkeys(_nodes(ribbon)))}
    top = MARKS if len(ribbon.stretches) > 1 else 0
    height = top + BAR + TICKS
    parts = [_stretch(each, tones[each.node], ribbon.last_seq, top) for each in ribbon.stretches]
    splices = [_splice(each, ribbon.last_seq) for each in ribbon.stretches[1:]]
    ends = _ends(ribbon.last_seq, height - 4)
    body = format_html_join("", "{}", [(part,) for part in (*parts, *splices, *ends)])
    said = "; ".join(
        f"{each.node} owned events {each.first} to {each.last}{', replaced later' * each.superseded}"
        for each in ribbon.stretches
    )
    svg = '<svg class="ribbon" viewBox="0 0 {} {}" {} role="img" aria-label="Who owned what: {}">{}</svg>'
    return format_html(svg, WIDTH, height, mark_safe('preserveAspectRatio="xMinYMid"'), said, body)


def _nodes(ribbon: Any) -> list[str]:
    return [each.node for each in ribbon.stretches]


def _x(seq: int, last_seq: int) -> float:
    """Return where an event begins."""
    return WIDTH * (seq - 1) / max(last_seq, 1)


def _stretch(each: Any, tone: str, last_seq: int, top: int) -> SafeString:
    left = _x(each.first, last_seq)
    width = max(_x(each.last + 1, last_seq) - left - 1, LEAST)
    label = f"{each.node}, replaced" if each.superseded else each.node
    fits = len(label) * LETTER + 12 <= width
    text = (
        format_html('<text x="{}" y="{}">{}</text>', f"{left + 8:.1f}", top + BAR - 7, label) if fits else ""
    )
    return format_html(
        '<g class="{}{}"><rect x="{}" y="{}" width="{}" height="{}" rx="3"/>{}</g>',
        tone,
        " gone" if each.superseded else "",
        f"{left:.1f}",
        top,
        f"{width:.1f}",
        BAR,
        text,
    )


def _splice(each: Any, last_seq: int) -> SafeString:
    """Return the mark where the next owner took over, with how."""
    at = _x(each.first, last_seq)
    right = at > WIDTH / 2
    return format_html(
        '<line class="splice" x1="{0}" y1="4" x2="{0}" y2="{1}"/>'
        '<text class="turn {2}" x="{3}" y="14">{4} at {5}</text>',
        f"{at:.1f}",
        MARKS + BAR + 4,
        "before" if right else "behind",
        f"{at - 6 if right else at + 6:.1f}",
        words(each.reason),
        number(each.first),
    )


def _ends(last_seq: int, y: int) -> list[SafeString]:
    tick = '<text class="tick {}" x="{}" y="{}">{}</text>'
    return [
        format_html(tick, "behind", 0, y, "event 1"),
        format_html(tick, "before", WIDTH, y, number(last_seq)),
    ]
