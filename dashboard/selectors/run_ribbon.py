"""Who owned which part of a run, and whether anything is missing: by the numbers that its owners told.

Every event of a run has the next number. So the events that are counted by kind add up to the last number, or
something is missing; and each claim stands behind the one before it, or two owned the run at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from dashboard.models import Run
from meshcore.run_events import ClaimReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The events from `first` to `last` that one claim stands for; `superseded`: a restart replaced them."""

    epoch: int
    node: str
    reason: str
    first: int
    last: int
    superseded: bool = False
    at: datetime | None = None

    @property
    def events(self) -> int:
        """How many there are."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was checked; `good` None: it couldn't be."""

    good: bool | None
    sentence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ribbon:
    """A run's stretches, oldest first, and what checking them found; `untold` older epochs are not known."""

    stretches: Sequence[Stretch]
    findings: Sequence[Finding]
    last_seq: int = 0
    untold: int = 0

    @property
    def whole(self) -> bool | None:
        """Whether nothing is missing; None: nobody can say."""
        verdicts = [finding.good for finding in self.findings]
        if False in verdicts:
            return False
        return None if None in verdicts else True


def ribbon(run: Run) -> Ribbon:
    """Return the ribbon of a run."""
    stretches = _stretches(run)
    return Ribbon(
        stretches=stretches,
        findings=(_numbers(run), *_owners(run, stretches)),
        last_seq=run.last_seq,
        untold=max(run.epoch - len(stretches), 0),
    )


def _stretches(run: Run) -> list[Stretch]:
    epochs: list[dict[str, Any]] = run.epochs
    firsts = [int(each.get("first_seq", 0)) for each in epochs]
    lasts = [*(first - 1 for first in firsts[1:]), run.last_seq][: len(firsts)]
    cleared = [_cleared_from(each) for each in epochs]
    return [
        Stretch(
            epoch=int(each.get("epoch", 0)),
            node=str(each.get("node", "")),
            reason=str(each.get("reason", "")),
            first=first,
            last=max(last, first),
            superseded=any(start <= first for start in cleared[index + 1 :] if start is not None),
            at=_moment(each.get("at")),
        )
        for index, (each, first, last) in enumerate(zip(epochs, firsts, lasts, strict=True))
    ]


def _cleared_from(epoch: dict[str, Any]) -> int | None:
    start = epoch.get("superseded_from")
    return int(start) if start is not None else None


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _numbers(run: Run) -> Finding:
    """Compare the last number with the events that were counted one by one."""
    if run.last_seq == 0:
        return Finding(good=None, sentence="Its node told no numbers, so nothing can be checked.")
    kinds = {
        "made": 1,
        "claim": run.epoch,
        "chunk": run.chunks,
        "release": run.releases,
        "cancel request": int(bool(run.cancelled_by)),
        "end": int(run.ended_at is not None),
    }
    counted = sum(kinds.values())
    parts = ", ".join(_counted(count, kind) for kind, count in kinds.items() if count and kind != "made")
    if counted == run.last_seq:
        said = f"No gap: events 1 to {run.last_seq} are all there: its making, {parts}."
        return Finding(good=True, sentence=said)
    off = run.last_seq - counted
    said = f"{abs(off)} {'missing' if off > 0 else 'too many'}: the log ends at event {run.last_seq}, and its"
    return Finding(good=False, sentence=f"{said} making, {parts} are {counted}.")


def _counted(count: int, kind: str) -> str:
    return f"{count} {kind}{'' if count == 1 else 's'}"


def _owners(run: Run, stretches: Sequence[Stretch]) -> list[Finding]:
    """Look at whether each owner began behind the one before it."""
    if not stretches:
        claimed = "Nobody told who owned it." if run.epoch else "Nobody has claimed it."
        return [Finding(good=None if run.epoch else True, sentence=claimed)]
    broken = [
        (before, after)
        for before, after in pairwise(stretches)
        if after.epoch != before.epoch + 1 or after.first <= before.first
    ]
    if broken:
        before, after = broken[0]
        said = (
            f"Epoch {after.epoch} of {after.node} begins at event {after.first}, "
            f"and epoch {before.epoch} of {before.node} at {before.first}."
        )
        return [Finding(good=False, sentence=said)]
    if len(stretches) == 1 and run.epoch == 1:
        return [Finding(good=True, sentence=f"One owner: {stretches[0].node}.")]
    restarts = sum(each.reason == ClaimReason.RESTARTED for each in stretches)
    again = f"; begun anew {restarts} ×" if restarts else "; every one went on behind the text so far"
    said = f"One owner at a time: each of {run.epoch} epochs begins behind the one before it{again}."
    return [Finding(good=True, sentence=said)]
