"""States as pills: icon, word and colour together, never colour alone."""

from datetime import datetime
from typing import NamedTuple

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from dashboard.templatetags.icons import icon
from dashboard.templatetags.times import until
from meshcore.breaker import BreakerState

register = template.Library()


class Look(NamedTuple):
    """Class and icon of a pill."""

    tone: str
    icon: str


UNKNOWN = Look("none", "circle-question-mark")
NODE_LOOKS = {  # by the words of selectors.presence.Composite
    "unreachable": Look("bad", "unplug"),
    "degraded": Look("bad", "triangle-alert"),
    "stopping": Look("warn", "power"),
    "stopped": Look("none", "power-off"),
    "draining": Look("calm", "droplet"),
    "drained": Look("calm", "droplets"),
    "joining": Look("none", "log-in"),
    "idle": Look("none", "moon"),
    "running": Look("ok", "check"),
    "never seen": Look("none", "circle-dashed"),
}
STANDING_LOOKS = {  # by the words of selectors.drain_list.Standing
    "pending": Look("none", "clock"),
    "not acknowledged": Look("warn", "circle-alert"),
    "unreachable": Look("bad", "unplug"),
    "acknowledged": Look("none", "check"),
    "draining": Look("calm", "droplet"),
    "drained": Look("calm", "droplets"),
    "safe to stop": Look("calm", "shield-check"),
    "cancelled": Look("none", "undo-2"),
    "expired": Look("none", "timer-off"),
    "ended by restart": Look("none", "rotate-ccw"),
}
BREAKER_LOOKS = {
    BreakerState.CLOSED: Look("ok", "check"),
    BreakerState.SUSPECT: Look("warn", "circle-alert"),
    BreakerState.OPEN: Look("bad", "triangle-alert"),
    BreakerState.HALF_OPEN: Look("warn", "timer"),
    BreakerState.FORCED_OPEN: Look("calm", "ban"),  # as a drain: somebody wants it so
    BreakerState.FORCED_CLOSED: Look("calm", "lock"),
}
LASTING = frozenset({BreakerState.OPEN, BreakerState.FORCED_OPEN, BreakerState.FORCED_CLOSED})
OUTCOME_LOOKS = {
    "ok": Look("ok", "check"),
    "done": Look("ok", "check"),
    "error": Look("bad", "x"),
    "failed": Look("bad", "x"),
    "refused": Look("warn", "ban"),
    "active": Look("calm", "droplet"),
    "cancelled": Look("none", "undo-2"),
    "expired": Look("none", "timer-off"),
    "ended_by_restart": Look("none", "rotate-ccw"),
}


@register.simple_tag
def state_pill(state: str) -> SafeString:
    """Return the pill of a node's composite state."""
    return _pill(NODE_LOOKS.get(state, UNKNOWN), state)


@register.simple_tag
def standing_pill(standing: str) -> SafeString:
    """Return the pill of how a drain stands."""
    return _pill(STANDING_LOOKS.get(standing, UNKNOWN), standing)


@register.simple_tag
def breaker_pill(
    state: str,
    strikes: int = 0,
    threshold: int = 0,
    open_until: datetime | None = None,
    now: datetime | None = None,
) -> SafeString:
    """Return the pill of a breaker: a suspect one with its strikes, one that lasts with the time left."""
    look = BREAKER_LOOKS.get(BreakerState(state), UNKNOWN)
    word = words(BreakerState(state).value)
    if state == BreakerState.SUSPECT and threshold:
        return _pill(look, f"{strikes} of {threshold} strikes")
    if state in LASTING and open_until is not None and now is not None and open_until > now:
        return _pill(look, format_html("{} {}", word, until(open_until, now)))
    return _pill(look, word)


@register.simple_tag
def was_pill(state: str, said: object = "") -> SafeString:
    """Return the pill of what nobody has heard of lately: never the colour of its last state.

    `said` stands before the words, as a count does.
    """
    return _pill(Look("none", "history"), f"{said} was {words(state)}".strip())


@register.simple_tag
def cooling_pill(until_at: datetime, now: datetime) -> SafeString:
    """Return the pill of a breaker that keeps calls away after a rate limit."""
    return _pill(Look("warn", "snowflake"), format_html("cooling {}", until(until_at, now)))


@register.filter
def words(value: str) -> str:
    """Return a stored word as people write it: "gate_closed" is "gate closed"."""
    return value.replace("_", " ")


@register.simple_tag
def outcome_pill(outcome: str, said: str = "") -> SafeString:
    """Return the pill of how something ended; `said` instead of the outcome's own name."""
    return _pill(OUTCOME_LOOKS.get(outcome, UNKNOWN), said or words(outcome))


@register.simple_tag
def note_pill(tone: str, icon_name: str, said: str) -> SafeString:
    """Return a pill for a remark."""
    return _pill(Look(tone, icon_name), said)


def _pill(look: Look, said: str) -> SafeString:
    return format_html('<span class="pill {}">{}{}</span>', look.tone, icon(look.icon), said)
