"""What of a matrix is worth showing: the things and the nodes with the most trouble, by their states alone.

Which nodes are shown doesn't depend on what is asked for, so a cell that is pushed fits every open page.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from dashboard.models import Node
from dashboard.selectors import testimony
from dashboard.selectors.presence import ABSENT, Composite, Presence
from dashboard.selectors.testimony import Finding, Phrases
from meshcore.breaker import BreakerState

Seen = Mapping[str, Mapping[int, BreakerState]]
"""Key of a breaker -> id of the node -> the state that the node told of."""
UNSETTLED = frozenset({BreakerState.SUSPECT, BreakerState.FORCED_OPEN, BreakerState.FORCED_CLOSED})
Fits = Callable[[str, Collection[str]], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A node; `fresh`: it is heard, so what it said holds now. Asked for each of its breakers, so kept."""

    node: Node
    presence: Presence
    name: str
    fresh: bool

    @classmethod
    def of(cls, node: Node, presence: Presence) -> "Column":
        """Return the column of a node."""
        fresh = not presence.stale and presence.state not in ABSENT
        return cls(node=node, presence=presence, name=node.name, fresh=fresh)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortlist:
    """Columns and keys to show, and how many are left out. `findings` are of all keys, the worst first."""

    findings: Mapping[str, Finding]
    columns: tuple[Column, ...]
    keys: tuple[str, ...]
    more_columns: int
    more_keys: int

    @property
    def asked(self) -> tuple[list[int], tuple[str, ...]]:
        """The nodes and keys whose whole breakers are wanted."""
        return [column.node.pk for column in self.columns], self.keys


def shortlist(
    seen: Seen,
    columns: Mapping[int, Column],
    *,
    phrases: Phrases,
    fits: Fits,
    most_columns: int,
    most_keys: int,
    away: Mapping[str, Composite] | None = None,
) -> Shortlist:
    """Return what to show; `away` names the keys of nodes that are known not to be there."""
    findings = {key: _finding(states, columns, phrases) for key, states in seen.items()}
    for key, state in (away or {}).items():
        if key in findings:
            findings[key] = _explained(findings[key], state)
    order = sorted(findings, key=lambda key: (*_worst_first(findings[key]), key))
    ranked = _ranked(seen, findings, columns)
    keys = [key for key in order if fits(key, seen[key].values())]
    return Shortlist(
        findings={key: findings[key] for key in order},
        columns=tuple(ranked[:most_columns]),
        keys=tuple(keys[:most_keys]),
        more_columns=max(len(ranked) - most_columns, 0),
        more_keys=max(len(keys) - most_keys, 0),
    )


def tellers(seen: Seen) -> set[int]:
    """Return the ids of the nodes that have told of anything."""
    return {node_id for states in seen.values() for node_id in states}


def _finding(states: Mapping[int, BreakerState], columns: Mapping[int, Column], phrases: Phrases) -> Finding:
    heard = ((columns[pk].name, state) for pk, state in states.items() if columns[pk].fresh)
    return testimony.find(heard, phrases=phrases)


def _explained(finding: Finding, state: Composite) -> Finding:
    """Return the finding on a node that is known to be away: that nobody reaches it is no news."""
    if not finding.down:
        return finding
    unheard = state in (Composite.UNREACHABLE, Composite.NEVER_SEEN)
    said = "the dashboard doesn't hear it either" if unheard else f"it is {state.value}"
    return replace(finding, said=said, odd=frozenset(), down=0)


def _worst_first(finding: Finding) -> tuple[int, int, int]:
    return -len(finding.odd), -finding.down, -finding.doubt


def _ranked(seen: Seen, findings: Mapping[str, Finding], columns: Mapping[int, Column]) -> list[Column]:
    """Return all nodes that have told: those against the others first, the silent before the calm."""
    odd, down, other = Counter[int](), Counter[int](), Counter[int]()
    for key, states in seen.items():
        finding = findings[key]
        for pk, state in states.items():
            if columns[pk].fresh and (state is not BreakerState.CLOSED or finding.odd):
                odd[pk] += columns[pk].name in finding.odd
                down[pk] += finding.down > 0 and testimony.WORDS.get(state) is testimony.Word.DOWN
                other[pk] += state in UNSETTLED
    found = [columns[pk] for pk in tellers(seen)]
    found.sort(
        key=lambda each: (*(-count[each.node.pk] for count in (odd, down, other)), each.fresh, each.name)
    )
    return found
