"""The last 24 hours of a breaker as all nodes saw it, in quarters of an hour: of each the worst state.

A state lasts until the same node's next change. The last one lasts until that node's last word, but only
while the node still says that something is wrong: breakers begin anew with a restart, and no change tells.
"""

import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from meshcore.breaker import BreakerState

SLOT = timedelta(minutes=15)
SLOTS = 96
NAMES_MAX = 3  # nodes in the words; the rest is a number


class Level(enum.IntEnum):
    """How bad a quarter of an hour was; the worst counts."""

    UNKNOWN = 0
    CALM = 1
    DOUBT = 2
    DOWN = 3


LEVELS = {
    BreakerState.SUSPECT: Level.DOUBT,
    BreakerState.HALF_OPEN: Level.DOUBT,
    BreakerState.OPEN: Level.DOWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A breaker of one node changed; `count` times in quick succession."""

    node: str
    at: datetime
    from_state: BreakerState
    to_state: BreakerState
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a node said last of its breaker, since when that holds, and when it said so."""

    state: BreakerState
    since: datetime | None
    heard_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """The quarters of an hour, oldest first, and the same in words."""

    slots: tuple[Level, ...]
    words: str


def window(now: datetime) -> datetime:
    """Return when the strip that ends with the running quarter of an hour begins."""
    utc = now.astimezone(UTC)
    return utc.replace(minute=utc.minute // 15 * 15, second=0, microsecond=0) - (SLOTS - 1) * SLOT


def strip(
    changes: Iterable[Change],
    standing: Mapping[str, Standing],
    *,
    now: datetime,
    known_from: datetime | None = None,
) -> Strip:
    """Return the strip of one breaker's key; of what lies before `known_from` nothing was read."""
    start = window(now)
    begin = max(start, known_from or start)
    by_node: dict[str, list[Change]] = {}
    for change in sorted(changes, key=lambda each: each.at):
        if begin <= change.at <= now:
            by_node.setdefault(change.node, []).append(change)
    slots = [Level.CALM] * SLOTS
    for node in by_node.keys() | standing.keys():
        for since, until, level in _periods(by_node.get(node, ()), standing.get(node), begin):
            for at in range(_slot(since, start), _slot(until, start) + 1):
                slots[at] = max(slots[at], level)
    unread = (begin - start) // SLOT
    slots[:unread] = [Level.UNKNOWN] * unread
    return Strip(slots=tuple(slots), words=_words(by_node, slots))


def _slot(moment: datetime, start: datetime) -> int:
    return min(max((moment - start) // SLOT, 0), SLOTS - 1)


def _periods(
    changes: Sequence[Change], standing: Standing | None, begin: datetime
) -> Iterator[tuple[datetime, datetime, Level]]:
    """Yield from when to when a node's breaker was how bad."""
    if changes:
        yield begin, changes[0].at, _level(changes[0].from_state)
        for change, following in pairwise(changes):
            yield change.at, following.at, _level(change.to_state)
        yield changes[-1].at, changes[-1].at, _level(changes[-1].to_state)
    if standing is not None and _level(standing.state) > Level.CALM:
        since = changes[-1].at if changes else standing.since or standing.heard_at
        yield since, standing.heard_at, _level(standing.state)


def _level(state: BreakerState) -> Level:
    return LEVELS.get(state, Level.CALM)


def _words(by_node: Mapping[str, Sequence[Change]], slots: Sequence[Level]) -> str:
    opened = {
        node: [each for each in changes if each.to_state is BreakerState.OPEN]
        for node, changes in by_node.items()
    }
    times = {node: sum(each.count for each in found) for node, found in opened.items() if found}
    if times:
        last = max(each.at for found in opened.values() for each in found)
        return f"opened {_times(sum(times.values()))}, {_by(times)}, last at {last.astimezone(UTC):%H:%M}"
    if Level.DOWN in slots:
        return "open since before"
    return "in doubt at times, never open" if Level.DOUBT in slots else "no trouble"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _by(times: Mapping[str, int]) -> str:
    ranked = sorted(times, key=lambda node: (-times[node], node))
    shown = [f"{node} {times[node]} ×" for node in ranked[:NAMES_MAX]]
    rest = len(ranked) - NAMES_MAX
    return ", ".join([*shown, *([f"{rest} more nodes"] if rest > 0 else [])])
