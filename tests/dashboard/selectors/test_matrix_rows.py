"""Rows and cells of the tables of breakers, without a database."""

from dataclasses import replace

import pytest

from dashboard.models import Node, ProviderHealth
from dashboard.selectors.matrix_rows import Cell, Row, Table, Wanted, provider_of
from dashboard.selectors.presence import Composite, Presence
from dashboard.selectors.shortlist import Column
from dashboard.selectors.testimony import Finding

HEARD = Presence(state=Composite.RUNNING, stale=False, age_seconds=1.0)
SILENT = Presence(state=Composite.UNREACHABLE, stale=True, age_seconds=90.0)


def column(name: str, presence: Presence = HEARD) -> Column:
    return Column.of(Node(name=name), presence)


def cell(key: str, of: Column, state: str | None = "closed", **fields: float) -> Cell:
    breaker = None if state is None else ProviderHealth(key=key, state=state, **fields)
    return Cell(column=of, key=key, breaker=breaker, odd=False)


def row(key: str, *cells: Cell) -> Row:
    return Row(key=key, cells=cells, finding=Finding(), rest="", says=None)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (Wanted(), True),
        (Wanted(provider="groq"), True),
        (Wanted(provider="groq/llama3"), False),
        (Wanted(provider="ollama"), False),
        (Wanted(state="open"), True),
        (Wanted(state="suspect"), False),
        (Wanted(state="open", provider="groq"), True),
        (Wanted(state="open", provider="ollama"), False),
    ],
)
def test_a_row_is_asked_for_by_its_provider_and_by_a_state_that_any_node_sees(
    wanted: Wanted, fits: bool
) -> None:
    assert wanted.fits("groq/llama3", ["closed", "open"]) is fits


def test_a_node_would_see_itself_where_its_own_row_crosses_its_column() -> None:
    assert cell("node:node-a", column("node-a")).itself
    assert not cell("node:node-b", column("node-a")).itself


@pytest.mark.parametrize(
    ("state", "presence", "troubled"),
    [("open", HEARD, True), ("closed", HEARD, False), ("open", SILENT, False), (None, HEARD, False)],
)
def test_trouble_is_what_a_node_that_is_heard_says_now(
    state: str | None, presence: Presence, troubled: bool
) -> None:
    assert cell("groq", column("node-a", presence), state).troubled is troubled


def test_a_row_tells_each_threshold_and_backoff_once() -> None:
    a, b, c, d = (column(f"node-{letter}") for letter in "abcd")
    found = row(
        "groq",
        cell("groq", a, threshold=3, backoff_seconds=60.0),
        cell("groq", b, threshold=2, backoff_seconds=30.0),
        cell("groq", c, threshold=2, backoff_seconds=60.0),
        cell("groq", d, None),
    )

    assert (found.strikes, found.backoffs) == ([2, 3], [30.0, 60.0])


def test_a_peer_is_called_by_its_name_and_a_provider_without_its_model() -> None:
    assert row("node:node-b").name == "node-b"
    assert (row("groq/llama3").name, row("groq/llama3").provider) == ("groq/llama3", "groq")
    assert provider_of("groq") == "groq"


def test_the_cells_of_a_table_are_all_or_those_that_a_node_may_alter() -> None:
    a, b = column("node-a"), column("node-b")
    a.node.pk, b.node.pk = 1, 2
    both, own = (row(key, cell(key, a), cell(key, b)) for key in ("groq", "vllm"))
    both = replace(both, tellers={1, 2})
    table = Table(columns=(a, b), rows=(both, own), more_columns=0, more_rows=0)

    assert len(table.cells()) == 4
    assert [(each.key, each.column.name) for each in table.cells(2)] == [
        ("groq", "node-a"),
        ("groq", "node-b"),
        ("vllm", "node-b"),
    ]
