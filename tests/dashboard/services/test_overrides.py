"""Overrides: one word about a breaker, on one node or on all, until it is lifted or over."""

from datetime import datetime, timedelta

import pytest

from dashboard.models import Action as Audited
from dashboard.models import AuditEntry, Change, DesiredState, Node, Outcome, ProviderHealth
from dashboard.services import drain, nodes, overrides
from dashboard.services.actor import SYSTEM, Actor
from dashboard.services.desired import GenerationMismatch
from dashboard.services.overrides import InvalidOverride
from meshcore.override import OVERRIDES_MAX, RESET_SECONDS, Action
from tests.dashboard.services.test_drain import ALICE

pytestmark = pytest.mark.django_db


def put(node: Node | None, now: datetime, action: Action = Action.FORCE_OPEN, **more: object) -> list[object]:
    wish = {"key": "groq", "reason": "it lies", "expires_seconds": None, "actor": ALICE, **more}
    done = overrides.put(node=node, action=action, now=now, **wish)  # type: ignore[arg-type]
    return [(each.node.name, each.generation, each.changed) for each in done]


def wanted(node: Node) -> list[tuple[str, str]]:
    state = DesiredState.objects.get(node=node)
    return [(each["key"], each["action"]) for each in state.overrides]


def entries(action: Audited) -> list[AuditEntry]:
    return list(AuditEntry.objects.filter(action=action.value).order_by("n"))


def later(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)


@pytest.fixture
def other(node: Node, now: datetime) -> Node:
    return nodes.add(name="node-b", actor=SYSTEM, now=now)[0]


def reports(node: Node, key: str, now: datetime) -> None:
    ProviderHealth.objects.create(node=node, key=key, state="closed", observed_at=now)


def test_an_override_is_ordered_with_its_words_and_audited(node: Node, now: datetime) -> None:
    Change.objects.all().delete()

    assert put(node, now, expires_seconds=60.0) == [("node-a", 1, True)]

    state = DesiredState.objects.get(node=node)
    assert state.overrides == [
        {
            "key": "groq",
            "action": "force_open",
            "actor": "alice",
            "reason": "it lies",
            "at": "2026-01-01T12:00:00Z",
            "expires_at": "2026-01-01T12:01:00Z",
        }
    ]
    [entry] = entries(Audited.BREAKER_FORCE_OPEN)
    assert (entry.target, entry.actor_name, entry.address) == ("node:node-a", "alice", "192.0.2.1")
    assert (entry.generation, entry.reason, entry.before) == (1, "it lies", None)
    assert entry.after == state.overrides[0]
    published = {"orders:node-a", "node:node-a", "providers:node-a", "overrides", "audit"}
    assert set(Change.objects.values_list("key", flat=True)) == published


def test_the_same_wish_again_is_no_new_generation_and_is_audited(node: Node, now: datetime) -> None:
    put(node, now)

    assert put(node, later(now, 5)) == [("node-a", 1, False)]

    assert len(entries(Audited.BREAKER_FORCE_OPEN)) == 2


def test_another_word_about_the_same_breaker_takes_the_place_of_the_former(node: Node, now: datetime) -> None:
    put(node, now)

    put(node, now, Action.FORCE_CLOSED)

    assert wanted(node) == [("groq", "force_closed")]
    [entry] = entries(Audited.BREAKER_FORCE_CLOSED)
    assert entry.before is not None
    assert entry.before["action"] == "force_open"


def test_a_second_reset_is_done_again(node: Node, now: datetime) -> None:
    assert put(node, now, Action.RESET) == [("node-a", 1, True)]
    assert put(node, now, Action.RESET) == [("node-a", 2, True)]


def test_a_reset_that_is_over_leaves_with_the_next_change_and_without_a_word(
    node: Node, now: datetime
) -> None:
    put(node, now, Action.RESET)

    assert overrides.expire(now=later(now, RESET_SECONDS)) == 0
    put(node, later(now, RESET_SECONDS), key="ollama")

    assert wanted(node) == [("ollama", "force_open")]
    assert entries(Audited.BREAKER_LIFT) == []


def test_without_a_node_it_is_ordered_wherever_the_provider_is_known(
    node: Node, other: Node, now: datetime
) -> None:
    nodes.add(name="node-c", actor=SYSTEM, now=now)
    reports(node, "groq", now)
    reports(other, "groq/llama3", now)

    done = put(None, now, key="groq/llama3")

    assert done == [("node-a", 1, True), ("node-b", 1, True)]
    assert [entry.target for entry in entries(Audited.BREAKER_FORCE_OPEN)] == ["node:node-a", "node:node-b"]


def test_a_provider_that_nobody_told_of_is_overridden_everywhere(
    node: Node, other: Node, now: datetime
) -> None:
    reports(node, "ollama", now)

    assert put(None, now) == [("node-a", 1, True), ("node-b", 1, True)]


def test_lifting_ends_it_and_lifting_again_changes_nothing(node: Node, other: Node, now: datetime) -> None:
    put(node, now)

    first = overrides.lift(node=None, key="groq", reason="it is well", actor=ALICE, now=now)
    second = overrides.lift(node=node, key="groq", reason="", actor=ALICE, now=now)
    third = overrides.lift(node=None, key="groq", reason="", actor=ALICE, now=now)

    assert [(each.node.name, each.generation, each.changed) for each in first] == [("node-a", 2, True)]
    assert [(each.generation, each.changed) for each in second] == [(2, False)]
    assert third == []
    assert wanted(node) == []
    assert [entry.target for entry in entries(Audited.BREAKER_LIFT)] == [
        "node:node-a",
        "node:node-a",
        "breaker:groq",
    ]


def test_what_is_over_is_ended_by_the_system_with_a_generation_of_its_own(node: Node, now: datetime) -> None:
    put(node, now, expires_seconds=60.0)
    put(node, now, key="ollama")

    assert overrides.expire(now=later(now, 59.9)) == 0
    assert overrides.expire(now=later(now, 60)) == 1
    assert overrides.expire(now=later(now, 61)) == 0

    assert wanted(node) == [("ollama", "force_open")]
    assert DesiredState.objects.get(node=node).generation == 3
    [entry] = entries(Audited.BREAKER_LIFT)
    assert (entry.actor_kind, entry.reason, entry.generation) == ("system", "expired", 3)


def test_what_is_over_but_not_ended_yet_is_ended_before_the_next_change(node: Node, now: datetime) -> None:
    put(node, now, expires_seconds=60.0)

    assert put(node, later(now, 60), key="ollama") == [("node-a", 3, True)]

    assert wanted(node) == [("ollama", "force_open")]
    assert len(entries(Audited.BREAKER_LIFT)) == 1


def test_an_override_and_a_drain_leave_each_other_alone(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=ALICE, now=now)
    put(node, now)
    drain.cancel(node=node, actor=ALICE, now=now)

    state = DesiredState.objects.get(node=node)
    assert (state.generation, state.drain) == (3, None)
    assert wanted(node) == [("groq", "force_open")]


def test_who_knew_another_generation_is_refused_on_record(node: Node, now: datetime) -> None:
    put(node, now)

    with pytest.raises(GenerationMismatch) as refused:
        put(node, now, Action.FORCE_CLOSED, if_generation=0)

    assert refused.value.current == 1
    assert wanted(node) == [("groq", "force_open")]
    [entry] = entries(Audited.BREAKER_FORCE_CLOSED)
    assert entry.outcome == Outcome.REFUSED.value
    assert put(node, now, Action.FORCE_CLOSED, if_generation=1) == [("node-a", 2, True)]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"key": ""}, "key"),
        ({"key": " groq"}, "key"),
        ({"key": "gr\x00oq"}, "key"),
        ({"key": "g" * 331}, "key"),
        ({"reason": "r" * 501}, "reason"),
        ({"expires_seconds": 0.0}, "expires_seconds"),
        ({"expires_seconds": float("nan")}, "expires_seconds"),
        ({"expires_seconds": overrides.EXPIRES_MAX_SECONDS + 1}, "expires_seconds"),
        ({"action": Action.RESET, "expires_seconds": 60.0}, "expires_seconds"),
        ({"node": None, "if_generation": 1}, "if_generation"),
    ],
)
def test_what_is_out_of_bounds_changes_nothing(
    node: Node, now: datetime, wrong: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidOverride) as refused:
        put(**{"node": node, "now": now, **wrong})  # type: ignore[arg-type]

    assert refused.value.field == field
    assert DesiredState.objects.get(node=node).generation == 0
    assert not AuditEntry.objects.filter(action__startswith="breaker").exists()


def test_a_node_has_only_so_many_overrides(node: Node, now: datetime) -> None:
    plain = {"action": "force_open", "actor": "", "reason": "", "at": None, "expires_at": None}
    full = [{"key": f"p{n}", **plain} for n in range(OVERRIDES_MAX)]
    DesiredState.objects.filter(node=node).update(overrides=full)

    with pytest.raises(InvalidOverride, match=str(OVERRIDES_MAX)):
        put(node, now)

    assert put(node, now, key="p7", action=Action.FORCE_CLOSED) == [("node-a", 1, True)]


def test_what_is_wanted_of_a_node_fits_in_a_frame(node: Node, now: datetime) -> None:
    long = {"action": "force_open", "actor": "", "reason": "r" * 500, "at": None, "expires_at": None}
    DesiredState.objects.filter(node=node).update(overrides=[{"key": f"p{n}", **long} for n in range(450)])

    with pytest.raises(InvalidOverride, match="bytes"):
        put(node, now)

    assert DesiredState.objects.get(node=node).generation == 0


def test_an_override_by_a_token_names_the_token(node: Node, now: datetime) -> None:
    from dashboard.models import ActorKind

    ci = Actor(kind=ActorKind.TOKEN, name="ci", token_prefix="k3v9x2qa")

    put(node, now, actor=ci)

    assert DesiredState.objects.get(node=node).overrides[0]["actor"] == "ci"
