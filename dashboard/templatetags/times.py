"""Times and numbers as people read them.

The page's moment comes in as `now`: whoever renders reads the clock once. live.js goes on counting from the
`data-heard` and `data-until` that are written here.
"""

from datetime import UTC, datetime

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString

register = template.Library()

THIN = "\u202f"  # between thousands: narrow, and no line breaks there
NOTHING = "–"
MINUS = "\u2212"
MINUTE, HOUR, DAY = 60, 3600, 86_400


@register.filter
def span(seconds: float | None) -> str:
    """Return a duration in one unit, rounded down: "41 s", "2 min", "3 h", "5 d"."""
    if seconds is None:
        return NOTHING
    for size, unit in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min")):
        if seconds >= size * (2 if size == MINUTE else 1):
            return f"{int(seconds // size)} {unit}"
    return f"{int(max(seconds, 0))} s"


@register.filter
def exact(seconds: float | None) -> str:
    """Return seconds with hundredths, from a minute on as `span`; less than none where clocks differ."""
    if seconds is None:
        return NOTHING
    if seconds >= MINUTE:
        return span(seconds)
    return f"{seconds:.2f} s".replace("-", MINUS)


@register.simple_tag
def heard(moment: datetime | None, now: datetime) -> SafeString:
    """Return the age of a node's last word, which goes on growing on an open page."""
    if moment is None:
        return format_html("<span>{}</span>", NOTHING)
    return format_html(
        '<time data-heard="{}" datetime="{}">{}</time>',
        moment.isoformat(),
        moment.isoformat(),
        span((now - moment).total_seconds()),
    )


@register.simple_tag
def since(moment: datetime, now: datetime) -> SafeString:
    """Return how long something has gone on, which goes on growing on an open page."""
    return format_html(
        '<time data-since="{}" datetime="{}">{}</time>',
        moment.isoformat(),
        moment.isoformat(),
        span((now - moment).total_seconds()),
    )


@register.simple_tag
def until(moment: datetime, now: datetime) -> SafeString:
    """Return the time left until a moment, which goes on shrinking on an open page."""
    left = (moment - now).total_seconds()
    return format_html(
        '<time data-until="{}" datetime="{}">{}</time>', moment.isoformat(), moment.isoformat(), span(left)
    )


@register.simple_tag
def ago(moment: datetime | None, now: datetime) -> SafeString:
    """Return how long ago a moment was, with the moment itself on hover."""
    if moment is None:
        return format_html("<span>{}</span>", NOTHING)
    words = f"{span((now - moment).total_seconds())} ago"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), _stamp(moment), words)


@register.simple_tag
def clock(moment: datetime | None, now: datetime) -> SafeString:
    """Return the time of day in UTC; with the date when it was another day."""
    if moment is None:
        return format_html("<span>{}</span>", NOTHING)
    utc = moment.astimezone(UTC)
    words = utc.strftime("%H:%M:%S" if utc.date() == now.astimezone(UTC).date() else "%d %b %H:%M:%S")
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), _stamp(moment), words)


@register.filter
def ms(milliseconds: float | None) -> str:
    """Return milliseconds in whole numbers from 10 ms on; "–" for None."""
    if milliseconds is None:
        return NOTHING
    return f"{milliseconds:.1f}" if 0 < milliseconds < 9.95 else number(round(milliseconds))


@register.filter
def plain(value: float | str | None) -> str:
    """Return a number as a form's field holds it, "" for none; a text that is no number stays as it is."""
    return "" if value is None else f"{value:.15g}" if isinstance(value, float) else str(value)


@register.filter
def number(value: int | None) -> str:
    """Return a whole number with thin spaces between thousands; "–" for None."""
    return NOTHING if value is None else f"{value:,}".replace(",", THIN)


@register.filter
def rate(per_second: float | None) -> str:
    """Return a rate with one digit behind the point, from 100 on with none."""
    if per_second is None:
        return NOTHING
    return f"{per_second:.1f}" if per_second < 99.95 else number(round(per_second))


@register.filter
def percent(value: float | None) -> str:
    """Return a percentage with its sign; what is not zero is never shown as zero."""
    if value is None:
        return NOTHING
    return "< 0.1 %" if 0 < value < 0.1 else f"{value:.1f} %"


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
