"""Drains: desired state, generation, audit and steps move together."""

import random
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection

from dashboard.models import (
    Action,
    ActorKind,
    AuditEntry,
    Change,
    DesiredState,
    Drain,
    DrainStatus,
    Node,
    Outcome,
)
from dashboard.services import audit, drain
from dashboard.services.actor import SYSTEM, Actor
from dashboard.services.drain import GenerationMismatch, GuardsRefused, InvalidWish
from meshcore.guards import BlockerKind
from tests.dashboard.web.factory import seen_node

pytestmark = pytest.mark.django_db
ALICE = Actor(kind=ActorKind.USER, name="alice", address="192.0.2.1")
CI = Actor(kind=ActorKind.TOKEN, name="ci", token_prefix="k3v9x2qa")


def entries(action: Action) -> list[AuditEntry]:
    """Return the audit entries of one action, oldest first."""
    return list(AuditEntry.objects.filter(action=action.value).order_by("n"))


def steps(of: Drain) -> list[str]:
    """Return the names of a drain's steps in order."""
    return list(of.steps.values_list("step", flat=True))


def later(now: datetime, seconds: float) -> datetime:
    """Return the time so many seconds after `now`."""
    return now + timedelta(seconds=seconds)


def test_a_drain_raises_the_generation_and_says_who_and_why(node: Node, now: datetime) -> None:
    result = drain.request(
        node=node, actor=ALICE, reason="kernel update", deadline_seconds=60, expires_seconds=3600, now=now
    )

    assert (result.generation, result.changed) == (1, True)
    desired = DesiredState.objects.get(node=node)
    assert desired.generation == 1
    assert desired.drain == {
        "since": "2026-01-01T12:00:00Z",
        "by": "alice",
        "reason": "kernel update",
        "deadline_at": "2026-01-01T12:01:00Z",
        "force": False,
        "sticky": True,
        "expires_at": "2026-01-01T13:00:00Z",
    }
    [entry] = entries(Action.DRAIN)
    assert (entry.actor_name, entry.address, entry.target) == ("alice", "192.0.2.1", "node:node-a")
    assert (entry.reason, entry.generation, entry.before) == ("kernel update", 1, None)
    assert entry.after is not None
    assert entry.after["sticky"] is True
    assert steps(result.drain) == ["requested"]


def test_what_pages_show_is_announced(node: Node, now: datetime) -> None:
    Change.objects.all().delete()

    drain.request(node=node, actor=ALICE, now=now)

    said = {"orders:node-a", "node:node-a", "nodes", "drains", "audit"}
    assert set(Change.objects.values_list("key", flat=True)) == said


def test_a_drain_by_a_token_is_not_sticky_unless_it_says_so(node: Node, now: datetime) -> None:
    assert drain.request(node=node, actor=CI, now=now).drain.sticky is False
    assert drain.request(node=node, actor=CI, sticky=True, now=now).drain.sticky is True


def test_the_same_wish_again_changes_nothing_and_is_audited(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=ALICE, reason="update", now=now)

    again = drain.request(node=node, actor=CI, now=later(now, 5))

    assert (again.generation, again.changed) == (1, False)
    assert again.drain.by_name == "alice"
    assert [entry.actor_name for entry in entries(Action.DRAIN)] == ["alice", "ci"]


def test_an_update_keeps_what_it_does_not_mention_and_when_it_began(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=ALICE, reason="update", meta={"ticket": 7}, now=now)

    result = drain.request(node=node, actor=CI, deadline_seconds=30, force=True, now=later(now, 60))

    assert (result.generation, result.changed) == (2, True)
    assert (result.drain.started_at, result.drain.by_name) == (now, "alice")
    assert (result.drain.reason, result.drain.sticky, result.drain.meta) == ("update", True, {"ticket": 7})
    assert result.drain.deadline_at == later(now, 90)
    assert steps(result.drain) == ["requested", "updated"]
    assert Drain.objects.count() == 1


def test_a_deadline_can_be_taken_back(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=ALICE, deadline_seconds=30, now=now)

    assert drain.request(node=node, actor=ALICE, deadline_seconds=None, now=now).drain.deadline_at is None


def test_overriding_the_guards_is_recorded(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=ALICE, override_guards=True, now=now)

    after = entries(Action.DRAIN)[0].after
    assert after is not None
    assert after["override_guards"] is True


@pytest.mark.parametrize(
    ("wish", "field"),
    [
        ({"reason": "x" * 501}, "reason"),
        ({"deadline_seconds": 0}, "deadline_seconds"),
        ({"deadline_seconds": -1.0, "force": True}, "deadline_seconds"),
        ({"deadline_seconds": 604_801.0}, "deadline_seconds"),
        ({"deadline_seconds": float("nan")}, "deadline_seconds"),
        ({"deadline_seconds": float("inf")}, "deadline_seconds"),
        ({"expires_seconds": 0}, "expires_seconds"),
        ({"expires_seconds": 2_592_001.0}, "expires_seconds"),
    ],
)
def test_a_wish_out_of_bounds_is_named_and_changes_nothing(
    wish: dict[str, Any], field: str, node: Node, now: datetime
) -> None:
    with pytest.raises(InvalidWish) as refused:
        drain.request(node=node, actor=ALICE, now=now, **wish)

    assert refused.value.field == field
    assert not entries(Action.DRAIN)
    assert DesiredState.objects.get(node=node).generation == 0


def test_a_deadline_of_zero_with_force_means_now(node: Node, now: datetime) -> None:
    assert (
        drain.request(node=node, actor=ALICE, deadline_seconds=0, force=True, now=now).drain.deadline_at
        == now
    )


def test_a_cancel_ends_the_drain_and_raises_the_generation(node: Node, now: datetime) -> None:
    begun = drain.request(node=node, actor=ALICE, reason="update", now=now)

    result = drain.cancel(node=node, actor=CI, reason="done", now=later(now, 60))

    assert (result.was_draining, result.generation) == (True, 2)
    desired = DesiredState.objects.get(node=node)
    assert (desired.drain, desired.generation) == (None, 2)
    ended = Drain.objects.get(pk=begun.drain.pk)
    assert (ended.status, ended.ended_at) == (DrainStatus.CANCELLED.value, later(now, 60))
    assert steps(ended) == ["requested", "cancelled"]
    [entry] = entries(Action.UNDRAIN)
    assert (entry.actor_name, entry.reason, entry.generation) == ("ci", "done", 2)
    assert entry.before is not None
    assert entry.before["reason"] == "update"


def test_cancelling_what_is_not_there_changes_nothing_and_is_audited(node: Node, now: datetime) -> None:
    result = drain.cancel(node=node, actor=CI, now=now)

    assert (result.was_draining, result.generation) == (False, 0)
    assert len(entries(Action.UNDRAIN)) == 1


def test_a_cancel_with_too_long_a_reason_changes_nothing(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=ALICE, now=now)

    with pytest.raises(InvalidWish):
        drain.cancel(node=node, actor=ALICE, reason="x" * 501, now=now)

    assert DesiredState.objects.get(node=node).generation == 1


def test_a_drain_ends_when_its_time_is_over(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=CI, expires_seconds=60, now=now)

    assert drain.expire(now=later(now, 59)) == 0
    assert drain.expire(now=later(now, 60)) == 1
    assert drain.expire(now=later(now, 61)) == 0

    assert DesiredState.objects.get(node=node).drain is None
    assert Drain.objects.get().status == DrainStatus.EXPIRED.value
    [entry] = entries(Action.UNDRAIN)
    assert (entry.actor_kind, entry.actor_name, entry.reason) == ("system", "system", "expired")


def test_a_wish_after_the_end_of_an_expired_drain_begins_a_new_one(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=CI, reason="old", expires_seconds=60, now=now)

    result = drain.request(node=node, actor=ALICE, now=later(now, 61))

    assert (result.generation, result.drain.reason, result.drain.expires_at) == (3, "", None)
    assert Drain.objects.count() == 2


def test_a_drain_that_would_take_the_last_provider_is_refused_on_record(db: None, now: datetime) -> None:
    node = seen_node("node-a", now=now)

    with pytest.raises(GuardsRefused, match=r"node-a has the last healthy provider of llm\.chat") as refused:
        drain.request(node=node, actor=ALICE, force=True, now=now)

    assert [blocker.kind for blocker in refused.value.blockers] == [BlockerKind.LAST_PROVIDER]
    assert not Drain.objects.exists()
    assert not DesiredState.objects.filter(generation__gt=0).exists()
    [entry] = entries(Action.DRAIN)
    assert (entry.outcome, entry.actor_name) == (Outcome.REFUSED.value, "alice")
    assert entry.reason == str(refused.value)


def test_who_overrides_the_guards_is_on_record_with_what_was_overridden(db: None, now: datetime) -> None:
    node = seen_node("node-a", now=now)

    done = drain.request(node=node, actor=ALICE, override_guards=True, now=now).drain

    assert done.override_guards
    assert not done.force, "one doesn't imply the other"
    assert [blocker["kind"] for blocker in done.blockers] == ["last_provider"]
    [entry] = entries(Action.DRAIN)
    assert entry.after is not None
    assert (entry.after["override_guards"], entry.after["blockers"]) == (True, done.blockers)


def test_a_drain_that_is_on_is_updated_without_asking_the_guards(db: None, now: datetime) -> None:
    node = seen_node("node-a", now=now)
    drain.request(node=node, actor=ALICE, override_guards=True, now=now)

    assert drain.request(node=node, actor=CI, deadline_seconds=60, now=now).changed

    assert Drain.objects.get().override_guards, "that was so when it began"


def test_who_knew_another_generation_drains_nothing_and_is_on_record(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=ALICE, now=now)

    for act in (drain.request, drain.cancel):
        with pytest.raises(GenerationMismatch, match="0 was expected, the present one is 1") as refused:
            act(node=node, actor=CI, if_generation=0, now=now)
        assert refused.value.current == 1

    assert DesiredState.objects.get(node=node).generation == 1
    assert [entry.outcome for entry in entries(Action.UNDRAIN)] == [Outcome.REFUSED.value]
    assert drain.cancel(node=node, actor=CI, if_generation=1, now=now).was_draining


@pytest.mark.django_db(transaction=True)
def test_of_the_last_two_healthy_nodes_drained_at_once_by_many_exactly_one_is(now: datetime) -> None:
    pair = [seen_node("node-a", now=now), seen_node("node-b", now=now)]
    attempts = 50
    accepted: list[tuple[str, bool]] = []
    refused: list[str] = []
    ready = threading.Barrier(4)

    def drain_again_and_again(node: Node, times: int) -> None:
        ready.wait()
        for _ in range(times):
            try:
                accepted.append((node.name, drain.request(node=node, actor=CI, now=now).changed))
            except GuardsRefused:
                refused.append(node.name)
        connection.close()

    threads = [
        threading.Thread(target=drain_again_and_again, args=(node, attempts // 2)) for node in pair * 2
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    drained = {name for name, _ in accepted}
    assert len(drained) == 1
    assert sum(changed for _, changed in accepted) == 1
    assert len(accepted) == len(refused) == attempts
    assert drained.isdisjoint(refused)
    assert Drain.objects.count() == 1
    written = AuditEntry.objects.filter(action=Action.DRAIN.value)
    assert written.filter(outcome=Outcome.DONE.value).count() == attempts
    assert written.filter(outcome=Outcome.REFUSED.value).count() == attempts
    assert audit.verify().ok


@pytest.mark.django_db(transaction=True)
def test_people_and_machines_at_once_leave_one_line_of_generations_and_one_entry_per_attempt(
    node: Node,
) -> None:
    workers, attempts = 4, 12
    told: list[int] = []
    ready = threading.Barrier(workers)

    def drain_and_cancel(seed: int) -> None:
        dice = random.Random(seed)
        moves: list[Callable[..., drain.DrainResult | drain.CancelResult]] = [drain.request, drain.cancel]
        ready.wait()
        for _ in range(attempts):
            told.append(
                dice.choice(moves)(node=node, actor=ALICE, reason=f"{seed} {dice.random()}").generation
            )
        connection.close()

    threads = [threading.Thread(target=drain_and_cancel, args=(seed,)) for seed in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    written = AuditEntry.objects.filter(action__in=[Action.DRAIN.value, Action.UNDRAIN.value]).order_by("n")
    assert len(told) == written.count() == workers * attempts
    generations = [
        entry.generation for entry in written if entry.before or entry.action == Action.DRAIN.value
    ]
    assert generations == list(range(1, len(generations) + 1))
    assert DesiredState.objects.get(node=node).generation == len(generations)
    assert set(told) <= {0, *generations}
    assert {entry.outcome for entry in written} == {Outcome.DONE.value}
    assert audit.verify().ok


def test_a_system_actor_may_drain_too(node: Node, now: datetime) -> None:
    assert drain.request(node=node, actor=SYSTEM, now=now).drain.by_kind == "system"
