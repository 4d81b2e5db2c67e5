"""The table of aliases that nodes shall go by, in place of the one in their own file (§2, "Overrides")."""

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from dashboard.models import Action, ControlHead, Node
from dashboard.services import audit, changes, desired
from dashboard.services.actor import Actor
from dashboard.services.desired import Aliases, ContentTooLarge, GenerationMismatch, Ordered
from dashboard.services.words import complaint_about
from meshcore.alias import parse_aliases
from meshcore.clock import utcnow
from meshcore.errors import ConfigError

__all__ = ["InvalidAliases", "put"]


class InvalidAliases(ValueError):
    """The table can't be taken as it is; the message names alias, value and what is allowed."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def put(
    *,
    nodes: Sequence[Node],
    table: Aliases | None,
    reason: str,
    actor: Actor,
    if_generation: int | None = None,
    now: datetime | None = None,
) -> list[Ordered]:
    """Give `nodes` a table of aliases, whole; None: each goes by its own file again.

    The same table again changes nothing and is audited. Raises InvalidAliases; GenerationMismatch, which is
    in the audit trail by then.
    """
    now = now or utcnow()
    checked = _checked(table, reason)
    if if_generation is not None and len(nodes) != 1:
        raise InvalidAliases("if_generation: every node has a generation of its own: name one node")
    try:
        with transaction.atomic():
            head = audit.locked_head()
            done = [_put(head, node, checked, reason, actor, if_generation, now=now) for node in nodes]
            keys = (f"{kind}:{node.name}" for kind in ("orders", "node") for node in nodes)
            changes.publish(*keys, "audit", now=now)
    except GenerationMismatch as exc:
        target = audit.node_target(nodes[0].name)
        audit.refuse(actor=actor, action=Action.ALIASES_PUT, target=target, reason=str(exc), now=now)
        raise
    except ContentTooLarge as exc:
        raise InvalidAliases(str(exc)) from exc
    return done


def _checked(table: Aliases | None, reason: str) -> Aliases | None:
    complaint = complaint_about(reason)
    if complaint:
        raise InvalidAliases(f"reason: {complaint}")
    if table is None:
        return None
    try:
        return {name: [*chain] for name, chain in parse_aliases(table, source="the table").items()}
    except ConfigError as exc:
        raise InvalidAliases(str(exc)) from exc


def _put(
    head: ControlHead,
    node: Node,
    table: Aliases | None,
    reason: str,
    actor: Actor,
    if_generation: int | None,
    *,
    now: datetime,
) -> Ordered:
    state = desired.locked(node=node, now=now)
    desired.check(state, if_generation=if_generation)
    before = state.aliases
    changed = table != before
    if changed:
        desired.put_aliases(state, table, now=now)
    audit.record(
        head=head,
        actor=actor,
        action=Action.ALIASES_PUT,
        target=audit.node_target(node.name),
        before={"aliases": before},
        after={"aliases": table},
        reason=reason,
        generation=state.generation,
        now=now,
    )
    return Ordered(node=node, generation=state.generation, changed=changed)
