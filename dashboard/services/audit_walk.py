"""The walk along the audit chain, entry by entry; pure, so the same judges the database and an export.

    Walk(start) -> step(entry) … -> end(head)        each returns the first thing that is wrong, or None

After a finding the walk is over: what lies behind a broken link can't be told apart.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dashboard.models import Action
from dashboard.services import audit_chain
from dashboard.services.audit_chain import Head, Reading


class Fault(enum.StrEnum):
    """What was done to the trail."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    UNGUARDED = "unguarded"  # the database no longer refuses to change entries


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong; `n` None: it is about no entry in particular."""

    fault: Fault
    n: int | None
    detail: str


Difference = Callable[[dict[str, Any]], str]
"""Given what an entry's text tells, returns the first column that is stored otherwise, or ""."""


class Walk:
    """See the module; `exported` is a head that was kept elsewhere."""

    def __init__(self, start: Head, *, exported: Head | None = None) -> None:
        self._start = start
        self._exported = exported
        self._n = start.n
        self._hash = start.hash

    @property
    def head(self) -> Head:
        """The entry that the walk has come to."""
        return Head(n=self._n, hash=self._hash)

    def begin(self) -> Finding | None:
        """Judge where the walk starts."""
        return self._unlike_the_exported()

    def step(self, *, n: int | None, text: str, hash: str, difference: Difference) -> Finding | None:
        """Judge the next entry."""
        due = self._n + 1
        said = audit_chain.read(text)
        finding = _out_of_place(n, due, said) or _changed(due, said, difference)
        finding = finding or self._unlinked(text, hash, said)
        if finding is not None:
            return finding
        self._n, self._hash = due, hash
        return self._unlike_the_exported()

    def end(self, head: Head) -> Finding | None:
        """Judge the end; `head` says where it should be."""
        if self._n < head.n:
            gone = f"entries {self._n + 1} to {head.n} are gone" if head.n > self._n + 1 else "it is gone"
            return Finding(Fault.REMOVED, self._n + 1, gone)
        if self._hash != head.hash:
            return Finding(Fault.CHANGED, self._n, "its hash is not the one in the control head")
        if self._exported is not None and self._exported.n > self._n:
            said = f"the exported head is {self._exported.n}, the newest entry {self._n}"
            return Finding(Fault.REMOVED, self._n + 1, said)
        return None

    def _unlinked(self, text: str, hash: str, said: Reading) -> Finding | None:
        due = self._n + 1
        if self._n == self._start.n > 0 and not _took_away(said, self._start):
            return Finding(Fault.REMOVED, self._n, f"no rotation took away the entries up to {self._n}")
        if hash != audit_chain.link(self._hash, text):
            return Finding(Fault.CHANGED, due, f"its hash does not follow from its text and entry {self._n}")
        return None

    def _unlike_the_exported(self) -> Finding | None:
        if self._exported is None or self._exported.n != self._n or self._exported.hash == self._hash:
            return None
        return Finding(Fault.CHANGED, self._n, "its hash is not the exported one")


def rotation(start: Head) -> dict[str, Any]:
    """Return what the first entry behind a rotation tells of the last one that was taken away."""
    return {"n": start.n, "hash": start.hash}


def _took_away(said: Reading, start: Head) -> bool:
    facts = said.facts or {}
    after = facts.get("after")
    told = after.get("head") if isinstance(after, dict) else None
    return facts.get("action") == Action.AUDIT_ROTATE.value and told == rotation(start)


def _out_of_place(n: int | None, due: int, said: Reading) -> Finding | None:
    if n is None:
        return Finding(Fault.CHANGED, due, "its number is none")
    if n > due:
        return Finding(Fault.REMOVED, due, "it is gone")
    if n < due:
        return Finding(Fault.INSERTED, n, f"the trail begins with entry {due}")
    if said.n is None or said.n == due:
        return None
    fault = Fault.REORDERED if said.n > due else Fault.INSERTED
    return Finding(fault, due, f"it was written as entry {said.n}")


def _changed(due: int, said: Reading, difference: Difference) -> Finding | None:
    column = "canonical" if said.facts is None else difference(said.facts)
    return Finding(Fault.CHANGED, due, f"{column} is not what was written") if column else None
