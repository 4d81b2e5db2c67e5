"""What operators want of breakers: held open, held closed, reset; on one node or on all (§2, "Overrides").

    put -> in force -> lifted | expired          a reset is done once, and leaves nothing in force

Each node's part is an order of its own, with its generation and its audit entry, all in one transaction. A
node ends what has expired by itself; here it ends, too, so that what is wanted and what holds stay the same.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
from django.db import transaction

from dashboard.models import Action as Audited
from dashboard.models import ControlHead, DesiredState, Node
from dashboard.selectors import providers
from dashboard.services import audit, changes, desired
from dashboard.services.actor import SYSTEM, Actor
from dashboard.services.desired import ContentTooLarge, GenerationMismatch, Ordered
from dashboard.services.words import complaint_about
from meshcore.clock import utcnow
from meshcore.override import (
    KEY_MAX_CHARACTERS,
    OVERRIDES_MAX,
    RESET_SECONDS,
    Action,
    Override,
    expired,
    is_same_wish,
)

__all__ = ["EXPIRES_MAX_SECONDS", "InvalidOverride", "expire", "lift", "put"]

TARGET_MAX_CHARACTERS = 200  # of an audit entry; the key is in the entry itself, whole
EXPIRES_MAX_SECONDS = 30 * 86_400.0
AUDITED = {
    Action.FORCE_OPEN: Audited.BREAKER_FORCE_OPEN,
    Action.FORCE_CLOSED: Audited.BREAKER_FORCE_CLOSED,
    Action.RESET: Audited.BREAKER_RESET,
}


class InvalidOverride(ValueError):
    """`field` of an override is out of bounds; `message` says the value and what is allowed."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def put(
    *,
    node: Node | None,
    key: str,
    action: Action,
    reason: str,
    expires_seconds: float | None,
    actor: Actor,
    if_generation: int | None = None,
    now: datetime | None = None,
) -> list[Ordered]:
    """Want something of the breaker `key` on `node`, or with None on every node that has that provider.

    Where no node has told of it yet, those are all nodes. `expires_seconds` None: until it is lifted; a reset
    has no end to choose. The same wish again changes nothing and is audited. Raises InvalidOverride;
    GenerationMismatch, which is in the audit trail by then.
    """
    now = now or utcnow()
    _check(node, key, reason, if_generation)
    wanted = _wanted(key, action, reason, expires_seconds, actor, now=now)
    try:
        with transaction.atomic():
            head = audit.locked_head()
            nodes = [node] if node else providers.having(key)
            done = [_put(head, each, wanted, actor, if_generation=if_generation, now=now) for each in nodes]
            _publish(nodes, now=now)
    except GenerationMismatch as exc:
        _refuse(node, key, AUDITED[action], actor, exc, now=now)
        raise
    except ContentTooLarge as exc:
        raise InvalidOverride("key", str(exc)) from exc
    return done


def lift(
    *, node: Node | None, key: str, reason: str, actor: Actor, now: datetime | None = None
) -> list[Ordered]:
    """End what is wanted of the breaker `key` on `node`, or with None wherever something is.

    Lifting what isn't there changes nothing and is audited. Raises InvalidOverride.
    """
    now = now or utcnow()
    _check(node, key, reason, None)
    with transaction.atomic():
        head = audit.locked_head()
        nodes = [node] if node else _overridden(key)
        done = [_lift(head, each, key, actor, reason, now=now) for each in nodes]
        if not nodes:
            _record(head, Audited.BREAKER_LIFT, _everywhere(key), actor, key=key, reason=reason, now=now)
        _publish(nodes, now=now)
    return done


def expire(*, now: datetime) -> int:
    """End every override whose time is over; returns on how many nodes. To be called every second or so."""
    due = Node.objects.filter(desired__override_expires_at__lte=now)
    return sum(_expire_on(node, now=now) for node in due)


def _check(node: Node | None, key: str, reason: str, if_generation: int | None) -> None:
    if not key or key != key.strip():
        raise InvalidOverride("key", f"{key[:40]!r}: expected PROVIDER, PROVIDER/MODEL or node:NAME")
    for field, complaint in (
        ("key", complaint_about(key, most=KEY_MAX_CHARACTERS)),
        ("reason", complaint_about(reason)),
    ):
        if complaint:
            raise InvalidOverride(field, complaint)
    if if_generation is not None and node is None:
        raise InvalidOverride("if_generation", "every node has a generation of its own: name one node")


def _wanted(
    key: str, action: Action, reason: str, expires_seconds: float | None, actor: Actor, *, now: datetime
) -> Override:
    if action is Action.RESET:
        if expires_seconds is not None:
            raise InvalidOverride("expires_seconds", "a reset is done once: it has no end")
        expires_seconds = RESET_SECONDS
    elif expires_seconds is not None and not 0 < expires_seconds <= EXPIRES_MAX_SECONDS:  # no NaN either
        allowed = f"a number above 0 and up to {EXPIRES_MAX_SECONDS:.0f}, or null for none"
        raise InvalidOverride("expires_seconds", f"{str(expires_seconds)[:40]}: expected {allowed}")
    ends = None if expires_seconds is None else now + timedelta(seconds=expires_seconds)
    return Override(key=key, action=action, actor=actor.name, reason=reason, at=now, expires_at=ends)


def _put(
    head: ControlHead,
    node: Node,
    wanted: Override,
    actor: Actor,
    *,
    if_generation: int | None,
    now: datetime,
) -> Ordered:
    state = desired.locked(node=node, now=now)
    held = _settled(head, state, node, now=now)
    desired.check(state, if_generation=if_generation)
    before = held.get(wanted.key)
    changed = not is_same_wish(before, wanted)
    if changed:
        held[wanted.key] = wanted
        if len(held) > OVERRIDES_MAX:
            raise InvalidOverride("key", f"{node.name} has {OVERRIDES_MAX} overrides: no more are allowed")
        desired.put_overrides(state, [*held.values()], now=now)
    _record(
        head,
        AUDITED[wanted.action],
        audit.node_target(node.name),
        actor,
        before=before,
        after=wanted,
        reason=wanted.reason,
        generation=state.generation,
        now=now,
    )
    return Ordered(node=node, generation=state.generation, changed=changed)


def _lift(head: ControlHead, node: Node, key: str, actor: Actor, reason: str, *, now: datetime) -> Ordered:
    state = desired.locked(node=node, now=now)
    held = _settled(head, state, node, now=now)
    before = held.pop(key, None)
    if before is not None:
        desired.put_overrides(state, [*held.values()], now=now)
    _record(
        head,
        Audited.BREAKER_LIFT,
        audit.node_target(node.name),
        actor,
        before=before,
        key=key,
        reason=reason,
        generation=state.generation,
        now=now,
    )
    return Ordered(node=node, generation=state.generation, changed=before is not None)


def _settled(head: ControlHead, state: DesiredState, node: Node, *, now: datetime) -> dict[str, Override]:
    """Return what is wanted of a node's breakers by key, after ending what nobody came by to end.

    A reset that is over leaves with the next change, for it asks nothing any more.
    """
    overrides = desired.overrides_of(state)
    over = expired(overrides, now=now)
    held = {each.key: each for each in overrides if each not in over}
    ended = [each for each in over if each.action is not Action.RESET]
    if ended:
        desired.put_overrides(state, [*held.values()], now=now)
    for each in ended:
        _record(
            head,
            Audited.BREAKER_LIFT,
            audit.node_target(node.name),
            SYSTEM,
            before=each,
            key=each.key,
            reason="expired",
            generation=state.generation,
            now=now,
        )
    return held


def _expire_on(node: Node, *, now: datetime) -> bool:
    with transaction.atomic():
        head = audit.locked_head()
        state = desired.locked(node=node, now=now)
        generation = state.generation
        _settled(head, state, node, now=now)
        _publish([node], now=now)
    return state.generation > generation


def _overridden(key: str) -> list[Node]:
    """Return the nodes on which something is wanted of `key`."""
    states = DesiredState.objects.select_related("node").exclude(overrides=[]).order_by("node__name")
    return [state.node for state in states if any(each["key"] == key for each in state.overrides)]


def _record(
    head: ControlHead,
    action: Audited,
    target: str,
    actor: Actor,
    *,
    now: datetime,
    reason: str,
    before: Override | None = None,
    after: Override | None = None,
    key: str = "",
    generation: int | None = None,
) -> None:
    audit.record(
        head=head,
        actor=actor,
        action=action,
        target=target,
        before=_plain(before),
        after=_plain(after) or {"key": key},
        reason=reason,
        generation=generation,
        now=now,
    )


def _plain(override: Override | None) -> dict[str, Any] | None:
    plain: dict[str, Any] | None = None if override is None else msgspec.to_builtins(override)
    return plain


def _refuse(
    node: Node | None, key: str, action: Audited, actor: Actor, why: Exception, *, now: datetime
) -> None:
    target = audit.node_target(node.name) if node else _everywhere(key)
    audit.refuse(actor=actor, action=action, target=target, reason=str(why), now=now)


def _everywhere(key: str) -> str:
    """Return how an entry names a breaker of no particular node."""
    return f"breaker:{key}"[:TARGET_MAX_CHARACTERS]


def _publish(nodes: Sequence[Node], *, now: datetime) -> None:
    keys = [f"{kind}:{node.name}" for kind in ("orders", "node", "providers") for node in nodes]
    changes.publish(*keys, "overrides", "audit", now=now)
