"""What a node tells its dashboard of a run: by health while it owns it, by `run_end` when it has ended.

All of it is from the run's log, so that two nodes say the same of the same events. Neither the request nor
the answer is in it. Lists and texts are cut to bounds: a report says so by `epoch`, which counts on.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import msgspec

from meshcore.frame_terms import Count, Number, Stamp
from meshcore.run_chunks import model_of
from meshcore.runs import RunState

RUNS_MAX = 500  # of a health frame
RUNS_MAX_BYTES = 128 << 10  # half of a frame's bound: the other half is for breakers and readout
LIVE_EPOCHS_MAX = 8  # the newest of a run that lives
EPOCHS_MAX = 32  # the newest of a run that has ended
NAME_MAX_CHARACTERS = 100
MODEL_MAX_CHARACTERS = 200
USAGE_MAX_BYTES = 4096  # a provider that says more says something else than what was used


class Epoch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A claim of a run: `node` owned it from event `first_seq` on, until the next epoch's first.

    `superseded_from`: a restart replaces everything from that event on. `at` is by the clock of `node`.
    """

    epoch: Count
    node: str
    reason: str  # started, continued, restarted
    first_seq: Number
    superseded_from: Number | None = None
    at: Stamp | None = None


class RunFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a log says of a run up to `last_seq`; `chunks` and `releases` count the whole log."""

    run_id: str
    status: str
    reason: str = ""  # why it ended
    epoch: Count = 0
    takeovers: Count = 0
    last_seq: Number = 0
    chunks: Count = 0
    releases: Count = 0
    capability: str = ""
    model: str = ""
    provider: str = ""  # of the node that reports
    caller: str = ""
    cancelled_by: str = ""
    created_at: Stamp | None = None
    epochs: tuple[Epoch, ...] = ()


class RunReport(RunFacts, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A run that a node owns now; one of a terminal status has just ended there."""


def report(run_id: str, state: RunState, *, provider: str = "") -> RunReport:
    """Return what health says of a run."""
    return RunReport(**facts(run_id, state, epochs_max=LIVE_EPOCHS_MAX), provider=_name(provider))


def facts(run_id: str, state: RunState, *, epochs_max: int = EPOCHS_MAX) -> dict[str, Any]:
    """Return the fields of RunFacts by a run's folded log."""
    created, end = state.created, state.end
    return {
        "run_id": run_id,
        "status": str(state.status),
        "reason": _name(end.reason if end else ""),
        "epoch": state.epoch,
        "takeovers": state.takeovers,
        "last_seq": end.final_seq if end else state.last_seq,
        "chunks": state.chunks,
        "releases": state.releases,
        "capability": _name(created.capability if created else ""),
        "model": model_of(state)[:MODEL_MAX_CHARACTERS],
        "caller": _name(created.key if created else ""),
        "cancelled_by": _name(state.cancelled_by or ""),
        "created_at": created.at if created else None,
        "epochs": tuple(_epochs(state, epochs_max)),
    }


def usage_of(state: RunState) -> dict[str, Any] | None:
    """Return what the provider says that an ended run used, None when that is nothing or too much."""
    usage = state.end.usage if state.end else None
    fits = usage is not None and len(msgspec.json.encode(usage)) <= USAGE_MAX_BYTES
    return usage if fits else None


def fit(reports: Iterable[RunReport]) -> tuple[tuple[RunReport, ...], int]:
    """Return the first reports that a frame has room for, and how many it hasn't."""
    kept: list[RunReport] = []
    left, size = 0, 0
    for each in reports:
        size += len(msgspec.json.encode(each)) if len(kept) < RUNS_MAX else RUNS_MAX_BYTES
        if size <= RUNS_MAX_BYTES:
            kept.append(each)
        else:
            left += 1
    return tuple(kept), left


def _epochs(state: RunState, most: int) -> Iterable[Epoch]:
    claims: Sequence[Any] = state.claims
    for first_seq, claim in islice(claims, max(len(claims) - most, 0), None):
        yield Epoch(
            epoch=claim.epoch,
            node=_name(claim.node),
            reason=str(claim.reason),
            first_seq=first_seq,
            superseded_from=claim.superseded_from,
            at=claim.at,
        )


def _name(text: str) -> str:
    return text[:NAME_MAX_CHARACTERS]
