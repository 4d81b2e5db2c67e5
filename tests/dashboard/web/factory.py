"""A mesh to look at: rows as the link and the services would have written them."""

import hashlib
from datetime import datetime, timedelta
from functools import cache
from itertools import count
from typing import Any

import msgspec

from dashboard.models import (
    DesiredState,
    Drain,
    MeshMinute,
    MinuteRollup,
    Node,
    NodeLink,
    NodeMinute,
    ProviderHealth,
    Run,
    StepSource,
    Trace,
    TraceDetail,
    Transition,
)
from meshcore import histogram
from meshcore.breaker import BreakerState
from meshcore.drain import ActiveWork, DrainInfo, DrainSource, InFlight, NodeState, Readout

MODELS = {"ollama": "llama3.1-8b", "groq": "llama-3.1-70b", "vllm": "qwen-32b", "openrouter": "mixtral"}
_counter = count(1)


def seen_node(
    name: str,
    *,
    now: datetime,
    state: NodeState = NodeState.RUNNING,
    heard_seconds: float = 1.0,
    in_flight: int = 0,
    at_start: int = 0,
    edge: int = 0,
    drain: DrainInfo | None = None,
    active: tuple[ActiveWork, ...] = (),
    safe_to_stop: bool = False,
    generation: int = 0,
    providers: tuple[str, ...] = ("ollama", "groq"),
    **more: Any,
) -> Node:
    """Make a node that spoke `heard_seconds` ago, on an open link, with closed breakers."""
    readout = Readout(
        state=state,
        accepting=state is NodeState.RUNNING,
        drain=drain,
        in_flight=InFlight(calls=in_flight, total=in_flight, at_start=at_start),
        edge=edge,
        safe_to_stop=safe_to_stop,
        active_work=active,
        observed_generation=generation,
    )
    node, _ = Node.objects.update_or_create(
        name=name,
        defaults={
            "created_at": now - timedelta(days=3),
            "instance_id": f"{name}-7f3a",
            "boot_epoch": "b1c2:884",
            "url": f"http://{name}.mesh.example:8100",
            "version": "0.1.0",
            "manifest": {"node_id": name, "capabilities": [_offer(each) for each in providers]},
            "state": state.value,
            "accepting": readout.accepting,
            "in_flight": in_flight,
            "edge": edge,
            "safe_to_stop": safe_to_stop,
            "observed_generation": generation,
            "readout": msgspec.to_builtins(readout),
            "last_heard_at": now - timedelta(seconds=heard_seconds),
            **more,
        },
    )
    NodeLink.objects.update_or_create(
        node=node, defaults={"connection_no": 1, "opened_at": now, "closed_at": None}
    )
    for key in providers:
        breaker(node, key, now=now)
    return node


def _offer(provider: str) -> dict[str, Any]:
    model = MODELS.get(provider, "echo-1")
    return {
        "name": "llm.chat",
        "provider": provider,
        "params": {"model": model, "models": [model]},
        "max_concurrent": 16,
    }


def silent_for(node: Node, seconds: float, *, now: datetime, idle: bool = False) -> None:
    """Let a node have been silent, with its socket closed since."""
    at = now - timedelta(seconds=seconds)
    Node.objects.filter(pk=node.pk).update(last_heard_at=at)
    NodeLink.objects.filter(node=node).update(closed_at=at, idle=idle)


def breaker(
    node: Node,
    key: str,
    *,
    now: datetime,
    state: BreakerState = BreakerState.CLOSED,
    strikes: int = 0,
    open_seconds: float | None = None,
    error: str = "",
    since_seconds: float = 3600.0,
) -> ProviderHealth:
    """Set one breaker of a node."""
    row, _ = ProviderHealth.objects.update_or_create(
        node=node,
        key=key,
        defaults={
            "state": state.value,
            "strikes": strikes,
            "open_until": None if open_seconds is None else now + timedelta(seconds=open_seconds),
            "last_error": error,
            "since": now - timedelta(seconds=since_seconds),
            "observed_at": now,
        },
    )
    return row


def local_drain(*, by: str = "root", reason: str = "disk swap", now: datetime) -> DrainInfo:
    """Return a drain that somebody asked for on the machine."""
    return DrainInfo(source=DrainSource.LOCAL, by=by, reason=reason, since=now - timedelta(seconds=90))


def desired_drain(
    *, by: str = "operator", reason: str = "kernel update", generation: int = 1, now: datetime
) -> DrainInfo:
    """Return a drain that the dashboard asked for."""
    return DrainInfo(
        source=DrainSource.DESIRED,
        generation=generation,
        by=by,
        reason=reason,
        since=now - timedelta(seconds=40),
        deadline_at=now + timedelta(minutes=14),
        sticky=True,
    )


def order(node: Node, *, generation: int, drains: bool, seconds_ago: float, now: datetime) -> DesiredState:
    """Set what is asked of a node."""
    state, _ = DesiredState.objects.update_or_create(
        node=node,
        defaults={
            "generation": generation,
            "drain": {"since": now.isoformat()} if drains else None,
            "changed_at": now - timedelta(seconds=seconds_ago),
        },
    )
    return state


def minutes(
    node: Node,
    per_minute: list[int],
    *,
    now: datetime,
    provider: str = "ollama",
    outcome: str = "ok",
    milliseconds: float = 120.0,
    failovers: int = 0,
) -> None:
    """Write roll-ups for the last whole minutes, oldest first, with durations around `milliseconds`."""
    last = now.replace(second=0, microsecond=0) - timedelta(minutes=1)
    MinuteRollup.objects.bulk_create(
        MinuteRollup(
            node=node,
            minute=last - timedelta(minutes=back),
            provider=provider,
            capability="llm.chat",
            outcome=outcome,
            count=calls,
            failovers=min(failovers, calls),
            counts=dict(_spread(calls, milliseconds)),
        )
        for back, calls in enumerate(reversed(per_minute))
        if calls
    )
    add_up(node)


def add_up(node: Node) -> None:
    """Make the minutes of a node, and of the mesh, what their roll-ups amount to, as ingest does."""
    found: dict[datetime, NodeMinute] = {}
    for row in MinuteRollup.objects.filter(node=node, histogram_version=histogram.VERSION):
        whole = found.setdefault(row.minute, NodeMinute(node=node, minute=row.minute))
        whole.calls += row.count
        whole.errors += row.count if row.outcome != "ok" else 0
        whole.failovers += row.failovers
        histogram.merge(whole.counts, row.counts)  # type: ignore[arg-type]
    NodeMinute.objects.filter(node=node).delete()
    NodeMinute.objects.bulk_create(found.values())
    _add_up_mesh()


def _add_up_mesh() -> None:
    found: dict[datetime, MeshMinute] = {}
    for row in NodeMinute.objects.all():
        whole = found.setdefault(row.minute, MeshMinute(slot=0, minute=row.minute))
        whole.calls += row.calls
        whole.errors += row.errors
        whole.failovers += row.failovers
        histogram.merge(whole.counts, row.counts)  # type: ignore[arg-type]
    MeshMinute.objects.all().delete()
    MeshMinute.objects.bulk_create(found.values())


@cache
def _spread(calls: int, milliseconds: float) -> dict[str, int]:
    counts: histogram.Counts = {}
    for i in range(calls):
        histogram.add(counts, milliseconds * (0.6 + 0.8 * (i % 10) / 10) * (4 if i % 50 == 49 else 1))
    return {str(bucket): n for bucket, n in counts.items()}


def trace_key(at: datetime) -> int:
    """Return a trace's primary key for a moment."""
    return (int(at.timestamp() * 1000) << 20) | (next(_counter) & 0x3FFF)


def trace(
    node: Node,
    *,
    at: datetime,
    attempts: list[dict[str, Any]] | None = None,
    detail: dict[str, Any] | None = None,
    **fields: Any,
) -> Trace:
    """Store one call; with `attempts`, the story beside it, with `detail` in it."""
    pk = trace_key(at)
    row = Trace.objects.create(
        id=pk,
        node=node,
        started_at=at,
        received_at=at,
        **{
            "trace_id": hashlib.md5(str(pk).encode(), usedforsecurity=False).hexdigest(),
            "capability": "llm.chat",
            "caller": "shop",
            "model_asked": "llama3.1-8b",
            "model_served": "llama3.1-8b",
            "provider": "ollama",
            "outcome": "ok",
            "duration_ms": 143.2,
            "ttft_ms": 61.0,
            "tokens_in": 21,
            "tokens_out": 88,
            **fields,
        },
    )
    if attempts is not None:
        TraceDetail.objects.create(
            **{
                "trace": row,
                "attempts": attempts,
                "candidates": CANDIDATES,
                "message": fields.get("code", ""),
                **(detail or {}),
            }
        )
    return row


SPLICED: list[dict[str, Any]] = [
    {
        "n": 1,
        "node": "node-b",
        "provider": "ollama",
        "model": "llama3.1-8b",
        "outcome": "error",
        "code": "partition",
        "message": "connection closed in mid-answer",
        "ms": 912.0,
        "ttft_ms": 84.0,
        "committed": True,
    },
    {
        "n": 2,
        "node": "node-c",
        "provider": "vllm",
        "model": "qwen-32b",
        "started_ms": 914.0,
        "ms": 1410.0,
        "ttft_ms": 131.0,
        "committed": True,
    },
]
SPLICE: dict[str, Any] = {
    "at_ms": 914.0,
    "after_chunks": 42,
    "from_node": "node-b",
    "from_provider": "ollama",
    "to_node": "node-c",
    "to_provider": "vllm",
    "reason": "partition",
}
SKIPPED_ALIAS: dict[str, Any] = {
    "entry": "groq/llama-3.1-70b",
    "reason": "breaker_open",
    "detail": "41 s left",
}


FAILED_OVER: list[dict[str, Any]] = [
    {
        "n": 1,
        "node": "node-b",
        "provider": "ollama",
        "model": "llama3.1-8b",
        "outcome": "error",
        "code": "timeout",
        "message": "no first token within 1.0 s",
        "ms": 1000.4,
        "breaker": "suspect",
    },
    {
        "n": 2,
        "node": "node-c",
        "provider": "ollama",
        "model": "llama3.1-8b",
        "started_ms": 1001.0,
        "ms": 268.3,
        "ttft_ms": 92.1,
        "committed": True,
    },
]
CANDIDATES: list[dict[str, Any]] = [
    {
        "node": "node-b",
        "provider": "ollama",
        "rank": 1,
        "score": {"value": 83.2, "p50_ms": 66.0, "load": 0.24, "success_rate": 0.999, "local_bonus": 50.0},
    },
    {
        "node": "node-c",
        "provider": "ollama",
        "rank": 2,
        "score": {"value": 88.4, "p50_ms": 69.0, "load": 0.28, "success_rate": 1.0},
    },
    {
        "node": "node-b",
        "provider": "groq",
        "reason": "breaker_open",
        "detail": "41 s left",
        "seconds_remaining": 41.0,
    },
    {"node": "node-a", "provider": "ollama", "reason": "draining"},
    {"node": "node-d", "provider": "vllm", "reason": "params"},
    {"node": "node-d", "provider": "ollama", "reason": "capacity", "detail": "12 of 12 in flight"},
]


def transition(
    node: Node,
    key: str,
    *,
    at: datetime,
    to: BreakerState,
    was: BreakerState = BreakerState.CLOSED,
    reason: str = "",
    count: int = 1,
) -> Transition:
    """Write that a breaker changed."""
    return Transition.objects.create(
        node=node,
        key=key,
        at=at,
        received_at=at,
        from_state=was.value,
        to_state=to.value,
        reason=reason,
        count=count,
    )


def step(
    drain: Drain,
    name: str,
    *,
    at: datetime,
    in_flight: int | None = None,
    lag_seconds: float = 0.0,
    detail: str = "",
) -> None:
    """Write a step of a drain, by the node, heard here `lag_seconds` later."""
    drain.steps.create(
        step=name,
        source=StepSource.NODE.value,
        at=at,
        received_at=at + timedelta(seconds=lag_seconds),
        in_flight=in_flight,
        generation=drain.generation,
        detail=detail,
    )


def epoch(number: int, node: str, first_seq: int, **fields: Any) -> dict[str, Any]:
    """Return an epoch as a run keeps it."""
    reason = "started" if number == 1 else "continued"
    return {"epoch": number, "node": node, "reason": reason, "first_seq": first_seq, **fields}


def run(run_id: str, *, at: datetime, epochs: list[dict[str, Any]] | None = None, **fields: Any) -> Run:
    """Store a run that was made at `at`: by default one that runs on node-a, with nothing missing."""
    epochs = [epoch(1, "node-a", 2)] if epochs is None else epochs
    claims, ends = len(epochs), int("ended_at" in fields)
    counted = 1 + claims + fields.get("chunks", 20) + fields.get("releases", 0) + ends
    return Run.objects.create(
        **{
            "run_id": run_id,
            "status": "running",
            "owner": epochs[-1]["node"] if epochs else "",
            "epoch": claims,
            "epochs": epochs,
            "chunks": 20,
            "last_seq": counted + bool(fields.get("cancelled_by")),
            "capability": "llm.chat",
            "model": "llama3.1-8b",
            "provider": "ollama",
            "caller": "shop",
            "created_at": at,
            "first_heard_at": at,
            "heard_at": at,
            **fields,
        }
    )
