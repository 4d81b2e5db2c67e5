"""The tables of breakers: a row for each thing that nodes call, a cell for what one of them says of it."""

from collections.abc import Collection
from dataclasses import dataclass

from dashboard.models import ProviderHealth
from dashboard.selectors import providers, strips
from dashboard.selectors.shortlist import Column
from dashboard.selectors.testimony import Finding
from meshcore.breaker import BreakerState


def provider_of(key: str) -> str:
    """Return the provider of a breaker's key, which may be of one of its models."""
    return key.partition("/")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which rows are asked for; empty means any. `provider` stands for each of its models, too."""

    state: str = ""
    provider: str = ""

    def fits(self, key: str, states: Collection[str]) -> bool:
        """Return whether a row is asked for: by its provider, and by a state that any node sees it in."""
        named = not self.provider or provider_of(key) == self.provider
        return named and (not self.state or self.state in states)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one node says of one thing; `odd`: against the others."""

    column: Column
    key: str
    breaker: ProviderHealth | None
    odd: bool

    @property
    def itself(self) -> bool:
        """Whether a node would see itself here."""
        return self.key == f"{providers.PEER}{self.column.name}"

    @property
    def troubled(self) -> bool:
        """Whether something is wrong here now."""
        return self.column.fresh and self.breaker is not None and self.breaker.state != BreakerState.CLOSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing as all nodes see it; `rest` counts nodes without a column, `says` has the error to tell.

    `tellers` are the ids of all nodes that tell of it, with a column or not.
    """

    key: str
    cells: tuple[Cell, ...]
    finding: Finding
    rest: str
    says: Cell | None
    tellers: Collection[int] = ()
    strip: strips.Strip | None = None

    @property
    def name(self) -> str:
        """What people call it: a peer by its node's name."""
        return self.key.removeprefix(providers.PEER)

    @property
    def provider(self) -> str:
        """The provider's name without the model's."""
        return provider_of(self.key)

    @property
    def strikes(self) -> list[int]:
        """How many strikes open it; several numbers where nodes differ."""
        return sorted({cell.breaker.threshold for cell in self.cells if cell.breaker})

    @property
    def backoffs(self) -> list[float]:
        """How many seconds it stays open; several numbers where nodes differ."""
        return sorted({cell.breaker.backoff_seconds for cell in self.cells if cell.breaker})


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows by need for attention, and how many nodes and rows are left out."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    more_columns: int
    more_rows: int

    def cells(self, node_id: int | None = None) -> list[Cell]:
        """Return all cells, or those that the word of one node may alter.

        These are its own, and in rows that it tells of all: by its word others stand against the others.
        """
        return [
            cell
            for row in self.rows
            for cell in row.cells
            if node_id is None or node_id in row.tellers or cell.column.node.pk == node_id
        ]
