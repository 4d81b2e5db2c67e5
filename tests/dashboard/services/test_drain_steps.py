"""What nodes report of drains: kept once, audited as effects of what caused them."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from dashboard.models import Action, AuditEntry, Change, Drain, DrainStep, Node, Step
from dashboard.services import audit, drain, overrides
from dashboard.services.actor import SYSTEM
from meshcore.drain_steps import StepName
from meshcore.frames import DrainStepItem
from meshcore.override import Action as Override

pytestmark = pytest.mark.django_db


def report(node: Node, step: str, now: datetime, *, generation: int = 1, **more: Any) -> DrainStep | None:
    """Let the node report a step that happened a second before."""
    item = DrainStepItem(seq=1, at=now - timedelta(seconds=1), generation=generation, step=step, **more)
    return drain.record_node_step(node=node, item=item, received_at=now)


def override(node: Node, now: datetime) -> None:
    """Raise the node's generation by an order that is none of its drain."""
    overrides.put(
        node=node,
        key="groq",
        action=Override.RESET,
        reason="",
        expires_seconds=None,
        actor=SYSTEM,
        now=now,
    )


def effects() -> list[AuditEntry]:
    """Return the audited effects, oldest first."""
    return list(AuditEntry.objects.filter(action=Action.DRAIN_EFFECT.value).order_by("n"))


def test_a_reported_step_is_kept_with_the_times_of_both_sides(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)

    step = report(node, "drained", now, in_flight=0, edge=2, detail="in 4.2 s")

    assert step is not None
    assert (step.source, step.at, step.received_at) == ("node", now - timedelta(seconds=1), now)
    assert (step.in_flight, step.edge, step.detail) == (0, 2, "in 4.2 s")


def test_a_step_is_audited_as_the_effect_of_the_entry_that_caused_it(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, reason="update", now=now)
    drain.request(node=node, actor=SYSTEM, now=now)  # a repeat that changes nothing
    cause = AuditEntry.objects.filter(action=Action.DRAIN.value).order_by("n")[0]

    report(node, "acknowledged", now)

    [entry] = effects()
    assert (entry.actor_kind, entry.actor_name, entry.target) == ("node", "node-a", "node:node-a")
    assert (entry.cause_n, entry.generation) == (cause.n, 1)
    assert entry.after == {"step": "acknowledged", "in_flight": 0, "edge": 0, "detail": ""}
    assert audit.verify().ok


def test_the_acknowledgement_of_an_override_is_audited_once_and_is_no_step(node: Node, now: datetime) -> None:
    override(node, now)
    cause = AuditEntry.objects.get(action=Action.BREAKER_RESET.value)

    assert report(node, "acknowledged", now) is None
    assert report(node, "acknowledged", now) is None

    [entry] = AuditEntry.objects.filter(action=Action.DESIRED_EFFECT.value)
    assert (entry.cause_n, entry.generation, entry.actor_name) == (cause.n, 1, "node-a")
    assert not effects()


def test_an_override_behind_the_end_of_a_drain_is_no_step_of_it(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)
    drain.cancel(node=node, actor=SYSTEM, now=now)
    report(node, "acknowledged", now, generation=2)
    override(node, now)

    assert report(node, "acknowledged", now, generation=3) is None

    assert [step.generation for step in DrainStep.objects.filter(step="acknowledged")] == [2]


def test_a_drain_that_a_node_heard_of_together_with_an_override_is_sent_and_acknowledged(
    node: Node, now: datetime
) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)
    override(node, now)
    drain.record_sent(node=node, generation=2, now=now)
    drain.record_sent(node=node, generation=2, now=now)

    report(node, "acknowledged", now, generation=2)
    report(node, "gate_closed", now, generation=2)
    override(node, now)
    report(node, "acknowledged", now, generation=3)

    steps = DrainStep.objects.order_by("id").values_list("step", "generation")
    assert list(steps) == [("requested", 1), ("sent", 1), ("acknowledged", 2), ("gate_closed", 2)]
    cause = AuditEntry.objects.get(action=Action.DRAIN.value)
    assert {entry.cause_n for entry in effects()} == {cause.n}
    assert AuditEntry.objects.filter(action=Action.DESIRED_EFFECT.value).count() == 2


def test_an_order_to_a_node_that_never_drained_is_no_step(node: Node, now: datetime) -> None:
    override(node, now)

    drain.record_sent(node=node, generation=1, now=now)

    assert not DrainStep.objects.exists()


def test_the_same_report_twice_counts_once(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)

    report(node, "acknowledged", now)
    Change.objects.all().delete()
    report(node, "acknowledged", now)

    assert DrainStep.objects.filter(source="node").count() == 1
    assert len(effects()) == 1
    assert not Change.objects.exists()


def test_a_step_repeated_later_is_kept_but_is_no_new_effect(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)

    report(node, "gate_closed", now)
    report(node, "gate_closed", now + timedelta(minutes=1))  # the node was started anew

    assert DrainStep.objects.filter(step="gate_closed").count() == 2
    assert len(effects()) == 1


def test_counting_down_is_kept_and_is_no_effect(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)

    for in_flight in (3, 2, 1):
        report(node, "in_flight", now, in_flight=in_flight)

    assert DrainStep.objects.filter(step="in_flight").count() == 3
    assert not effects()


def test_a_step_behind_the_cancel_belongs_to_the_drain_that_was_cancelled(node: Node, now: datetime) -> None:
    begun = drain.request(node=node, actor=SYSTEM, now=now).drain
    drain.cancel(node=node, actor=SYSTEM, now=now)
    drain.request(node=node, actor=SYSTEM, now=now)

    step = report(node, "gate_opened", now, generation=2)

    assert step is not None
    assert step.drain_id == begun.pk
    cancelled = AuditEntry.objects.get(action=Action.UNDRAIN.value)
    assert effects()[0].cause_n == cancelled.n


@pytest.mark.parametrize("generation", [0, 7])
def test_a_step_of_no_drain_known_here_is_left_alone(generation: int, node: Node, now: datetime) -> None:
    assert report(node, "drained", now, generation=generation) is None
    assert not effects()


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"step": ""}, "step"),
        ({"step": "<b>"}, "step"),
        ({"step": "x" * 25}, "step"),
        ({"step": "drained", "in_flight": -1}, "in_flight"),
        ({"step": "drained", "edge": 2**31}, "edge"),
    ],
)
def test_what_can_not_be_kept_is_refused_by_name(
    values: dict[str, Any], named: str, node: Node, now: datetime
) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)

    with pytest.raises(ValueError, match=named):
        report(node, values.pop("step"), now, **values)


def test_a_step_that_nobody_knows_yet_is_kept(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)

    assert report(node, "runs_released", now) is not None


def test_every_step_that_nodes_report_is_known_here() -> None:
    assert {step.value for step in StepName} <= {step.value for step in Step}


def test_sending_is_noted_once_for_each_generation(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)
    for generation in (1, 1, 2):
        drain.record_sent(node=node, generation=generation, now=now)
    drain.cancel(node=node, actor=SYSTEM, now=now)
    drain.record_sent(node=node, generation=2, now=now)

    sent = Drain.objects.get().steps.filter(step="sent")
    assert [step.generation for step in sent] == [1, 2]
