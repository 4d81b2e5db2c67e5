"""Pages of long lists: by cursor on the primary key, newest first, never by offset."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from django.db.models import Model, Q, QuerySet

from meshcore.clock import Clock, monotonic

PAGE_ROWS = 50
# What a filter without an index looks through at most (dashboard.md, "Traces at size").
WALK_ROWS = 20_000
WALK_SECONDS = 0.08
FIRST_ROWS = 500  # enough to tell the speed, and often to fill a page
ROW_SECONDS_MIN = 1e-7  # a clock that stood still is no speed

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
    whole: QuerySet[Row] | None = None,
    walk: int | None = None,
    clock: Clock = monotonic,
) -> Page[Row]:
    """Return one page of `base`, which an index serves; `rest` is judged on at most `walk` rows or 80 ms.

    With `whole`, the same rows without a condition, the page's keys are chosen by the index alone: PostgreSQL
    would else go along the primary key for the newest of what is frequent, and through millions of rows when
    it is frequent no longer. One query, or three with `rest`.
    """
    upwards = cursor.after is not None
    if cursor.after is not None:
        base = base.filter(pk__gt=cursor.after)
    elif cursor.before is not None:
        base = base.filter(pk__lt=cursor.before)
    ordered = base.order_by("pk" if upwards else "-pk")
    if rest is None:
        got, reached = _served(ordered, whole, rows + 1), None
    else:
        got, reached = _walked(ordered, rest, rows + 1, WALK_ROWS if walk is None else walk, clock)
    return _upper_page(cursor.after, got, rows, reached) if upwards else _page(cursor, got, rows, reached)


def _page(cursor: Cursor, got: Sequence[Row], rows: int, reached: int | None) -> Page[Row]:
    more = len(got) > rows
    return Page(
        rows=got[:rows],
        older=got[rows - 1].pk if more else None,
        newer=_upper(cursor.before, got),
        searched_to=None if more else reached,
    )


def _upper_page(after: int | None, got: Sequence[Row], rows: int, reached: int | None) -> Page[Row]:
    """Return a page that was read upwards; where the search gave up, `newer` goes on."""
    more = len(got) > rows
    shown = got[:rows][::-1]
    older = shown[-1].pk if shown else (after or 0) + 1
    return Page(rows=shown, older=older, newer=shown[0].pk if more else reached)


def _served(ordered: QuerySet[Row], whole: QuerySet[Row] | None, rows: int) -> list[Row]:
    if whole is None:
        return list(ordered[:rows])
    keys = ordered.values("pk")[:rows]
    return list(whole.filter(pk__in=keys).order_by(*ordered.query.order_by))


def _walked(
    ordered: QuerySet[Row], rest: Q, rows: int, walk: int, clock: Clock
) -> tuple[list[Row], int | None]:
    """Return the first `rows` that fit, and the last key that was looked at; None at the list's end.

    The keys come from an index, at once. The rows follow in two pieces, so that the first tells how long the
    second may be; neither has an order or a limit, so an engine has no reason to go another way.
    """
    keys: list[int] = list(ordered.values_list("pk", flat=True)[: walk + 1])
    more = len(keys) > walk
    keys = keys[:walk]
    upwards = bool(keys) and keys[-1] > keys[0]
    began = clock()
    got = _fitting(ordered, rest, keys[:FIRST_ROWS], upwards)
    seen = min(len(keys), FIRST_ROWS)
    if len(got) < rows and len(keys) > seen:
        row_seconds = max((clock() - began) / seen, ROW_SECONDS_MIN)
        much = max(int((WALK_SECONDS - (clock() - began)) / row_seconds), FIRST_ROWS)
        got += _fitting(ordered, rest, keys[seen : seen + much], upwards)
        seen = min(len(keys), seen + much)
    at_end = seen == len(keys) and not more
    return got[:rows], None if at_end else keys[seen - 1]


def _fitting(ordered: QuerySet[Row], rest: Q, keys: Sequence[int], upwards: bool) -> list[Row]:
    if not keys:
        return []
    span = ordered.filter(pk__gte=min(keys[0], keys[-1]), pk__lte=max(keys[0], keys[-1]))
    return sorted(span.filter(rest).order_by(), key=lambda row: int(row.pk), reverse=not upwards)


def _upper(before: int | None, got: Sequence[Row]) -> int | None:
    if before is None:
        return None
    return got[0].pk if got else before - 1
