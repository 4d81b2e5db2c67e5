"""Runs: their present by `health` of their owners, their history by `run_end` (link-and-telemetry, "Rules").

    (none) ──health──▶ live ──health of the owner, or a later epoch──▶ live
       │                 └──its owner tells of it no more──▶ waiting ──health of the next owner──▶ live
       └──run_end──▶ ended, told ◀──run_end── live, or ended by the word of health

The later epoch wins, whoever tells first; an ended run never lives again; `run_end` counts once. That is held
by the statements that write, too: two nodes may tell of a new run in two transactions. Rows are locked in
order of run id and written in that of their making, so that no two of those wait for each other.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Any

from django.db.models import QuerySet

from dashboard.models import Node, Run
from dashboard.services import bulk_insert, columns
from dashboard.services.columns import Unfit
from meshcore.frames import RunEndItem
from meshcore.run_events import TERMINAL, RunStatus
from meshcore.run_reports import EPOCHS_MAX, RunFacts, RunReport

RUN_ID_MAX = 80
NAMED_MAX = (
    20  # runs whose own pages are told of a change at once; beyond that their cells tell, not their form
)
CUT = {"reason": 40, "capability": 100, "model": 200, "provider": 100, "caller": 100, "cancelled_by": 150}
OWNER_MAX = 63
FIELDS = (
    *("status", "reason", "owner", "epoch", "takeovers", "last_seq", "chunks", "capability", "model"),
    *("provider", "caller", "epochs", "releases", "cancelled_by", "created_at", "heard_at", "ended_at"),
)
NEWER = "dashboard_run.ended_at IS NULL AND dashboard_run.epoch <= excluded.epoch"
UNTOLD = "NOT dashboard_run.told"
_ENDED = frozenset(status.value for status in TERMINAL)
_LIVE = frozenset(status.value for status in RunStatus) - _ENDED
_STATUSES = _LIVE | _ENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """What an update changed: `any` run at all, and runs that began, ended or changed hands (`turned`)."""

    any: bool = False
    turned: tuple[str, ...] = ()

    def keys(self, node: str) -> list[str]:
        """Return the keys of the change feed for it."""
        return [*([f"runs:{node}"] if self.any else []), *keys_of(self.turned)]


def keys_of(run_ids: Sequence[str]) -> list[str]:
    """Return the keys of the change feed for runs that began, ended or changed hands."""
    return ["runs", *(f"run:{run_id}" for run_id in run_ids[:NAMED_MAX])] if run_ids else []


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a node says of its runs; with `full` it owns none that it doesn't name."""

    node: Node
    reports: Sequence[RunReport]
    full: bool
    now: datetime


def read(*, node: Node, reports: Sequence[RunReport], full: bool, now: datetime) -> Told:
    """Return what a node says, fit to be stored. Raises columns.Unfit.

    A status that only a newer node knows is passed over.
    """
    known = [each for each in reports if each.status in _STATUSES]
    for each in known:
        _check(each)
    return Told(node=node, reports=known, full=full, now=now)


def update(told: Sequence[Told]) -> list[Moved]:
    """Store what nodes, each once, say of their runs: three queries for any number of nodes that lose none.

    Those that say nothing of runs cost nothing.
    """
    full = [each.node.name for each in told if each.full]
    owned: dict[str, set[str]] = {name: set() for name in full}
    for owner, run_id in _owned_by(full).values_list("owner", "run_id") if full else ():
        owned[owner].add(run_id)
    stored = _stored({*chain(*owned.values()), *(run.run_id for each in told for run in each.reports)})
    found = [(each, _news(each, stored)) for each in told]
    _write([row for _, news in found for row, _ in news], where=NEWER)
    moved = []
    for each, news in found:
        missing = owned.get(each.node.name, set()) - {run.run_id for run in each.reports}
        lost = _lose(each.node, sorted(missing), now=each.now)
        turned = [row.run_id for row, turns in news if turns]
        moved.append(Moved(any=bool(news or lost), turned=(*turned, *lost)))
    return moved


def _news(told: Told, stored: dict[str, Run]) -> list[tuple[Run, bool]]:
    """Return the rows that are news, each with whether it turns; `stored` learns them."""
    news = []
    for each in told.reports:
        before = stored.get(each.run_id)
        if _counts(before, each, told.node):
            row = _row(before, each, owner=told.node.name, now=told.now)
            news.append((row, _turns(before, row)))
            stored[each.run_id] = row
    return news


def checked(item: RunEndItem) -> RunEndItem:
    """Return the end of a run if it can be stored; raises columns.Unfit."""
    if item.status not in _ENDED:
        raise Unfit(f"status={item.status[:40]!r}: expected {', '.join(sorted(_ENDED))}")
    _check(item)
    return item


def store_ends(items: Sequence[RunEndItem], *, now: datetime) -> None:
    """Store ends of runs in the caller's transaction, each once; two queries for any number of them.

    What an older node leaves out stays as it was known while the run lived.
    """
    if not items:
        return
    stored = _stored(item.run_id for item in items)
    rows = []
    for item in items:
        before = stored.get(item.run_id)
        owner = item.epochs[-1].node if item.epochs else before.owner if before else ""
        row = _row(before, item, owner=owner, now=now)
        row.usage, row.ended_at, row.told = item.usage, item.at, True
        rows.append(row)
    _write(rows, "usage", "told", where=UNTOLD)


def _stored(run_ids: Iterable[str]) -> dict[str, Run]:
    wanted = set(run_ids)
    rows = Run.objects.select_for_update().filter(run_id__in=wanted).order_by("run_id")
    return {row.run_id: row for row in rows} if wanted else {}


def _counts(stored: Run | None, said: RunReport, node: Node) -> bool:
    """Return whether a node's word on a run is newer than what is stored."""
    if stored is None:
        return True
    mine = stored.owner in ("", node.name)
    return stored.ended_at is None and (said.epoch > stored.epoch or (mine and said.epoch == stored.epoch))


def _turns(stored: Run | None, row: Run) -> bool:
    return stored is None or (stored.status, stored.epoch) != (row.status, row.epoch)


def _row(stored: Run | None, said: RunFacts, *, owner: str, now: datetime) -> Run:
    _check(said)
    known = stored or Run(created_at=None, epochs=[])
    texts = {name: getattr(said, name)[:most] or getattr(known, name) for name, most in CUT.items()}
    return Run(
        run_id=said.run_id,
        status=said.status,
        owner=owner[:OWNER_MAX],
        epoch=max(said.epoch, known.epoch),
        takeovers=max(said.takeovers, known.takeovers),
        last_seq=max(said.last_seq, known.last_seq),
        chunks=max(said.chunks, known.chunks),
        releases=max(said.releases, known.releases),
        epochs=_epochs(known.epochs, said),
        created_at=said.created_at or known.created_at,
        first_heard_at=known.first_heard_at or now,
        heard_at=now,
        ended_at=now if said.status in _ENDED else None,
        **texts,
    )


def _check(said: RunFacts) -> None:
    columns.key("run_id", said.run_id, most=RUN_ID_MAX)
    for name, at in (("created_at", said.created_at), *(("at", epoch.at) for epoch in said.epochs)):
        if at is not None:
            columns.stamp(name, at)


def _epochs(stored: Sequence[dict[str, Any]], said: RunFacts) -> list[dict[str, Any]]:
    """Return the epochs that are known, the newest of them: a live run's report has only its last few."""
    known = {each["epoch"]: each for each in stored}
    known |= {each.epoch: columns.plain(each) for each in said.epochs}
    return [known[epoch] for epoch in sorted(known)][-EPOCHS_MAX:]


def _write(rows: Iterable[Run], *more: str, where: str) -> None:
    ordered = sorted(rows, key=lambda row: (row.created_at or columns.EARLIEST, row.run_id))
    bulk_insert.insert(ordered, unique=("run_id",), replacing=(*FIELDS, *more), where=where)


def _owned_by(names: Sequence[str]) -> QuerySet[Run]:
    return Run.objects.filter(owner__in=names, ended_at=None, status=RunStatus.RUNNING.value)


def _lose(node: Node, run_ids: Sequence[str], *, now: datetime) -> Sequence[str]:
    """Note that a node owns runs no more of which it doesn't tell; whoever takes one will tell of it."""
    if run_ids:
        lost = _owned_by([node.name]).filter(run_id__in=run_ids)
        lost.update(status=RunStatus.WAITING.value, heard_at=now)
    return run_ids
