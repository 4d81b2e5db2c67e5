"""What operators want of breakers now: who, why, until when, and whether the nodes act on it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from dashboard.models import DesiredState
from dashboard.selectors import testimony
from meshcore.override import Action, Override, expired, parse_overrides

NODES_MAX = 2_000  # whose wishes are read; more nodes with overrides are no page
LINES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class OverrideLine:
    """One wish, on all `nodes` that it was given to; `pending` are those that don't act on it yet."""

    override: Override
    nodes: tuple[str, ...]
    pending: tuple[str, ...]

    @property
    def where(self) -> str:
        """The nodes in words."""
        return testimony.names(list(self.nodes))

    @property
    def waits(self) -> str:
        """Who doesn't act on it yet, in words."""
        return f"waits for {testimony.names(list(self.pending))}" if self.pending else ""

    @property
    def node(self) -> str:
        """The node when it is one, else ""."""
        return self.nodes[0] if len(self.nodes) == 1 else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overrides:
    """The newest wishes, and how many more there are; `cut`: not even all nodes were looked at."""

    lines: tuple[OverrideLine, ...]
    more: int
    cut: bool


def read(*, now: datetime) -> Overrides:
    """Return what is wanted; one query. A reset is told until its nodes act on it."""
    states = list(
        DesiredState.objects.select_related("node").exclude(overrides=[]).order_by("node__name")[:NODES_MAX]
    )
    lines = sorted(_lines(states, now=now), key=_newest_first)
    return Overrides(
        lines=tuple(islice(lines, LINES_MAX)),
        more=max(len(lines) - LINES_MAX, 0),
        cut=len(states) == NODES_MAX,
    )


def _lines(states: Iterable[DesiredState], *, now: datetime) -> list[OverrideLine]:
    nodes: dict[Override, list[str]] = {}
    pending: dict[Override, list[str]] = {}
    for state in states:
        waits = state.node.observed_generation < state.generation
        wanted = parse_overrides(state.overrides)
        over = expired(wanted, now=now)
        for override in wanted:
            if override in over or (override.action is Action.RESET and not waits):
                continue
            nodes.setdefault(override, []).append(state.node.name)
            pending.setdefault(override, []).extend([state.node.name] * waits)
    return [
        OverrideLine(override=each, nodes=tuple(names), pending=tuple(pending[each]))
        for each, names in nodes.items()
    ]


def _newest_first(line: OverrideLine) -> tuple[float, str]:
    at = line.override.at
    return (-at.timestamp() if at else 0.0), line.override.key
