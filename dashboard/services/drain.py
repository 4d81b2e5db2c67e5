"""Drains on the dashboard's side: asked for, changed, ended; always with the desired state and its audit
entry in one transaction (drain-and-control §2).

    request -> active -> cancelled | expired | ended_by_restart

A drain is `drained` only when the node says so; what the node reports of it is written by `drain_steps`,
and what its hello changes by `drain_hello`.
"""

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from django.db import transaction
from msgspec import UNSET

from dashboard.models import (
    Action,
    ActorKind,
    Drain,
    DrainStatus,
    Node,
    Step,
)
from dashboard.selectors import guards
from dashboard.services import audit, desired, drain_record
from dashboard.services.actor import Actor
from dashboard.services.desired import GenerationMismatch
from dashboard.services.drain_steps import record_node_step, record_sent
from dashboard.services.drain_wish import InvalidWish, Seconds, Wish, facts
from meshcore.clock import utcnow
from meshcore.frames import DesiredDrain
from meshcore.guards import Blocker

__all__ = [
    "ON_RECORD",
    "CancelResult",
    "DrainResult",
    "GenerationMismatch",
    "GuardsRefused",
    "InvalidWish",
    "cancel",
    "expire",
    "record_node_step",
    "record_sent",
    "request",
]

logger = logging.getLogger(__name__)


class GuardsRefused(Exception):
    """The drain would take from the mesh what its guards keep; `blockers` say what."""

    def __init__(self, blockers: list[Blocker]) -> None:
        super().__init__("; ".join(blocker.detail for blocker in blockers))
        self.blockers = blockers


ON_RECORD = (GuardsRefused, GenerationMismatch)
"""Refusals that are in the audit trail by the time they are raised: nobody else writes them there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainResult:
    """The drain as it stands; `changed` False: it was already just so, and the generation stayed."""

    generation: int
    changed: bool
    drain: Drain


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelResult:
    """`was_draining` False: there was nothing to cancel, and the generation stayed."""

    was_draining: bool
    generation: int


def request(
    *,
    node: Node,
    actor: Actor,
    reason: str = "",
    deadline_seconds: Seconds = UNSET,
    force: bool | None = None,
    sticky: bool | None = None,
    expires_seconds: Seconds = UNSET,
    meta: dict[str, Any] | None = None,
    override_guards: bool = False,
    if_generation: int | None = None,
    now: datetime | None = None,
) -> DrainResult:
    """Drain a node, or change the drain that is on, which keeps its start and who started it.

    What isn't given stays as it is. A new drain is sticky when a person asks for it. Raises InvalidWish;
    GuardsRefused and GenerationMismatch, which are in the audit trail by then.
    """
    wish = Wish(
        reason=reason,
        deadline_seconds=deadline_seconds,
        force=force,
        sticky=sticky,
        expires_seconds=expires_seconds,
        meta=meta,
        override_guards=override_guards,
    )
    now = now or utcnow()
    try:
        result = _request(node, actor, wish, if_generation=if_generation, now=now)
    except (GuardsRefused, GenerationMismatch) as exc:
        target = audit.node_target(node.name)
        audit.refuse(actor=actor, action=Action.DRAIN, target=target, reason=str(exc), now=now)
        raise
    logger.info("drain of %s: generation %d, changed %s", node.name, result.generation, result.changed)
    return result


def _request(
    node: Node, actor: Actor, wish: Wish, *, if_generation: int | None, now: datetime
) -> DrainResult:
    with transaction.atomic():
        head = audit.locked_head()
        state = desired.locked(node=node, now=now)
        drain = drain_record.active(head, state, node, now=now)
        desired.check(state, if_generation=if_generation)
        before = None if drain is None else facts(drain)
        drain = drain or _new(node, actor, generation=state.generation + 1, now=now)
        wish.apply_to(drain, now=now)
        if before is None:
            _pass_guards(drain, overridden=wish.override_guards, now=now)
        changed = facts(drain) != before
        if changed:
            drain.generation = desired.put_drain(state, _as_desired(drain), now=now)
            drain.save()
            drain_record.step(
                drain, Step.REQUESTED if before is None else Step.UPDATED, detail=f"by {actor.name}", now=now
            )
        audit.record(
            head=head,
            actor=actor,
            action=Action.DRAIN,
            target=audit.node_target(node.name),
            before=before,
            after={**facts(drain), "override_guards": wish.override_guards, "blockers": drain.blockers},
            reason=wish.reason,
            generation=state.generation,
            now=now,
        )
        drain_record.publish(node, now=now)
    return DrainResult(generation=state.generation, changed=changed, drain=drain)


def cancel(
    *,
    node: Node,
    actor: Actor,
    reason: str = "",
    if_generation: int | None = None,
    now: datetime | None = None,
) -> CancelResult:
    """End the drain of a node; cancelling what isn't there changes nothing and is audited all the same.

    Raises InvalidWish when the reason is too long; GenerationMismatch, which is in the audit trail by then.
    """
    wish = Wish(reason=reason)
    now = now or utcnow()
    try:
        result = _cancel(node, actor, wish, if_generation=if_generation, now=now)
    except GenerationMismatch as exc:
        target = audit.node_target(node.name)
        audit.refuse(actor=actor, action=Action.UNDRAIN, target=target, reason=str(exc), now=now)
        raise
    logger.info(
        "undrain of %s: generation %d, was draining %s", node.name, result.generation, result.was_draining
    )
    return result


def _cancel(
    node: Node, actor: Actor, wish: Wish, *, if_generation: int | None, now: datetime
) -> CancelResult:
    with transaction.atomic():
        head = audit.locked_head()
        state = desired.locked(node=node, now=now)
        drain = drain_record.active(head, state, node, now=now)
        desired.check(state, if_generation=if_generation)
        if drain is None:
            drain_record.record_end(head, state, node, actor=actor, before=None, reason=wish.reason, now=now)
        else:
            drain_record.end(
                head, state, drain, DrainStatus.CANCELLED, actor=actor, reason=wish.reason, now=now
            )
        drain_record.publish(node, now=now)
    return CancelResult(was_draining=drain is not None, generation=state.generation)


def expire(*, now: datetime) -> int:
    """End every drain whose time is over; returns how many. To be called every second or so."""
    due = Drain.objects.filter(status=DrainStatus.ACTIVE.value, expires_at__lte=now)
    return sum(_expire_one(node, now=now) for node in Node.objects.filter(drains__in=due))


def _pass_guards(drain: Drain, *, overridden: bool, now: datetime) -> None:
    """Note in a new drain what it overrides; raises GuardsRefused."""
    found = guards.judge(name=drain.node.name, community=drain.node.community, now=now)
    if found and not overridden:
        raise GuardsRefused(found)
    drain.override_guards, drain.blockers = overridden, msgspec.to_builtins(found)


def _new(node: Node, actor: Actor, *, generation: int, now: datetime) -> Drain:
    boot_epoch = Node.objects.values_list("boot_epoch", flat=True).get(pk=node.pk)
    return Drain(
        node=node,
        first_generation=generation,
        started_at=now,
        by_kind=actor.kind.value,
        by_name=actor.name,
        sticky=actor.kind is ActorKind.USER,
        boot_epoch=boot_epoch,
    )


def _as_desired(drain: Drain) -> DesiredDrain:
    return DesiredDrain(
        since=drain.started_at,
        by=drain.by_name,
        reason=drain.reason,
        deadline_at=drain.deadline_at,
        force=drain.force,
        sticky=drain.sticky,
        expires_at=drain.expires_at,
    )


def _expire_one(node: Node, *, now: datetime) -> bool:
    with transaction.atomic():
        head = audit.locked_head()
        state = desired.locked(node=node, now=now)
        generation = state.generation
        drain_record.active(head, state, node, now=now)
    return state.generation > generation
