"""What happens to a drain on its way: sent by us, then carried out and reported by the node.

A step that the node reports is what came of somebody's action, so the first of each kind goes into the audit
trail, linked to the entry that caused it. So does the acknowledgement of every other order.
"""

import re
from datetime import datetime

from django.db import transaction

from dashboard.models import (
    STEP_MAX_CHARACTERS,
    Action,
    AuditEntry,
    Drain,
    DrainStep,
    Node,
    Outcome,
    Step,
    StepSource,
)
from dashboard.services import actor, audit, changes
from meshcore.frames import DrainStepItem

STEP_NAME = re.compile(rf"[a-z_]{{1,{STEP_MAX_CHARACTERS}}}")
COUNT_MAX = 2**31 - 1  # what the column holds
DETAIL_MAX_CHARACTERS = 500  # the rest is cut
DRAIN_CAUSES = (Action.DRAIN.value, Action.UNDRAIN.value, Action.DESIRED_RESTORE.value)
OTHER_CAUSES = (
    Action.BREAKER_FORCE_OPEN.value,
    Action.BREAKER_FORCE_CLOSED.value,
    Action.BREAKER_RESET.value,
    Action.BREAKER_LIFT.value,
    Action.ALIASES_PUT.value,
)


def record_sent(*, node: Node, generation: int, now: datetime) -> None:
    """Note that what is wanted of a drain left for the node, with this generation; once for each."""
    drain = _drain_of(node, generation)
    if drain is None or drain.generation > generation:
        return
    with transaction.atomic():
        _, new = DrainStep.objects.get_or_create(
            drain=drain,
            step=Step.SENT.value,
            source=StepSource.DASHBOARD.value,
            generation=drain.generation,
            defaults={"at": now, "received_at": now},
        )
        if new:
            changes.publish(f"node:{node.name}", "drains", now=now)


def record_node_step(*, node: Node, item: DrainStepItem, received_at: datetime) -> DrainStep | None:
    """Keep a step that the node reported, and audit it as an effect; the same one twice is kept once.

    Returns None for a step of no drain that is known here, as those of a local drain (generation 0) and the
    acknowledgement of another order, which is audited alone. Raises ValueError for values that can't be kept.
    Takes the control head's lock: call it in a transaction of its own, not in ingest's.
    """
    _check(item)
    if item.step == Step.ACKNOWLEDGED.value:
        _audit_order(node, item, received_at=received_at)
    drain = _drain_of(node, item.generation)
    if drain is None or not _concerns(drain, item):
        return None
    with transaction.atomic():
        head = (
            audit.locked_head() if item.step != Step.IN_FLIGHT.value else None
        )  # counting down is no effect yet
        first = not drain.steps.filter(
            step=item.step, generation=item.generation, source=StepSource.NODE.value
        ).exists()
        step, new = _keep(drain, item, received_at=received_at)
        if head is not None and first:
            audit.record(
                head=head,
                actor=actor.of_node(node),
                action=Action.DRAIN_EFFECT,
                target=audit.node_target(node.name),
                after={
                    "step": step.step,
                    "in_flight": step.in_flight,
                    "edge": step.edge,
                    "detail": step.detail,
                },
                outcome=Outcome.DONE,
                generation=item.generation,
                cause_n=_cause_of_drain(node, item.generation),
                now=received_at,
            )
            changes.publish("audit", now=received_at)
        if new:
            changes.publish(f"node:{node.name}", "drains", now=received_at)
    return step


def _check(item: DrainStepItem) -> None:
    if not STEP_NAME.fullmatch(item.step):
        raise ValueError(f"step={item.step[:40]!r}: expected 1 to {STEP_MAX_CHARACTERS} of a-z and _")
    for name, count in (("in_flight", item.in_flight), ("edge", item.edge)):
        if not 0 <= count <= COUNT_MAX:
            raise ValueError(f"{name}={count}: expected 0 to {COUNT_MAX}")


def _drain_of(node: Node, generation: int) -> Drain | None:
    """Return the drain that a generation belongs to: the last one that began at or before it."""
    return (
        Drain.objects.filter(node=node, first_generation__lte=generation)
        .order_by("-first_generation")
        .first()
    )


def _concerns(drain: Drain, item: DrainStepItem) -> bool:
    """Whether a step is one of the drain: an acknowledgement may be of an order that came after its last."""
    if item.step != Step.ACKNOWLEDGED.value or item.generation <= drain.generation:
        return True
    known = drain.steps.filter(step=item.step, source=StepSource.NODE.value, generation__gte=drain.generation)
    return not known.exclude(generation=item.generation).exists()


def _audit_order(node: Node, item: DrainStepItem, *, received_at: datetime) -> None:
    """Audit, once, that the node acts on an override or a table of aliases."""
    target = audit.node_target(node.name)
    entries = AuditEntry.objects.filter(target=target, generation=item.generation)
    with transaction.atomic():
        head = audit.locked_head()
        causes = entries.filter(action__in=OTHER_CAUSES, outcome=Outcome.DONE.value).order_by("n")
        cause_n = causes.values_list("n", flat=True).first()
        if cause_n is None or entries.filter(action=Action.DESIRED_EFFECT.value).exists():
            return
        audit.record(
            head=head,
            actor=actor.of_node(node),
            action=Action.DESIRED_EFFECT,
            target=target,
            after={"step": item.step},
            generation=item.generation,
            cause_n=cause_n,
            now=received_at,
        )
        changes.publish("audit", now=received_at)


def _keep(drain: Drain, item: DrainStepItem, *, received_at: datetime) -> tuple[DrainStep, bool]:
    return DrainStep.objects.get_or_create(
        drain=drain,
        step=item.step,
        source=StepSource.NODE.value,
        generation=item.generation,
        at=item.at,
        in_flight=item.in_flight,
        edge=item.edge,
        defaults={"received_at": received_at, "detail": item.detail[:DETAIL_MAX_CHARACTERS]},
    )


def _cause_of_drain(node: Node, generation: int) -> int | None:
    """Return the number of the entry that wanted of the drain what `generation` says of it.

    Repeats that changed nothing come after it.
    """
    entries = AuditEntry.objects.filter(
        target=audit.node_target(node.name),
        generation__lte=generation,
        action__in=DRAIN_CAUSES,
        outcome=Outcome.DONE.value,
    )
    return entries.order_by("-generation", "n").values_list("n", flat=True).first()
