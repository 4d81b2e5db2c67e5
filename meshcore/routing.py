"""Where a call may go, in what order, and why not elsewhere (bus-and-breaker §1).

`choose` looks at every entry of the capability: it is refused with the first reason that holds, in the
order of `Reason`, or it gets a score. Local entries whose load is below 0.80 come first, then everything by
ascending score; offers that their own node calls unavailable come last, because that word may be seconds
old.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

import msgspec

from meshcore.breaker_terms import Refusal
from meshcore.capability import HOPS_MAX, RouteRequest, Version, asked_model, version_serves
from meshcore.config_sections import Continuation
from meshcore.errors import CallError, Code
from meshcore.registry import Entry
from meshcore.splice import way_to_continue
from meshcore.trace import Candidate, Reason, Score

LOCAL_LOAD = 0.80  # below it a local entry is taken whatever the scores say
UNKNOWN_P50_MS = 500.0  # of an entry that nobody called yet
FAILURE_PENALTY_MS = 1000.0
LOCAL_BONUS_MS = 50.0
DRAINING_RETRY_SECONDS = 1.0  # the caller has other nodes to ask meanwhile
BUSY_RETRY_SECONDS = 1.0  # a slot frees up when a call ends, which nobody can foretell

NOT_OFFERED = frozenset({Reason.VERSION, Reason.PARAMS})
PASSED_BY = frozenset({Reason.EXCLUDED, Reason.HOP})
WAITING_HELPS = frozenset({Reason.CAPACITY, Reason.COOLING})

RefusalOf = Callable[[str, str], Refusal | None]
"""(key of a breaker, model that has one of its own or "") -> why it would refuse now; must take nothing."""


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a call asks of routing."""

    capability: str
    version: Version
    params: Mapping[str, Any] = {}
    local_only: bool = False  # a peer's call: other nodes are not even looked at
    stream: bool = False
    draining: bool = False  # this node's gate is closed: its own entries are refused
    path: tuple[str, ...] = ()  # nodes that the call has left
    excluded: Collection[Entry] = ()  # already tried
    continues: bool = False  # an answer that broke off: only who can go on from its text may serve it


class Ranked(msgspec.Struct, frozen=True):
    """An entry that may be tried."""

    entry: Entry
    model: str  # that it would serve
    score: Score
    group: int  # 0 local with room, 1 anybody, 2 called unavailable by its node


class Choice(msgspec.Struct, frozen=True):
    """The entries to try, best first, and everybody else with the reason."""

    ordered: list[Ranked]
    refused: list[Candidate]


def choose(
    question: Question,
    entries: Iterable[Entry],
    now: float,
    freshness_seconds: float,
    refusal_of: RefusalOf,
) -> Choice:
    """Return who may serve the question at the monotonic moment `now`."""
    ordered: list[Ranked] = []
    refused: list[Candidate] = []
    asked, stale_before = asked_model(question.params), now - freshness_seconds
    for entry in entries:
        if question.local_only and not entry.is_local:
            continue
        model = asked or entry.default_model
        refusal = _refusal(question, entry, model, stale_before, refusal_of)
        if refusal is None:
            ordered.append(rank(entry, model))
        else:
            refused.append(refusal)
    if len(ordered) > 1:
        ordered.sort(key=_order)
    return Choice(ordered, refused)


def rank(entry: Entry, model: str) -> Ranked:
    """Return an entry with its score and the group that it is tried in."""
    window, load, is_local = entry.window, entry.in_flight / entry.slots, entry.is_local
    p50_ms = UNKNOWN_P50_MS if window.p50_ms is None else window.p50_ms
    success_rate = window.success_rate
    bonus = LOCAL_BONUS_MS if is_local else 0.0
    value = p50_ms * (1 + load) + FAILURE_PENALTY_MS * (1 - success_rate) - bonus
    score = Score(value=value, p50_ms=p50_ms, load=load, success_rate=success_rate, local_bonus=bonus)
    group = 2 if not entry.available else 0 if is_local and load < LOCAL_LOAD else 1
    return Ranked(entry, model, score, group)


def refused(entry: Entry, reason: Reason, detail: str = "", seconds: float | None = None) -> Candidate:
    """Return the record of an entry that was passed over."""
    return Candidate(
        node=entry.node_id,
        provider=entry.descriptor.provider,
        reason=reason,
        detail=detail,
        seconds_remaining=seconds,
    )


def refused_by_breaker(entry: Entry, refusal: Refusal) -> Candidate:
    """Return the record of an entry whose breaker gave no permit."""
    seconds = refusal.seconds_remaining
    return refused(entry, refusal.reason, "" if seconds is None else f"{seconds:.0f} s left", seconds)


def turned_away(request: RouteRequest, *, node_id: str, draining: bool) -> CallError | None:
    """Return why a peer's call is not even looked at by this node, or None."""
    if node_id in request.path or len(request.path) > HOPS_MAX:
        return CallError(Code.HOP, f"the call was here or came too far: {' > '.join(request.path)}")
    if draining:
        text = f"{node_id} is draining"
        return CallError(Code.DRAINING, text, retry_after_seconds=DRAINING_RETRY_SECONDS)
    return None


def nobody(question: Question, refusals: Collection[Candidate]) -> CallError:
    """Return the error of a call that nobody may serve: what is in the way, and when to come back."""
    what = _named(question)
    reasons = {c.reason for c in refusals if c.reason is not None} - NOT_OFFERED - PASSED_BY
    if not reasons:
        if any(candidate.reason in PASSED_BY for candidate in refusals):
            return CallError(Code.NO_HEALTHY_PROVIDER, f"no further provider of {what}")
        return CallError(Code.NOT_FOUND, f"nobody offers {what}")
    waits = [c.seconds_remaining for c in refusals if c.seconds_remaining is not None]
    wait = min(waits, default=BUSY_RETRY_SECONDS)
    if reasons == {Reason.CAPACITY}:
        code, message = Code.CAPACITY_EXCEEDED, f"every provider of {what} is busy"
    elif reasons <= WAITING_HELPS:
        code, message = (
            Code.RATE_LIMITED,
            f"every provider of {what} is busy or cools down after a rate limit",
        )
    else:
        code, message = (
            Code.NO_HEALTHY_PROVIDER,
            f"no healthy provider of {what}: {', '.join(sorted(reasons))}",
        )
    return CallError(code, message, retry_after_seconds=wait)


def _refusal(
    question: Question, entry: Entry, model: str, stale_before: float, refusal_of: RefusalOf
) -> Candidate | None:
    """Return why an entry may not be tried; the order of the checks is the design's."""
    descriptor, peer = entry.descriptor, entry.peer
    if descriptor.version != question.version and not version_serves(descriptor.version, question.version):
        return refused(entry, Reason.VERSION, f"offers {descriptor.version[0]}.{descriptor.version[1]}")
    if not entry.fits(question.params):
        return refused(entry, Reason.PARAMS)
    if question.continues and way_to_continue(descriptor.params) is Continuation.NONE:
        return refused(entry, Reason.PARAMS, "can't go on from a partial answer")
    if question.stream and entry.is_local and entry.stream is None:
        return refused(entry, Reason.PARAMS, "doesn't stream")
    if peer.draining if peer is not None else question.draining:
        return refused(entry, Reason.DRAINING)
    if peer is not None and peer.heard_at < stale_before:
        return refused(entry, Reason.STALE)
    if (refusal := refusal_of(entry.breaker_key, entry.breaker_model(model))) is not None:
        return refused_by_breaker(entry, refusal)
    if entry.in_flight >= descriptor.max_concurrent:
        return refused(entry, Reason.CAPACITY, f"{entry.in_flight} of {descriptor.max_concurrent} in flight")
    if entry in question.excluded:
        return refused(entry, Reason.EXCLUDED)
    if entry.node_id in question.path:
        return refused(entry, Reason.HOP)
    return None


def _order(ranked: Ranked) -> tuple[int, float, int]:
    return ranked.group, ranked.score.value, -ranked.entry.descriptor.version[1]


def _named(question: Question) -> str:
    major, minor = question.version
    model = asked_model(question.params)
    return f"{question.capability} {major}.{minor}" + (f" with model {model!r}" if model else "")
