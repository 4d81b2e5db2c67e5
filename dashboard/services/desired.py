"""The desired state of a node: every change raises its generation, and a node ignores what isn't newer."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from dashboard.models import DesiredState, Node
from meshcore import desired
from meshcore.frames import Desired, DesiredDrain
from meshcore.override import Override, next_expiry, parse_overrides

Aliases = dict[str, list[str]]


class GenerationMismatch(Exception):
    """The caller knew another generation than the `current` one: somebody was faster."""

    def __init__(self, expected: int, current: int) -> None:
        super().__init__(f"generation {expected} was expected, the present one is {current}")
        self.expected = expected
        self.current = current


class ContentTooLarge(ValueError):
    """What is wanted of a node doesn't fit in a frame of its link."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes of orders for one node: at most {desired.CONTENT_MAX_BYTES} are sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ordered:
    """What became of an order to `node`; `changed` False: it was just so already, the generation stayed."""

    node: Node
    generation: int
    changed: bool


def locked(*, node: Node, now: datetime) -> DesiredState:
    """Return a node's desired state, locked; lock the control head before (`audit.locked_head`)."""
    state, _ = DesiredState.objects.select_for_update().get_or_create(node=node, defaults={"changed_at": now})
    return state


def check(state: DesiredState, *, if_generation: int | None) -> None:
    """Raise GenerationMismatch unless the state has this generation; None doesn't care."""
    if if_generation is not None and if_generation != state.generation:
        raise GenerationMismatch(if_generation, state.generation)


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


def overrides_of(state: DesiredState) -> tuple[Override, ...]:
    """Return what is wanted of the node's breakers."""
    return parse_overrides(state.overrides)


def put_drain(state: DesiredState, drain: DesiredDrain | None, *, now: datetime) -> int:
    """Store what shall be of a drain (None: no drain) and return the generation that says so."""
    state.drain = None if drain is None else msgspec.to_builtins(drain)
    return _raise_generation(state, above=state.generation, now=now)


def put_overrides(state: DesiredState, overrides: Sequence[Override], *, now: datetime) -> int:
    """Store what shall be of the breakers and return the generation that says so; raises ContentTooLarge."""
    state.overrides = msgspec.to_builtins(overrides)
    state.override_expires_at = next_expiry(overrides)
    _check_size(state)
    return _raise_generation(state, above=state.generation, now=now)


def put_aliases(state: DesiredState, aliases: Aliases | None, *, now: datetime) -> int:
    """Store the table of aliases (None: the node's own file) and return the generation that says so.

    Raises ContentTooLarge.
    """
    state.aliases = aliases
    _check_size(state)
    return _raise_generation(state, above=state.generation, now=now)


def overtake(state: DesiredState, *, generation: int, now: datetime) -> int:
    """Put the content above `generation`, which a node holds from an earlier life of the dashboard."""
    return _raise_generation(state, above=max(generation, state.generation), now=now)


def _check_size(state: DesiredState) -> None:
    size = len(msgspec.json.encode(frame(state)))
    if size > desired.CONTENT_MAX_BYTES:
        raise ContentTooLarge(size)


def _raise_generation(state: DesiredState, *, above: int, now: datetime) -> int:
    state.generation = above + 1
    state.changed_at = now
    state.save()
    return state.generation
