"""The node's side of a drain's record: which steps lie between two readouts (drain-and-control §2)."""

import enum
from collections.abc import Iterator

import msgspec

from meshcore.drain import DrainInfo, DrainSource, NodeState, Readout, Work
from meshcore.errors import DRAIN_FORCED


class StepName(enum.StrEnum):
    """What a node reports of a drain; the values are sent."""

    ACKNOWLEDGED = "acknowledged"
    GATE_CLOSED = "gate_closed"
    IN_FLIGHT = "in_flight"
    DRAINED = "drained"
    SAFE_TO_STOP = "safe_to_stop"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    FORCED = "forced"
    MOVED = "moved"
    GATE_OPENED = "gate_opened"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One step; `generation` 0 belongs to a local drain."""

    step: StepName
    generation: int
    in_flight: int
    edge: int
    detail: str = ""


def steps_between(before: Readout, after: Readout) -> list[Step]:
    """Return what happened to drains from one readout of a node to the next, in order."""
    generation = after.drain.generation if after.drain else _last_generation(before, after)
    return [
        Step(
            step=name,
            generation=generation,
            in_flight=after.in_flight.total,
            edge=after.edge,
            detail=after.drain.reason if after.drain and name is StepName.GATE_CLOSED else "",
        )
        for name in _names(before, after)
    ]


def forced(work: Work, after: Readout) -> Step:
    """Return that work ended by a drain's force, or goes on elsewhere; `after` counts it no more."""
    doer = f" on {work.provider}" if work.provider else ""
    return Step(
        step=StepName.MOVED if work.moved else StepName.FORCED,
        generation=after.drain.generation if after.drain else after.observed_generation,
        in_flight=after.in_flight.total,
        edge=after.edge,
        detail=work.work_id if work.moved else f"{work.kind} {work.work_id}{doer}: {DRAIN_FORCED}",
    )


def _last_generation(before: Readout, after: Readout) -> int:
    local = before.drain is not None and before.drain.source is DrainSource.LOCAL
    return (
        0 if local and before.observed_generation == after.observed_generation else after.observed_generation
    )


def _names(before: Readout, after: Readout) -> Iterator[StepName]:
    if after.observed_generation != before.observed_generation:
        yield StepName.ACKNOWLEDGED
    if after.drain is None:
        if before.drain is not None and after.accepting:
            yield StepName.GATE_OPENED
        return
    new = not _same(before.drain, after.drain)
    if new:
        yield StepName.GATE_CLOSED
    elif after.in_flight.total != before.in_flight.total:
        yield StepName.IN_FLIGHT
    if after.drain.deadline_exceeded and (new or not (before.drain and before.drain.deadline_exceeded)):
        yield StepName.DEADLINE_EXCEEDED
    if after.state is NodeState.DRAINED and (new or before.state is not NodeState.DRAINED):
        yield StepName.DRAINED
    if after.safe_to_stop and (new or not before.safe_to_stop):
        yield StepName.SAFE_TO_STOP


def _same(before: DrainInfo | None, after: DrainInfo) -> bool:
    return before is not None and (before.source, before.since) == (after.source, after.since)
