"""A whole mesh with one of each trouble, for pictures and for budgets."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from dashboard.models import Drain, DrainStatus, Node, Run, StepSource, Trace
from meshcore.breaker import BreakerState
from meshcore.drain import ActiveWork, NodeState
from meshcore.run_request import new_run_id
from tests.dashboard.web.factory import (
    FAILED_OVER,
    SKIPPED_ALIAS,
    SPLICE,
    SPLICED,
    breaker,
    desired_drain,
    epoch,
    minutes,
    order,
    run,
    seen_node,
    silent_for,
    step,
    trace,
    transition,
)

RUN_KINDS = 8


def waves(start: int, *, low: int, high: int) -> Iterator[int]:
    """Yield numbers of calls that go up and down like traffic, the same each time."""
    value = start
    for i in count():
        value = (value * 31 + 17 + i) % 1009
        yield low + value % max(high - low, 1)


def make(*, now: datetime) -> dict[str, Node]:
    """Make a whole mesh with one of each trouble, for pictures and for budgets."""
    found = {
        "node-a": seen_node(
            "node-a",
            now=now,
            state=NodeState.DRAINING,
            in_flight=5,
            at_start=14,
            edge=2,
            generation=1,
            drain=desired_drain(now=now),
            active=_work(),
        ),
        "node-b": seen_node(
            "node-b", now=now, in_flight=12, providers=("ollama", "groq", "vllm", "openrouter")
        ),
        "node-c": seen_node("node-c", now=now, in_flight=31, providers=("ollama", "groq", "vllm")),
        "node-d": seen_node(
            "node-d",
            now=now,
            in_flight=18,
            providers=("ollama", "vllm"),
            spool={"size": 3, "dropped": {"trace": 1204}},
        ),
        "node-e": seen_node("node-e", now=now),
        "node-f": Node.objects.create(name="node-f", created_at=now),
    }
    silent_for(found["node-e"], 130, now=now)
    order(found["node-a"], generation=1, drains=True, seconds_ago=40, now=now)
    breaker(
        found["node-b"],
        "ollama",
        now=now,
        state=BreakerState.OPEN,
        strikes=2,
        open_seconds=41,
        error="connect timeout after 1.0 s",
        since_seconds=94,
    )
    breaker(
        found["node-c"],
        "groq",
        now=now,
        state=BreakerState.SUSPECT,
        strikes=1,
        error="HTTP 503 from upstream",
    )
    for index, (name, top) in enumerate({"node-a": 90, "node-b": 480, "node-c": 1300, "node-d": 800}.items()):
        wave = waves(index + 3, low=top // 2, high=top)
        minutes(
            found[name],
            [next(wave) for _ in range(15)],
            now=now,
            milliseconds=70 + 10 * index,
            failovers=9 * (index == 1),
        )
        minutes(found[name], [next(wave) // 4 for _ in range(15)], now=now, provider="groq", milliseconds=210)
    minutes(found["node-b"], [0] * 9 + [12, 31, 18, 22, 9, 14], now=now, outcome="error", milliseconds=1000)
    transition(
        found["node-b"],
        "ollama",
        at=now - timedelta(seconds=94),
        to=BreakerState.OPEN,
        reason="2 of 2: connect timeout after 1.0 s",
    )
    transition(
        found["node-b"],
        "ollama",
        at=now - timedelta(seconds=101),
        to=BreakerState.SUSPECT,
        reason="connect timeout after 1.0 s",
    )
    transition(
        found["node-b"],
        "groq",
        at=now - timedelta(minutes=31),
        to=BreakerState.CLOSED,
        reason="probe answered",
    )
    _last_day(found, now=now)
    _peers(found, now=now)
    _traces(found, now=now)
    return found


def _last_day(found: dict[str, Node], *, now: datetime) -> None:
    """Let breakers have opened and closed, some of them on every node."""
    for key, names, hours, minutes_down in (
        ("groq", "bc", 3.2, 9),
        ("groq", "c", 7.0, 40),
        ("vllm", "bcd", 11.4, 95),
        ("ollama", "ad", 20.1, 12),
    ):
        for letter in names:
            node, at = found[f"node-{letter}"], now - timedelta(hours=hours)
            transition(node, key, at=at - timedelta(seconds=4), to=BreakerState.SUSPECT)
            transition(node, key, at=at, to=BreakerState.OPEN, was=BreakerState.SUSPECT)
            back = at + timedelta(minutes=minutes_down)
            transition(node, key, at=back, to=BreakerState.HALF_OPEN, was=BreakerState.OPEN)
            transition(
                node, key, at=back + timedelta(minutes=6), to=BreakerState.CLOSED, was=BreakerState.HALF_OPEN
            )


def _peers(found: dict[str, Node], *, now: datetime) -> None:
    """Let the nodes have called each other; node-e is away."""
    names = [f"node-{letter}" for letter in "abcd"]
    for caller in names:
        for called in [name for name in names if name != caller]:
            breaker(found[caller], f"node:{called}", now=now)
    breaker(
        found["node-c"],
        "node:node-e",
        now=now,
        state=BreakerState.OPEN,
        strikes=2,
        open_seconds=20,
        error="connection refused",
        since_seconds=128,
    )


def spliced(found: dict[str, Node], *, now: datetime) -> Trace:
    """Add a call by an alias whose answer another provider ended."""
    return trace(
        found["node-b"],
        at=now - timedelta(seconds=1),
        attempts=SPLICED,
        detail={"splices": [SPLICE], "alias_skips": [SKIPPED_ALIAS]},
        alias="mesh/fast",
        model_asked="mesh/fast",
        model_served="qwen-32b",
        provider="vllm",
        routed_via="node-c",
        why="alias",
        stream=True,
        hops=2,
        duration_ms=2324.0,
        ttft_ms=84.0,
        tokens_out=118,
    )


def _work() -> tuple[ActiveWork, ...]:
    return tuple(
        ActiveWork(
            id=f"call-{n:02x}9c", kind="stream" if n % 2 else "call", age_seconds=3.0 * n, provider="ollama"
        )
        for n in range(1, 6)
    )


def _traces(found: dict[str, Node], *, now: datetime) -> None:
    names = ["node-c", "node-b", "node-d", "node-c", "node-a"]
    for i in range(60):
        node = found[names[i % 5]]
        at = now - timedelta(seconds=2.3 * (60 - i))
        if i % 11 == 3:
            trace(
                found["node-b"],
                at=at,
                attempts=FAILED_OVER,
                hops=2,
                routed_via="node-c",
                why="failover",
                duration_ms=1269.4,
                ttft_ms=1093.1,
            )
        elif i % 17 == 5:
            trace(
                node,
                at=at,
                attempts=FAILED_OVER[:1],
                outcome="error",
                code="no_healthy_provider",
                duration_ms=4.1,
                ttft_ms=None,
                tokens_in=None,
                tokens_out=None,
                provider="",
            )
        else:
            trace(
                node,
                at=at,
                attempts=FAILED_OVER[1:],
                duration_ms=90 + 13.7 * (i % 9),
                provider=("ollama", "groq")[i % 2],
                caller=("shop", "support-bot", "batch")[i % 3],
            )


def drains(*, now: datetime) -> dict[str, Drain]:
    """Add drains of the example's nodes: one on its way, one done, one that nobody acknowledges, old ones."""
    nodes = {node.name: node for node in Node.objects.all()}
    going = _drain(nodes["node-a"], now=now, seconds_ago=40, reason="kernel update", deadline_seconds=880)
    for index, (name, left) in enumerate(
        (("acknowledged", 14), ("gate_closed", 14), ("in_flight", 12), ("in_flight", 9), ("in_flight", 5))
    ):
        step(going, name, at=now - timedelta(seconds=39.4 - 6 * index), in_flight=left, lag_seconds=0.21)
    done = _drain(
        nodes["node-b"],
        now=now,
        seconds_ago=7400,
        reason="new GPU driver",
        status=DrainStatus.CANCELLED,
        ended_seconds_ago=7100,
    )
    for name, after, left in (
        ("acknowledged", 0.3, 6),
        ("gate_closed", 0.31, 6),
        ("drained", 41.0, 0),
        ("safe_to_stop", 44.2, 0),
    ):
        step(done, name, at=done.started_at + timedelta(seconds=after), in_flight=left)
    waiting = _drain(nodes["node-d"], now=now, seconds_ago=30, reason="rack 7", by="deploy", by_kind="token")
    gone = _drain(nodes["node-e"], now=now, seconds_ago=100, reason="", force=True, deadline_seconds=200)
    _drain(
        nodes["node-c"],
        now=now,
        seconds_ago=90_000,
        reason="scale down",
        by="autoscaler",
        by_kind="token",
        status=DrainStatus.ENDED_BY_RESTART,
        ended_seconds_ago=89_900,
    )
    return {"going": going, "done": done, "waiting": waiting, "gone": gone}


def _drain(
    node: Node,
    *,
    now: datetime,
    seconds_ago: float,
    reason: str,
    by: str = "operator",
    by_kind: str = "user",
    status: DrainStatus = DrainStatus.ACTIVE,
    ended_seconds_ago: float | None = None,
    deadline_seconds: float | None = None,
    force: bool = False,
) -> Drain:
    generation = node.drains.count() + 1
    drain = Drain.objects.create(
        node=node,
        status=status.value,
        first_generation=generation,
        generation=generation,
        started_at=now - timedelta(seconds=seconds_ago),
        ended_at=None if ended_seconds_ago is None else now - timedelta(seconds=ended_seconds_ago),
        by_kind=by_kind,
        by_name=by,
        reason=reason,
        deadline_at=None if deadline_seconds is None else now + timedelta(seconds=deadline_seconds),
        force=force,
        sticky=by_kind == "user",
    )
    drain.steps.create(
        step="requested",
        source=StepSource.DASHBOARD.value,
        at=drain.started_at,
        received_at=drain.started_at,
        generation=generation,
        detail=f"by {by}",
    )
    return drain


def runs(*, now: datetime) -> dict[str, Run]:
    """Make one run of each kind, the newest last."""

    def ago(seconds: float) -> datetime:
        return now - timedelta(seconds=seconds)

    def ended(seconds: float, **fields: Any) -> dict[str, Any]:
        return {"ended_at": ago(seconds), "told": True, **fields}

    moved = [epoch(1, "node-b", 2, at=ago(64).isoformat()), epoch(2, "node-c", 34, at=ago(58).isoformat())]
    again = [
        epoch(1, "node-c", 2, at=ago(300).isoformat()),
        epoch(2, "node-d", 61, at=ago(280).isoformat(), reason="restarted", superseded_from=2),
        epoch(3, "node-b", 204, at=ago(250).isoformat()),
    ]
    stories: dict[str, dict[str, Any]] = {
        "failed": ended(880, status="failed", reason="owner_lost", takeovers=3, releases=1, last_seq=25),
        "cancelled": ended(700, status="cancelled", reason="cancel_requested", cancelled_by="alice"),
        "again": ended(200, status="completed", reason="stop", epochs=again, takeovers=2, chunks=296),
        "completed": ended(80, status="completed", reason="stop", usage={"total_tokens": 109}),
        "silent": {"epochs": [epoch(1, "node-e", 2)]},
        "waiting": {"status": "waiting", "releases": 1},
        "moved": {"epochs": moved, "takeovers": 1, "chunks": 71},
        "running": {"chunks": 12},
    }
    ids = run_ids(now=now)
    return {
        name: run(run_id, at=_made_at(number, now), **story)
        for number, ((name, story), run_id) in enumerate(zip(stories.items(), ids, strict=True))
    }


def run_ids(*, now: datetime) -> list[str]:
    """Return the ids of `runs`, in their order; as nodes make them, but the same each time."""
    drawn = [hashlib.sha256(b"%d" % number).hexdigest()[:32] for number in range(RUN_KINDS)]
    return [new_run_id("k3v9x2", each, _made_at(number, now)) for number, each in enumerate(drawn)]


def _made_at(number: int, now: datetime) -> datetime:
    return now - timedelta(seconds=900 - 110 * number)
