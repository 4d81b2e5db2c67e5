"""Telemetry is stored once, in groups: frames of any nodes in one transaction and a fixed number of queries.

    read     a frame is taken apart; nothing is stored
    store    marks are locked -> what lies behind them is stored -> the marks move -> the change feed

The marks say how far each spool is committed, and move in the transaction that stores what lies behind them;
so whatever is sent again after a lost acknowledgement, a crash or a second connection is stored exactly once.
A group that can't be stored whole is stored frame by frame, and a frame that can't, item by item.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import DataError, IntegrityError, InterfaceError, OperationalError, transaction

from dashboard.models import Node
from dashboard.services import ballast, changes, drain, ingest_items, marks, runs
from dashboard.services.ballast import TelemetryStopped
from dashboard.services.ingest_items import Kept, Sorted
from dashboard.services.marks import Source, Spool
from meshcore.frames import Refused, Rewind, Telemetry, TelemetryAck

logger = logging.getLogger(__name__)

AWAY = (
    OperationalError,
    InterfaceError,
)  # the database, not what is stored: to try one by one would take ages
POISON = (DataError, IntegrityError)
REFUSED_TOLD = 100  # items named in one answer, which must fit into a frame; all are counted


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """Another connection counts, or the spool is not known any more; nothing was stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """A frame that was taken apart."""

    node: Node
    source: Source
    telemetry: Telemetry
    found: Sorted


Answer = TelemetryAck | Rewind | ConnectionLost


def read(*, node: Node, connection_no: int, telemetry: Telemetry, now: datetime, spool_id: str = "") -> Batch:
    """Take a frame apart that came at `now` over a connection or, with marks.BY_HTTP, for a spool."""
    found = ingest_items.sort_out(telemetry, node_id=node.pk, now=now)
    source = Source(node.pk, connection_no, spool_id)
    return Batch(node=node, source=source, telemetry=telemetry, found=found)


def store(batches: Sequence[Batch], *, now: datetime) -> list[Answer | Exception]:
    """Store frames, those of a spool in their order, and return what to answer to each.

    An exception stands where a frame couldn't be stored; the later ones of its spool are not stored either.
    Drain steps go first, each in a small transaction of its own that keeps it once: they take the control
    head's lock, which comes before the links', and are true whatever becomes of the frame.
    """
    try:
        for batch in batches:
            _record_steps(batch, now=now)
        answers: list[Answer | Exception] = [*_commit(batches, now=now)]
    except AWAY as exc:
        return [_said(exc)] * len(batches)
    except Exception:
        logger.exception("a group of %d frames is stored frame by frame", len(batches))
        answers = _one_by_one(batches, now=now)
    for batch in batches:
        _say_refused(batch)
    return answers


def _record_steps(batch: Batch, *, now: datetime) -> None:
    found = batch.found
    for each in list(found.kept):
        if each.step is None:
            continue
        try:
            drain.record_node_step(node=batch.node, item=each.step, received_at=now)
        except ValueError as exc:
            found.kept.remove(each)
            found.refuse(each.seq, exc)


def _one_by_one(batches: Sequence[Batch], *, now: datetime) -> list[Answer | Exception]:
    answers: list[Answer | Exception] = []
    ended: dict[Source, Answer | Exception] = {}  # sources of which nothing more is stored
    for batch in batches:
        answer = ended.get(batch.source) or _alone(batch, now=now)
        if not isinstance(answer, TelemetryAck):
            ended[batch.source] = answer
        answers.append(answer)
    return answers


def _alone(batch: Batch, *, now: datetime) -> Answer | Exception:
    try:
        _record_steps(batch, now=now)
        try:
            (answer,) = _commit([batch], now=now)
        except POISON:
            logger.exception("%s: the items of a frame are stored one by one", batch.node.name)
            (answer,) = _commit([batch], now=now, singly=True)
    except Exception as exc:
        logger.exception("%s: a frame is not stored", batch.node.name)
        return _said(exc)
    return answer


def _said(exc: Exception) -> Exception:
    """Return what hinders it, by the name that whoever waits knows; a full disk stops all telemetry."""
    return TelemetryStopped() if ballast.note(exc) else exc


def _commit(batches: Sequence[Batch], *, now: datetime, singly: bool = False) -> list[Answer]:
    """Store frames in one transaction, or raise what hinders it; with `singly` each item for itself."""
    answers: list[Answer] = []
    news: list[Kept] = []
    keys: set[str] = set()
    with transaction.atomic():
        spools = marks.locked({batch.source for batch in batches})
        for batch in batches:
            answer, kept = _judge(batch, spools.get(batch.source), now=now, singly=singly)
            answers.append(answer)
            news += kept
            keys |= _keys(batch.node, kept)
        if not singly:
            ingest_items.write(news, now=now)
        marks.move(spools, now=now)
        if keys:
            changes.publish(*sorted(keys), now=now)
    return answers


def _judge(
    batch: Batch, spool: Spool | None, *, now: datetime, singly: bool
) -> tuple[Answer, Sequence[Kept]]:
    """Return what to answer to a frame, and what of it lies behind the mark."""
    if spool is None:
        return ConnectionLost(), ()
    known = spool.judge(batch.telemetry)
    if known is not None:
        return known, ()
    news = [each for each in batch.found.kept if each.seq > spool.hwm]
    refused = [each for each in batch.found.refused if not 0 < each.seq <= spool.hwm]
    if singly:
        refused += _write_singly(news, now=now)
    spool.take(batch.telemetry, refused=len(refused))
    return TelemetryAck(to=batch.telemetry.to, refused=tuple(refused[:REFUSED_TOLD])), news


def _write_singly(news: Sequence[Kept], *, now: datetime) -> list[Refused]:
    """Store items, each for itself, and return those that the database refused."""
    refused: list[Refused] = []
    for each in news:
        try:
            with transaction.atomic():
                ingest_items.write([each], now=now)
        except POISON:
            refused.append(Refused(seq=each.seq, reason="the database refused it"))
    return refused


def _keys(node: Node, news: Sequence[Kept]) -> set[str]:
    keys = set()
    if any(each.trace for each in news):
        keys.add("traces")
    if any(each.sums for each in news):
        keys.add(f"figures:{node.name}")
    if any(each.transition for each in news):
        keys.add(f"transitions:{node.name}")
    ended = [each.run_end.run_id for each in news if each.run_end]
    if len(ended) > runs.NAMED_MAX:
        keys.add(f"runs:{node.name}")  # for the pages of those that aren't named
    return keys | set(runs.keys_of(ended))


def _say_refused(batch: Batch) -> None:
    refused = batch.found.refused
    if refused:
        logger.warning("%s: %d items refused, first: %r", batch.node.name, len(refused), refused[0].reason)
