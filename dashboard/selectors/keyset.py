"""Pages of long lists: by cursor on the primary key, newest first, never by offset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, Q, QuerySet

PAGE_ROWS = 50
WALK_ROWS = 20_000  # that a filter without an index looks through at most (dashboard.md, "Traces at size")

Row = TypeVar("Row", bound=Model)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """Where a page begins: below `before`, or just above `after`; neither is the newest page."""

    before: int | None = None
    after: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    """One page, newest first. `older` and `newer` are cursors, None where the list ends.

    `searched_to`: the filter has no index and gave up at this key; searching goes on below it.
    """

    rows: Sequence[Row]
    older: int | None = None
    newer: int | None = None
    searched_to: int | None = None


def narrow(indexed: Sequence[Q], other: Sequence[Q] = ()) -> tuple[Q, Q | None]:
    """Return the first condition that an index serves, for `base`, and all others together, for `rest`."""
    left = [*indexed[1:], *other]
    return (indexed[0] if indexed else Q()), (Q(*left) if left else None)


def page(
    base: QuerySet[Row],
    *,
    cursor: Cursor,
    rest: Q | None = None,
    rows: int = PAGE_ROWS,
    walk: int | None = None,
) -> Page[Row]:
    """Return one page of `base`, which an index serves; `rest` is judged on at most `walk` rows."""
    if cursor.after is not None:
        return _newer(base, after=cursor.after, rest=rest, rows=rows)
    below = base if cursor.before is None else base.filter(pk__lt=cursor.before)
    floor = _floor(below, WALK_ROWS if walk is None else walk) if rest is not None else None
    found = below if rest is None else below.filter(rest)
    if floor is not None:
        found = found.filter(pk__gte=floor)
    got = list(found.order_by("-pk")[: rows + 1])
    more = len(got) > rows
    return Page(
        rows=got[:rows],
        older=got[rows - 1].pk if more else None,
        newer=_upper(cursor.before, got),
        searched_to=None if more else floor,
    )


def _newer(base: QuerySet[Row], *, after: int, rest: Q | None, rows: int) -> Page[Row]:
    above = base.filter(pk__gt=after)
    got = list((above if rest is None else above.filter(rest)).order_by("pk")[: rows + 1])
    more = len(got) > rows
    shown = got[:rows][::-1]
    return Page(rows=shown, older=shown[-1].pk if shown else None, newer=shown[0].pk if more else None)


def _floor(below: QuerySet[Row], walk: int) -> int | None:
    """Return the key where a walk of `walk` rows ends, by the index alone; None when the list ends before."""
    found: list[int] = list(below.order_by("-pk").values_list("pk", flat=True)[walk - 1 : walk + 1])
    return found[0] if len(found) > 1 else None


def _upper(before: int | None, got: list[Row]) -> int | None:
    if before is None:
        return None
    return got[0].pk if got else before - 1
