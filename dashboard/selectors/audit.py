"""The audit as a list: who did what, why, from where, and what came of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Q

from dashboard.models import AuditEntry, ControlHead
from dashboard.selectors import keyset


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """What the list is narrowed to; empty means anything, and a target without a kind is a node."""

    actor: str = ""
    action: str = ""
    target: str = ""

    def split(self) -> tuple[Q, Q | None]:
        """Return the condition that an index serves, and what is left to judge row by row."""
        wanted = [
            (self.target, Q(target=self.target if ":" in self.target else f"node:{self.target}")),
            (self.actor, Q(actor_name=self.actor)),
            (self.action, Q(action=self.action)),
        ]
        return keyset.narrow([condition for value, condition in wanted if value])


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An entry with the effects that name it as their cause."""

    entry: AuditEntry
    effects: tuple[AuditEntry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """One page of the audit, newest first, and the chain's head."""

    told: Sequence[Told]
    page: keyset.Page[AuditEntry]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Where the chain stands; `joined` when the newest entry is the one that the head names."""

    length: int
    head: str
    joined: bool


def page(*, wanted: AuditFilter, cursor: keyset.Cursor) -> AuditPage:
    """Return one page of entries with their effects; at most three queries."""
    served, rest = wanted.split()
    found = keyset.page(AuditEntry.objects.filter(served), cursor=cursor, rest=rest)
    effects: dict[int, list[AuditEntry]] = {}
    numbers = [entry.n for entry in found.rows]
    for effect in AuditEntry.objects.filter(cause_n__in=numbers).order_by("n") if numbers else ():
        effects.setdefault(effect.cause_n or 0, []).append(effect)
    told = [Told(entry=entry, effects=tuple(effects.get(entry.n, ()))) for entry in found.rows]
    return AuditPage(told=told, page=found)


def chain() -> Chain:
    """Return where the chain stands by comparing its two ends; verify_audit reads all of it. Two queries."""
    head = ControlHead.objects.first() or ControlHead()
    newest = AuditEntry.objects.order_by("-n").first()
    end = (newest.n, newest.hash) if newest else (0, ControlHead().audit_hash)
    return Chain(length=head.audit_n, head=head.audit_hash, joined=end == (head.audit_n, head.audit_hash))
