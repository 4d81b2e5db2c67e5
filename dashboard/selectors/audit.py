"""The audit as a list: who did what, why, from where, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Max, Min, Q

from dashboard.models import AuditEntry, ControlHead
from dashboard.selectors import audit_diff, keyset
from dashboard.selectors.audit_diff import Line


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What the list is narrowed to; empty means anything, and a target without a kind is a node.

    From `since`, itself included, up to `until`, itself not; `text` stands somewhere in the reason, in upper
    or lower case.
    """

    actor: str = ""
    action: str = ""
    target: str = ""
    outcome: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    def split(self) -> tuple[Q, Q | None]:
        """Return the condition that an index serves, and what is left to judge row by row, without the time.

        The one that is likely to fit the fewest goes first.
        """
        indexed = [self._target(), self._is("actor_name", self.actor), self._is("action", self.action)]
        indexed.append(self._is("outcome", self.outcome))
        other = [Q(reason__icontains=self.text)] if self.text else []
        return keyset.narrow([condition for condition in indexed if condition], other)

    def condition(self) -> Q:
        """Return all of it as one condition."""
        served, rest = self.split()
        return served & self.time() & (rest or Q())

    def told(self) -> dict[str, Any]:
        """Return what is asked for, as plain JSON; {} for anything."""
        return {
            field.name: value.isoformat() if isinstance(value, datetime) else value
            for field in fields(self)
            if (value := getattr(self, field.name))
        }

    def time(self) -> Q:
        """Return the condition on the time; an empty one for any."""
        since = Q(at__gte=self.since) if self.since else Q()
        return since & Q(at__lt=self.until) if self.until else since

    def _target(self) -> Q:
        kind = "" if ":" in self.target or not self.target else "node:"
        return self._is("target", kind + self.target)

    def _is(self, column: str, value: str) -> Q:
        return Q(**{column: value}) if value else Q()


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An entry with what it changed, and the effects that name it as their cause."""

    entry: AuditEntry
    lines: tuple[Line, ...]
    effects: tuple[AuditEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """One page of the audit, newest first."""

    told: Sequence[Told]
    page: keyset.Page[AuditEntry]

    @property
    def span(self) -> tuple[int, int] | None:
        """The numbers of the first and the last entry shown, the lower one first; None: none is."""
        rows = self.page.rows
        return (rows[-1].n, rows[0].n) if rows else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Where the chain stands; `joined` when the newest entry is the one that the head names.

    Entries up to `start` went into files with rotations.
    """

    start: int
    newest: int
    head: str
    joined: bool

    @property
    def length(self) -> int:
        """How many entries there are."""
        return self.newest - self.start


def page(*, wanted: AuditFilter, cursor: keyset.Cursor, rows: int = keyset.PAGE_ROWS) -> AuditPage:
    """Return one page of entries with their effects; at most four queries, and one more for a time."""
    served, rest = wanted.split()
    base = AuditEntry.objects.filter(served & _numbers(wanted.time()))
    found = keyset.page(base, cursor=cursor, rest=rest, rows=rows)
    effects: dict[int, list[AuditEntry]] = {}
    numbers = [entry.n for entry in found.rows]
    for effect in AuditEntry.objects.filter(cause_n__in=numbers).order_by("n") if numbers else ():
        effects.setdefault(effect.cause_n or 0, []).append(effect)
    return AuditPage(told=[_told(entry, effects.get(entry.n, ())) for entry in found.rows], page=found)


def chain() -> Chain:
    """Return where the chain stands by comparing its two ends; verify_audit reads all of it. Two queries."""
    head = ControlHead.objects.first() or ControlHead()
    newest = AuditEntry.objects.order_by("-n").first()
    end = (newest.n, newest.hash) if newest else (head.start_n, head.start_hash)
    return Chain(
        start=head.start_n,
        newest=head.audit_n,
        head=head.audit_hash,
        joined=end == (head.audit_n, head.audit_hash),
    )


def _numbers(time: Q) -> Q:
    """Return the condition on the time, with the numbers that it spans: those an index has in order.

    Numbers rise with time but for what waited for the lock, and for clocks that were set back: so the
    condition itself stays.
    """
    if not time:
        return Q()
    span = AuditEntry.objects.filter(time).aggregate(first=Min("n"), last=Max("n"))
    return time & Q(n__gte=span["first"] or 0, n__lte=span["last"] or 0)


def _told(entry: AuditEntry, effects: Sequence[AuditEntry]) -> Told:
    return Told(entry=entry, lines=audit_diff.lines(entry.before, entry.after), effects=tuple(effects))
