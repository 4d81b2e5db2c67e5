"""Who may serve a call, in what order, and why the others may not."""

from typing import Any

import pytest

from meshcore.breaker_terms import Refusal
from meshcore.capability import CallInfo, CapabilityDescriptor, RouteRequest
from meshcore.errors import Code
from meshcore.registry import Entry, PeerRecord, Registry
from meshcore.routing import Choice, Question, choose, nobody, refused, turned_away
from meshcore.testing import ManualClock
from meshcore.trace import Reason

ASK = Question(capability="llm.chat", version=(1, 0))


async def serve(request: RouteRequest, info: CallInfo) -> dict[str, Any]:
    return {}


class Mesh:
    """A registry with a local entry and peers, to be asked."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.registry = Registry("node-a", clock=self.clock)
        self.refusals: dict[str, Refusal] = {}

    def local(self, **fields: Any) -> Entry:
        return self.registry.register_local(
            CapabilityDescriptor(**{"name": "llm.chat", "provider": "mine", "max_concurrent": 5, **fields}),
            serve,
        )

    def remote(self, node: str, *, draining: bool = False, **fields: Any) -> Entry:
        offer = {"name": "llm.chat", "max_concurrent": 5, **fields}
        manifest = {"draining": draining, "capabilities": [offer]}
        self.registry.update_from_peer_manifest(PeerRecord(node), manifest)
        return self.registry.of_peer(node)[0]

    def choose(self, question: Question = ASK) -> Choice:
        return choose(
            question,
            self.registry.named(question.capability),
            now=self.clock(),
            freshness_seconds=60.0,
            refusal_of=lambda key, model: self.refusals.get(key),
        )

    def order(self, question: Question = ASK) -> list[str]:
        return [ranked.entry.node_id for ranked in self.choose(question).ordered]

    def reasons(self, question: Question = ASK) -> list[Reason | None]:
        return [candidate.reason for candidate in self.choose(question).refused]


@pytest.mark.parametrize(
    ("p50", "in_flight", "failures", "is_local", "value"),
    [
        (None, 0, 0, True, 450.0),
        (None, 0, 0, False, 500.0),
        (100.0, 0, 0, False, 100.0),
        (100.0, 5, 1, False, 350.0),
        (100.0, 5, 1, True, 300.0),
    ],
)
def test_the_score_has_the_terms_of_the_design(
    p50: float | None, in_flight: int, failures: int, is_local: bool, value: float
) -> None:
    mesh = Mesh()
    entry = mesh.local(max_concurrent=10) if is_local else mesh.remote("node-b", max_concurrent=10)
    entry.in_flight = in_flight
    for _ in range(4 if p50 else 0):
        entry.window.succeeded(p50 or 0.0)
    for _ in range(failures):
        entry.window.failed()

    score = mesh.choose().ordered[0].score

    assert score.value == pytest.approx(value)
    assert score.local_bonus == (50.0 if is_local else 0.0)


@pytest.mark.parametrize(("in_flight", "first"), [(3, "node-a"), (4, "node-b")])
def test_local_comes_first_while_its_load_is_below_four_fifths(in_flight: int, first: str) -> None:
    mesh = Mesh()
    mesh.local().in_flight = in_flight
    mesh.remote("node-b").window.succeeded(100.0)

    assert mesh.order()[0] == first


def test_the_lower_score_comes_first_and_the_higher_minor_among_equals() -> None:
    mesh = Mesh()
    mesh.remote("slow").window.succeeded(300.0)
    mesh.remote("fast").window.succeeded(100.0)
    mesh.remote("old", version="1.0")
    mesh.remote("new", version="1.4")

    assert mesh.order() == ["fast", "slow", "new", "old"]


def test_what_its_own_node_calls_unavailable_comes_last() -> None:
    mesh = Mesh()
    mesh.remote("doubtful", available=False).window.succeeded(1.0)
    mesh.remote("slow").window.succeeded(5000.0)

    assert mesh.order() == ["slow", "doubtful"]


@pytest.mark.parametrize(
    ("fields", "question", "reason"),
    [
        ({"version": "2.0"}, {}, Reason.VERSION),
        ({"params": {"model": "other"}}, {}, Reason.PARAMS),
        ({"draining": True}, {}, Reason.DRAINING),
        ({}, {"path": ("node-b",)}, Reason.HOP),
    ],
)
def test_a_peer_is_refused_for(fields: dict[str, Any], question: dict[str, Any], reason: Reason) -> None:
    mesh = Mesh()
    mesh.remote("node-b", **{"params": {"model": "m"}, **fields})
    ask = Question(capability="llm.chat", version=(1, 0), params={"model": "m"}, **question)

    assert mesh.reasons(ask) == [reason]


def test_a_peer_is_fresh_for_60_s_and_stale_beyond() -> None:
    mesh = Mesh()
    mesh.remote("node-b")

    mesh.clock.advance(60.0)
    at_60 = mesh.order()
    mesh.clock.advance(0.1)

    assert at_60 == ["node-b"]
    assert mesh.reasons() == [Reason.STALE]


@pytest.mark.parametrize(
    ("refusal", "detail"),
    [
        (Refusal(Reason.BREAKER_OPEN, 41.2), "41 s left"),
        (Refusal(Reason.HALF_OPEN_BUSY), ""),
        (Refusal(Reason.COOLING, 15.0), "15 s left"),
        (Refusal(Reason.FORCED_OPEN), ""),
    ],
)
def test_a_breaker_that_refuses_gives_its_reason_and_time(refusal: Refusal, detail: str) -> None:
    mesh = Mesh()
    mesh.local()
    mesh.refusals["mine"] = refusal

    candidate = mesh.choose().refused[0]

    assert (candidate.reason, candidate.detail) == (refusal.reason, detail)
    assert candidate.seconds_remaining == refusal.seconds_remaining


def test_a_full_provider_is_refused_for_capacity() -> None:
    mesh = Mesh()
    mesh.local().in_flight = 5

    assert mesh.choose().refused[0].detail == "5 of 5 in flight"
    assert mesh.reasons() == [Reason.CAPACITY]


def test_what_was_tried_is_excluded() -> None:
    mesh = Mesh()
    tried = mesh.local()

    ask = Question(capability="llm.chat", version=(1, 0), excluded=[tried])

    assert mesh.reasons(ask) == [Reason.EXCLUDED]


def test_a_draining_node_refuses_its_own_and_looks_at_peers() -> None:
    mesh = Mesh()
    mesh.local()
    mesh.remote("node-b")

    ask = Question(capability="llm.chat", version=(1, 0), draining=True)

    assert mesh.order(ask) == ["node-b"]
    assert mesh.reasons(ask) == [Reason.DRAINING]


def test_a_peers_call_sees_local_entries_alone() -> None:
    mesh = Mesh()
    mesh.remote("node-b")

    ask = Question(capability="llm.chat", version=(1, 0), local_only=True)

    assert mesh.choose(ask) == Choice([], [])


def test_the_first_reason_in_the_designs_order_is_the_one_given() -> None:
    mesh = Mesh()
    entry = mesh.remote("node-b", draining=True, version="2.0")
    entry.in_flight = 5
    mesh.refusals["node:node-b"] = Refusal(Reason.BREAKER_OPEN, 1.0)

    by_version = mesh.reasons()
    by_draining = mesh.reasons(Question(capability="llm.chat", version=(2, 0)))
    entry.peer.draining = False  # type: ignore[union-attr]
    by_breaker = mesh.reasons(Question(capability="llm.chat", version=(2, 0)))

    assert (by_version, by_draining, by_breaker) == (
        [Reason.VERSION],
        [Reason.DRAINING],
        [Reason.BREAKER_OPEN],
    )


@pytest.mark.parametrize(
    ("reasons", "code", "wait"),
    [
        ([], Code.NOT_FOUND, None),
        ([Reason.VERSION, Reason.PARAMS], Code.NOT_FOUND, None),
        ([Reason.CAPACITY], Code.CAPACITY_EXCEEDED, 1.0),
        ([Reason.CAPACITY, Reason.PARAMS], Code.CAPACITY_EXCEEDED, 1.0),
        ([Reason.COOLING], Code.RATE_LIMITED, 7.0),
        ([Reason.COOLING, Reason.CAPACITY], Code.RATE_LIMITED, 7.0),
        ([Reason.COOLING, Reason.STALE], Code.NO_HEALTHY_PROVIDER, 7.0),
        ([Reason.DRAINING], Code.NO_HEALTHY_PROVIDER, 1.0),
        ([Reason.EXCLUDED, Reason.CAPACITY], Code.CAPACITY_EXCEEDED, 1.0),
        ([Reason.HOP], Code.NO_HEALTHY_PROVIDER, None),
    ],
)
def test_nobody_says_what_is_in_the_way(reasons: list[Reason], code: Code, wait: float | None) -> None:
    entry = Mesh().local()
    refusals = [
        refused(entry, reason, seconds=7.0 if reason is Reason.COOLING else None) for reason in reasons
    ]

    error = nobody(Question(capability="llm.chat", version=(1, 0), params={"model": "m"}), refusals)

    assert error.code is code
    assert error.retry_after_seconds == wait
    assert "llm.chat 1.0 with model 'm'" in error.message


def test_who_does_not_stream_is_refused_a_stream() -> None:
    mesh = Mesh()
    mesh.local()

    ask = Question(capability="llm.chat", version=(1, 0), stream=True)

    assert mesh.choose(ask).refused[0].detail == "doesn't stream"


def test_only_who_can_go_on_from_a_text_is_asked_for_the_rest_of_an_answer() -> None:
    mesh = Mesh()
    mesh.remote("node-b", params={"continuation": "none"})
    mesh.remote("node-c", params={"continuation": "prefill"})
    ask = Question(capability="llm.chat", version=(1, 0), continues=True)

    choice = mesh.choose(ask)

    assert [ranked.entry.node_id for ranked in choice.ordered] == ["node-c"]
    assert choice.refused[0].detail == "can't go on from a partial answer"


@pytest.mark.parametrize(
    ("path", "draining", "code"),
    [
        (("node-b",), False, None),
        (("node-b", "node-a"), False, Code.HOP),
        (("b", "c", "d", "e", "f"), False, Code.HOP),
        (("node-b",), True, Code.DRAINING),
    ],
)
def test_a_peers_call_is_turned_away_when_it_was_here_came_too_far_or_the_node_drains(
    path: tuple[str, ...], draining: bool, code: Code | None
) -> None:
    error = turned_away(RouteRequest("llm.chat", (1, 0), {}, path=path), node_id="node-a", draining=draining)

    assert (error.code if error else None) == code
