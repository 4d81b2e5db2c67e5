"""Is the audit trail what was written? Names the first entry that isn't.

What can't be seen from inside: the newest entries cut off by somebody who also wrote the control head back.
Only a head that was exported earlier shows that.
"""

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection, models

from dashboard.models import AuditEntry, ControlHead
from dashboard.services import audit_chain, audit_triggers

CHUNK_ROWS = 2000  # entries in memory at a time, about 2 MB


class Fault(enum.StrEnum):
    """What was done to the trail."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    UNGUARDED = "unguarded"  # the database no longer refuses to change entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The newest entry at some moment: what an export keeps, to compare with later."""

    n: int
    hash: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What verification found; `n` is the first entry at fault, None when it is about none in particular."""

    entries: int
    head: Head
    fault: Fault | None = None
    n: int | None = None
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault is None


@dataclass(frozen=True, slots=True)
class _Finding:
    fault: Fault
    n: int | None
    detail: str


def verify(*, exported: Head | None = None) -> Verdict:
    """Walk the whole chain and compare it with the control head and, where given, with an exported head.

    Entries may be written meanwhile: those behind the head that was read first are left to the next
    verification.
    """
    stored = ControlHead.objects.first() or ControlHead()
    head = Head(n=stored.audit_n, hash=stored.audit_hash)
    entries = AuditEntry.objects.filter(n__lte=head.n).order_by("n").iterator(chunk_size=CHUNK_ROWS)
    finding = _walk(entries, head, exported) or _beyond_the_head() or _without_triggers()
    if finding is None:
        return Verdict(entries=head.n, head=head)
    return Verdict(entries=head.n, head=head, fault=finding.fault, n=finding.n, detail=finding.detail)


def _walk(entries: Iterable[AuditEntry], head: Head, exported: Head | None) -> _Finding | None:
    n, previous = 0, audit_chain.GENESIS
    for entry in entries:
        n += 1
        finding = _step(n, previous, entry)
        if finding is not None:
            return finding
        previous = entry.hash
        if exported is not None and exported.n == n and exported.hash != previous:
            return _Finding(Fault.CHANGED, n, "its hash is not the exported one")
    if n < head.n:
        return _Finding(Fault.REMOVED, n + 1, f"entries {n + 1} to {head.n} are gone")
    if previous != head.hash:
        return _Finding(Fault.CHANGED, n, "its hash is not the one in the control head")
    if exported is not None and exported.n > n:
        return _Finding(Fault.REMOVED, n + 1, f"the exported head is {exported.n}, the newest entry {n}")
    return None


def _step(n: int, previous: str, entry: AuditEntry) -> _Finding | None:
    if entry.n > n:
        return _Finding(Fault.REMOVED, n, f"entry {n} is gone")
    if entry.n < n:
        return _Finding(Fault.INSERTED, entry.n, "the trail begins with entry 1")
    claimed = audit_chain.number_in(entry.canonical)
    if claimed is not None and claimed != n:
        fault = Fault.REORDERED if claimed > n else Fault.INSERTED
        return _Finding(fault, n, f"it was written as entry {claimed}")
    column = audit_chain.difference(entry)
    if column:
        return _Finding(Fault.CHANGED, n, f"{column} is not what was written")
    if entry.hash != audit_chain.link(previous, entry.canonical):
        return _Finding(Fault.CHANGED, n, f"its hash does not follow from its text and entry {n - 1}")
    return None


def _beyond_the_head() -> _Finding | None:
    newest: int | None = AuditEntry.objects.aggregate(newest=models.Max("n"))["newest"]
    # Read after the entries: the head only grows, so an honest entry is never above a later head.
    head_n = ControlHead.objects.values_list("audit_n", flat=True).first() or 0
    if newest is None or newest <= head_n:
        return None
    return _Finding(Fault.INSERTED, head_n + 1, f"the control head ends at {head_n}, the entries at {newest}")


def _without_triggers() -> _Finding | None:
    missing = audit_triggers.missing(connection)
    if not missing:
        return None
    return _Finding(Fault.UNGUARDED, None, f"triggers missing or changed: {', '.join(missing)}")
