"""Breakers as long lists: one row each, one row for each provider, and what operators want of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q

from dashboard.models import DesiredState, Node, ProviderHealth
from dashboard.selectors import keyset, testimony
from dashboard.selectors.matrix_rows import provider_of
from dashboard.selectors.nodes import presence_of
from dashboard.selectors.presence import health_seconds
from dashboard.selectors.providers import PEER
from dashboard.selectors.shortlist import Column
from dashboard.selectors.testimony import Finding
from meshcore.breaker import BreakerState

WALK_ROWS = (
    100_000  # a mesh has no more breakers (selectors.providers.STATES_MAX), and they are read in 0.2 s
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerFilter:
    """What the list is narrowed to; empty means anything. `provider` stands for each of its models, too."""

    node: str = ""
    key: str = ""
    provider: str = ""
    state: str = ""

    def split(self) -> tuple[Q, Q | None]:
        """Return the condition that an index serves, and what is left to judge row by row."""
        other = [
            (self.key, Q(key=self.key)),
            (self.provider, Q(key=self.provider) | Q(key__startswith=f"{self.provider}/")),
            (self.state, Q(state=self.state)),
        ]
        indexed = [Q(node__name=self.node)] if self.node else []
        return keyset.narrow(indexed, [condition for value, condition in other if value])


def breakers(
    *, wanted: BreakerFilter, cursor: keyset.Cursor, rows: int = keyset.PAGE_ROWS
) -> keyset.Page[ProviderHealth]:
    """Return one page of breakers with their nodes, those first that appeared last; at most two queries."""
    served, rest = wanted.split()
    base = ProviderHealth.objects.select_related("node").filter(served)
    return keyset.page(base, cursor=cursor, rest=rest, rows=rows, walk=WALK_ROWS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderNow:
    """One provider, or one of its models, as all nodes see it; `states` counts the nodes that are heard."""

    key: str
    finding: Finding
    states: Counter[str]
    nodes: int

    @property
    def provider(self) -> str:
        """The provider's name without the model's."""
        return provider_of(self.key)

    @property
    def model(self) -> str:
        """The model's name, "" for the provider as a whole."""
        return self.key.partition("/")[2]


def providers(*, after: str, rows: int, now: datetime) -> list[ProviderNow]:
    """Return the providers behind `after` in order of their keys, at most `rows`; three queries."""
    own = ProviderHealth.objects.exclude(key__startswith=PEER).filter(key__gt=after)
    keys = list(own.order_by("key").values_list("key", flat=True).distinct()[:rows])
    told: dict[str, list[tuple[int, str]]] = {key: [] for key in keys}
    found = ProviderHealth.objects.filter(key__in=keys).values_list("key", "node_id", "state")
    for key, node_id, state in found[:WALK_ROWS]:
        told[key].append((node_id, state))
    nodes = list(Node.objects.select_related("link"))
    every = health_seconds(len(nodes))
    columns = {node.pk: Column.of(node, presence_of(node, 0, now=now, every_seconds=every)) for node in nodes}
    return [_provider(key, said, columns) for key, said in told.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overridden:
    """What is wanted of one breaker of one node (`override` as meshcore.override.Override), and how far."""

    node: Node
    override: dict[str, Any]
    generation: int

    @property
    def place(self) -> tuple[str, str]:
        """Where it stands in the list."""
        return self.node.name, str(self.override["key"])


def overrides(*, node: str, after: tuple[str, str], rows: int) -> list[Overridden]:
    """Return the overrides behind `after` (node, key) by node and key, at most `rows`; one query.

    `node` narrows it to one, "" means all.
    """
    states = DesiredState.objects.exclude(overrides=[]).filter(node__name__gte=after[0])
    if node:
        states = states.filter(node__name=node)
    found: list[Overridden] = []
    # each has an override, and only the first may have none left behind `after`
    for state in states.select_related("node").order_by("node__name")[: rows + 1]:
        found += [each for each in _overrides_of(state) if each.place > after]
        if len(found) >= rows:
            break
    return found[:rows]


def _overrides_of(state: DesiredState) -> list[Overridden]:
    found = [
        Overridden(node=state.node, override=each, generation=state.generation) for each in state.overrides
    ]
    return sorted(found, key=lambda each: each.place)


def _provider(key: str, said: Sequence[tuple[int, str]], columns: dict[int, Column]) -> ProviderNow:
    heard = [(columns[pk].name, state) for pk, state in said if pk in columns and columns[pk].fresh]
    finding = testimony.find(
        [(name, BreakerState(state)) for name, state in heard], phrases=testimony.PROVIDER
    )
    return ProviderNow(key=key, finding=finding, states=Counter(state for _, state in heard), nodes=len(said))
