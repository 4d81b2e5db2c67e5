"""Telemetry items, checked one by one: what is bad is refused by number and reason, the rest is kept.

What is kept is tuples of column values, no instances of models: there are thousands a second.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import msgspec
from django.db.models import Max

from dashboard.models import Trace, TraceDetail, Transition
from dashboard.services import columns, node_minutes, rollups, runs, signatures, trace_ids
from dashboard.services.bulk_insert import Row, Table
from dashboard.services.columns import Unfit
from meshcore import framing
from meshcore.errors import FrameError
from meshcore.frames import (
    BATCH_MAX_ITEMS,
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


class Kept(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An item that can be stored: exactly one of these is there."""

    seq: int
    trace: tuple[Row, Row, str] | None = (
        None  # of TRACES and DETAILS, without keys, and the error's signature
    )
    transition: Row | None = None  # of TRANSITIONS
    sums: rollups.Sums | None = None
    step: DrainStepItem | None = None
    run_end: RunEndItem | None = None


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
    rows = _Rows(node_id, now)
    before = telemetry.after
    for raw in telemetry.items[:BATCH_MAX_ITEMS]:
        json = columns.without_nul(raw)
        try:
            item = framing.decode_item(json)
            if not before < item.seq <= telemetry.to:
                raise Unfit(f"seq={item.seq}: expected {before + 1} to {telemetry.to}")
            columns.stamp("at", item.at)
            found.kept.append(rows.of(item))
            before = item.seq
        except (FrameError, Unfit) as exc:
            found.refuse(framing.number_of(json), exc)
    for raw in telemetry.items[BATCH_MAX_ITEMS:]:
        found.refuse(framing.number_of(raw), f"behind {BATCH_MAX_ITEMS} items: a frame has no more")
    return found


TRACES = Table(
    Trace,
    [
        "id",
        "error_signature_id",
        "trace_id",
        "node_id",
        "started_at",
        "received_at",
        "capability",
        "caller",
        "run_id",
        "alias",
        "model_asked",
        "model_served",
        "provider",
        "routed_via",
        "why",
        "hops",
        "stream",
        "outcome",
        "code",
        "skipped",
        "duration_ms",
        "ttft_ms",
        "tokens_in",
        "tokens_out",
    ],
)
DETAILS = Table(TraceDetail, ["trace_id", "candidates", "attempts", "splices", "alias_skips", "message"])
TRANSITIONS = Table(
    Transition,
    [
        "node_id",
        "key",
        "at",
        "received_at",
        "from_state",
        "to_state",
        "reason",
        "evidence",
        "actor",
        "count",
    ],
)


class _Rows:
    """Makes rows of what one node said at one time: the values stand in the order of the tables' columns."""

    def __init__(self, node_id: int, now: datetime) -> None:
        self._node_id = node_id
        self._stamp = columns.stamp_adapter()
        self._received_at = self._stamp(now)

    def of(self, item: Item) -> Kept:
        """Return an item as it is stored; raises Unfit."""
        match item:
            case TraceItem():
                return Kept(
                    seq=item.seq, trace=(self._trace(item.trace), _detail(item.trace), _signature(item.trace))
                )
            case TransitionItem():
                return Kept(seq=item.seq, transition=self._transition(item))
            case HistogramItem():
                _fits(provider=item.provider, capability=item.capability)
                return Kept(seq=item.seq, sums=rollups.parse(item, node_id=self._node_id))
            case DrainStepItem():
                return Kept(seq=item.seq, step=item)
            case RunEndItem():
                return Kept(seq=item.seq, run_end=runs.checked(item))

    def _trace(self, trace: RoutingTrace) -> Row:
        """Return the row of a call behind its id. Names that callers chose are cut, keys are not."""
        _fits(provider=trace.provider, capability=trace.capability)
        if trace.outcome not in OUTCOMES:
            raise Unfit(f"outcome={trace.outcome[:40]!r}: expected {' or '.join(OUTCOMES)}")
        return (
            columns.key("trace_id", trace.trace_id, most=64),
            self._node_id,
            self._stamp(columns.stamp("started_at", trace.started_at)),
            self._received_at,
            trace.capability,
            trace.caller[:100],
            columns.key("run_id", trace.run_id, most=80) if trace.run_id else "",
            trace.alias[:100],
            trace.model_asked[:200],
            trace.model_served[:200],
            trace.provider,
            trace.routed_via[:63],
            trace.why.value,
            len(trace.attempts),
            trace.stream,
            trace.outcome,
            trace.code[:40],
            signatures.skips(trace),
            columns.duration("duration_ms", trace.duration_ms),
            columns.duration("ttft_ms", trace.ttft_ms),
            columns.count("tokens_in", trace.tokens_in),
            columns.count("tokens_out", trace.tokens_out),
        )

    def _transition(self, item: TransitionItem) -> Row:
        return (
            self._node_id,
            columns.key("key", item.key, most=200),
            self._stamp(item.at),
            self._received_at,
            item.from_state.value,
            item.to_state.value,
            item.reason,
            item.evidence[:16],
            item.actor[:150],
            item.count,
        )


def _detail(trace: RoutingTrace) -> Row:
    lists = (trace.candidates, trace.attempts, trace.splices, trace.alias_skips)
    return (*map(columns.json_text, lists), trace.message)


def _signature(trace: RoutingTrace) -> str:
    return "" if trace.outcome == "ok" else signatures.signature(trace.code[:40], trace.message)


def _fits(*, provider: str, capability: str) -> None:
    columns.key("capability", capability, most=KEY_MAX)
    if len(provider) > KEY_MAX:  # it may be empty: nobody answered
        raise Unfit(f"provider of {len(provider)} characters: expected at most {KEY_MAX}")


def write(kept: Sequence[Kept], *, now: datetime) -> None:
    """Store items, of any nodes, in the caller's transaction: the same number of queries for any number."""
    _write_traces([each.trace for each in kept if each.trace], now=now)
    TRANSITIONS.insert([each.transition for each in kept if each.transition])
    runs.store_ends([each.run_end for each in kept if each.run_end], now=now)
    sums = [each.sums for each in kept if each.sums]
    rollups.add(sums)
    node_minutes.add(sums, now=now)


def _write_traces(rows: Sequence[tuple[Row, Row, str]], *, now: datetime) -> None:
    if not rows:
        return
    keys = signatures.keys({text for _, _, text in rows if text})
    slot = trace_ids.claim_slot()
    highest = Trace.objects.aggregate(highest=Max("id"))["highest"] or 0
    ids = trace_ids.allocate(len(rows), now=now, highest=highest, slot=slot)
    TRACES.insert([(id_, keys.get(text), *trace) for id_, (trace, _, text) in zip(ids, rows, strict=True)])
    DETAILS.insert([(id_, *detail) for id_, (_, detail, _) in zip(ids, rows, strict=True)])
