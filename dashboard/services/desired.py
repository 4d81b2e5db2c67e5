"""The desired state of a node: every change raises its generation, and a node ignores what isn't newer."""

from datetime import datetime

import msgspec

from dashboard.models import DesiredState, Node
from meshcore.frames import Desired, DesiredDrain


def locked(*, node: Node, now: datetime) -> DesiredState:
    """Return a node's desired state, locked; lock the control head before (`audit.locked_head`)."""
    state, _ = DesiredState.objects.select_for_update().get_or_create(node=node, defaults={"changed_at": now})
    return state


def frame(state: DesiredState) -> Desired:
    """Return the desired state as it is sent to the node, whole."""
    return msgspec.convert(
        {
            "type": "desired",
            "generation": state.generation,
            "drain": state.drain,
            "overrides": state.overrides,
            "aliases": state.aliases,
        },
        Desired,
    )


def put_drain(state: DesiredState, drain: DesiredDrain | None, *, now: datetime) -> int:
    """Store what shall be of a drain (None: no drain) and return the generation that says so."""
    state.drain = None if drain is None else msgspec.to_builtins(drain)
    return _raise_generation(state, above=state.generation, now=now)


def overtake(state: DesiredState, *, generation: int, now: datetime) -> int:
    """Put the content above `generation`, which a node holds from an earlier life of the dashboard."""
    return _raise_generation(state, above=max(generation, state.generation), now=now)


def _raise_generation(state: DesiredState, *, above: int, now: datetime) -> int:
    state.generation = above + 1
    state.changed_at = now
    state.save(update_fields=["generation", "drain", "changed_at"])
    return state.generation
