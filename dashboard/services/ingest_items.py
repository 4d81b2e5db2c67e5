"""Telemetry items, checked one by one: what is bad is refused by number and reason, the rest is kept."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db.models import Max

from dashboard.models import Trace, TraceDetail, Transition
from dashboard.services import bulk_insert, columns, rollups, signatures, trace_ids
from dashboard.services.columns import Unfit
from meshcore import framing
from meshcore.errors import FrameError
from meshcore.frames import (
    DrainStepItem,
    HistogramItem,
    Item,
    Refused,
    RunEndItem,
    Telemetry,
    TraceItem,
    TransitionItem,
)
from meshcore.trace import RoutingTrace

REASON_MAX = 200  # characters of a refusal
KEY_MAX = 100  # of provider and capability, as in roll-ups and traces
OUTCOMES = ("ok", "error")
CLIPPED = {"caller": 100, "alias": 100, "model_asked": 200, "model_served": 200, "routed_via": 63, "code": 40}


@dataclass(slots=True, kw_only=True)
class Kept:
    """An item that can be stored: exactly one of these is there."""

    seq: int
    trace: tuple[Trace, TraceDetail] | None = None
    transition: Transition | None = None
    sums: rollups.Sums | None = None
    step: DrainStepItem | None = None


@dataclass(slots=True)
class Sorted:
    """The items of a frame."""

    kept: list[Kept] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)

    def refuse(self, seq: int, reason: object) -> None:
        """Note that an item can't be stored."""
        self.refused.append(Refused(seq=seq, reason=str(reason)[:REASON_MAX]))


def sort_out(telemetry: Telemetry, *, node_id: int, now: datetime) -> Sorted:
    """Return the items of a frame as rows that can be stored, or refused; nothing is read or written."""
    found = Sorted()
    before = telemetry.after
    for raw in telemetry.items:
        json = columns.without_nul(raw)
        try:
            item = framing.decode_item(json)
            if not before < item.seq <= telemetry.to:
                raise Unfit(f"seq={item.seq}: expected {before + 1} to {telemetry.to}")
            columns.stamp("at", item.at)
            found.kept.append(_keep(item, node_id=node_id, now=now))
            before = item.seq
        except (FrameError, Unfit) as exc:
            found.refuse(framing.number_of(json), exc)
    return found


def _keep(item: Item, *, node_id: int, now: datetime) -> Kept:
    match item:
        case TraceItem():
            return Kept(seq=item.seq, trace=_trace(item.trace, node_id=node_id, now=now))
        case TransitionItem():
            return Kept(seq=item.seq, transition=_transition(item, node_id=node_id, now=now))
        case HistogramItem():
            _fits(provider=item.provider, capability=item.capability)
            return Kept(seq=item.seq, sums=rollups.parse(item))
        case DrainStepItem():
            return Kept(seq=item.seq, step=item)
        case RunEndItem():
            raise Unfit("run_end: runs are not kept by this version")


def _fits(*, provider: str, capability: str) -> None:
    columns.key("capability", capability, most=KEY_MAX)
    if len(provider) > KEY_MAX:  # it may be empty: nobody answered
        raise Unfit(f"provider of {len(provider)} characters: expected at most {KEY_MAX}")


def _trace(trace: RoutingTrace, *, node_id: int, now: datetime) -> tuple[Trace, TraceDetail]:
    """Return the rows of a call, still without their id. Names that callers chose are cut, keys are not."""
    _fits(provider=trace.provider, capability=trace.capability)
    if trace.outcome not in OUTCOMES:
        raise Unfit(f"outcome={trace.outcome[:40]!r}: expected {' or '.join(OUTCOMES)}")
    row = Trace(
        trace_id=columns.key("trace_id", trace.trace_id, most=64),
        node_id=node_id,
        started_at=columns.stamp("started_at", trace.started_at),
        received_at=now,
        capability=trace.capability,
        provider=trace.provider,
        run_id=columns.key("run_id", trace.run_id, most=80) if trace.run_id else "",
        why=trace.why.value,
        hops=len(trace.attempts),
        stream=trace.stream,
        outcome=trace.outcome,
        duration_ms=columns.duration("duration_ms", trace.duration_ms) or 0.0,
        ttft_ms=columns.duration("ttft_ms", trace.ttft_ms),
        tokens_in=columns.count("tokens_in", trace.tokens_in),
        tokens_out=columns.count("tokens_out", trace.tokens_out),
        **{name: getattr(trace, name)[:most] for name, most in CLIPPED.items()},
    )
    detail = TraceDetail(
        candidates=[columns.plain(candidate) for candidate in trace.candidates],
        attempts=[columns.plain(attempt) for attempt in trace.attempts],
        splices=[columns.plain(splice) for splice in trace.splices],
        alias_skips=[columns.plain(skip) for skip in trace.alias_skips],
        message=trace.message,
    )
    row.skipped = signatures.skips(detail)
    return row, detail


def _transition(item: TransitionItem, *, node_id: int, now: datetime) -> Transition:
    return Transition(
        node_id=node_id,
        key=columns.key("key", item.key, most=200),
        at=item.at,
        received_at=now,
        from_state=item.from_state.value,
        to_state=item.to_state.value,
        reason=item.reason,
        evidence=item.evidence[:16],
        actor=item.actor[:150],
        count=item.count,
    )


def write(kept: Sequence[Kept], *, node_id: int, now: datetime) -> None:
    """Store items in the caller's transaction: the same number of queries for any number of them."""
    _write_traces([each.trace for each in kept if each.trace], now=now)
    bulk_insert.insert([each.transition for each in kept if each.transition])
    rollups.add(node_id=node_id, sums=[each.sums for each in kept if each.sums])


def _write_traces(rows: Sequence[tuple[Trace, TraceDetail]], *, now: datetime) -> None:
    if not rows:
        return
    signatures.assign(rows)
    slot = trace_ids.claim_slot()
    highest = Trace.objects.aggregate(highest=Max("id"))["highest"] or 0
    ids = trace_ids.allocate(len(rows), now=now, highest=highest, slot=slot)
    for (trace, detail), id_ in zip(rows, ids, strict=True):
        trace.pk = detail.trace_id = id_
    bulk_insert.insert([trace for trace, _ in rows])
    bulk_insert.insert([detail for _, detail in rows])
