"""Is the audit trail what was written? Names the first entry that isn't.

What can't be seen from inside: the newest entries cut off by somebody who also wrote the control head back,
or the whole trail written anew. Only a head that was exported earlier shows that.
"""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial

from django.db import connection

from dashboard.services import audit_chain, audit_rows, audit_triggers
from dashboard.services.audit_chain import Head
from dashboard.services.audit_rows import Ends, Row
from dashboard.services.audit_walk import Fault, Finding, Walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What verification found; `n` is the first entry at fault, None when it is about none in particular.

    `start` is the last entry that a rotation took away, `entries` are those between it and `head`.
    """

    entries: int
    head: Head
    start: Head = audit_chain.BEGINNING
    fault: Fault | None = None
    n: int | None = None
    detail: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return self.fault is None


class TrailTooLong(Exception):
    """There are more entries than whoever asks can wait for."""

    def __init__(self, entries: int, at_most: int) -> None:
        super().__init__(
            f"There are {entries} entries; at most {at_most} are verified here: run manage.py verify_audit."
        )
        self.entries = entries


def verify(*, exported: Head | None = None, at_most: int | None = None) -> Verdict:
    """Walk the whole chain and compare it with the control head and, where given, with an exported head.

    Takes about 0.1 ms an entry; raises TrailTooLong, and looks at none, where there are more than `at_most`.
    Entries may be written meanwhile: those behind the head that was read first are left to the next
    verification. An exported head below the start can't be compared here: it is in an archive.
    """
    ends = audit_rows.ends(connection)
    if ends is None:
        said = "the control head is not what was written"
        return judged(finding=Finding(Fault.CHANGED, None, said))
    if at_most is not None and ends.head.n - ends.start.n > at_most:
        raise TrailTooLong(ends.head.n - ends.start.n, at_most)
    with closing(audit_rows.read(connection, up_to=ends.head.n)) as rows:
        finding = _walk(rows, ends, exported) or _beyond_the_head() or _without_triggers()
    return judged(start=ends.start, head=ends.head, finding=finding)


def judged(
    *,
    start: Head = audit_chain.BEGINNING,
    head: Head = audit_chain.BEGINNING,
    finding: Finding | None,
) -> Verdict:
    """Return the verdict on the entries behind `start` up to `head`."""
    verdict = Verdict(entries=head.n - start.n, head=head, start=start)
    if finding is None:
        return verdict
    return replace(verdict, fault=finding.fault, n=finding.n, detail=finding.detail)


def _walk(rows: Iterable[Row], ends: Ends, exported: Head | None) -> Finding | None:
    walk = Walk(ends.start, exported=exported)
    finding = walk.begin()
    for row in rows:
        finding = finding or walk.step(
            n=row.n,
            text=row.text("canonical"),
            hash=row.text("hash"),
            difference=partial(audit_rows.difference, row, connection=connection),
        )
        if finding is not None:
            return finding
    return finding or walk.end(ends.head)


def _beyond_the_head() -> Finding | None:
    newest = audit_rows.newest(connection)
    # Read after the entries: the head only grows, so an honest entry is never above a later head.
    ends = audit_rows.ends(connection)
    head_n = ends.head.n if ends else 0
    if newest is None or (isinstance(newest, int) and newest <= head_n):
        return None
    return Finding(
        Fault.INSERTED, head_n + 1, f"the control head ends at {head_n}, the entries at {newest!r}"
    )


def _without_triggers() -> Finding | None:
    missing = audit_triggers.missing(connection)
    if not missing:
        return None
    return Finding(Fault.UNGUARDED, None, f"triggers missing or changed: {', '.join(missing)}")
