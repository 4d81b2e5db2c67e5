"""The breakers of all nodes as two tables."""

from datetime import UTC, datetime, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node, ProviderHealth
from dashboard.selectors import matrix, providers, strips
from dashboard.selectors.matrix import Matrix
from dashboard.selectors.matrix_rows import Row, Wanted
from meshcore.breaker import BreakerState
from tests.dashboard.web import example_mesh, factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)
OPEN, CLOSED, SUSPECT = BreakerState.OPEN, BreakerState.CLOSED, BreakerState.SUSPECT

pytestmark = pytest.mark.django_db


def read(**wanted: str) -> Matrix:
    return matrix.read(now=NOW, wanted=Wanted(**wanted))


def row(found: Matrix, key: str) -> Row:
    return next(each for each in (*found.providers.rows, *found.peers.rows) if each.key == key)


def states(found: Row) -> dict[str, str]:
    return {cell.column.name: cell.breaker.state if cell.breaker else "" for cell in found.cells}


def test_a_row_has_a_cell_of_every_node_and_says_what_they_amount_to() -> None:
    example_mesh.make(now=NOW)

    found = row(read(), "ollama")

    assert states(found) == {
        "node-b": "open",
        "node-c": "closed",
        "node-e": "closed",
        "node-a": "closed",
        "node-d": "closed",
    }
    assert [cell.column.name for cell in found.cells if cell.odd] == ["node-b"]
    assert [cell.column.name for cell in found.cells if not cell.column.fresh] == ["node-e"]
    assert [cell.column.name for cell in found.cells if cell.troubled] == ["node-b"]
    assert found.finding.sentence == "only node-b sees it down: path, not provider"


def test_what_a_node_does_not_have_is_an_empty_cell() -> None:
    example_mesh.make(now=NOW)

    assert states(row(read(), "openrouter"))["node-a"] == ""


def test_nodes_that_never_told_have_no_column_and_the_silent_are_named() -> None:
    example_mesh.make(now=NOW)

    found = read()

    assert "node-f" not in {column.name for column in found.providers.columns}
    assert found.unheard == ("node-e",)
    assert found.nodes == 6
    assert (found.states[OPEN], found.states[SUSPECT], found.states[CLOSED]) == (1, 1, 9)


def test_peers_have_a_table_of_their_own() -> None:
    example_mesh.make(now=NOW)

    found = row(read(), "node:node-b")

    assert found.name == "node-b"
    assert [cell.column.name for cell in found.cells if cell.itself] == ["node-b"]
    assert row(read(), "node:node-e").finding.sentence == "the dashboard doesn't hear it either"
    assert "node:node-b" not in {each.key for each in read().providers.rows}


@pytest.mark.parametrize(
    ("wanted", "keys"),
    [
        ({"provider": "groq"}, ["groq", "groq/llama"]),
        ({"provider": "gro"}, []),
        ({"state": "open"}, ["ollama"]),
        ({"state": "suspect", "provider": "groq"}, ["groq"]),
        ({"state": "forced_open"}, []),
    ],
)
def test_a_filter_takes_rows_away_and_leaves_the_rest_as_it_is(
    wanted: dict[str, str], keys: list[str]
) -> None:
    mesh = example_mesh.make(now=NOW)
    factory.breaker(mesh["node-d"], "groq/llama", now=NOW)

    found, whole = read(**wanted), read()

    assert [each.key for each in found.providers.rows] == keys
    assert found.providers.columns == whole.providers.columns
    assert (found.findings, found.states, found.names) == (whole.findings, whole.states, whole.names)
    assert whole.names == ["groq", "ollama", "openrouter", "vllm"]


def test_the_newest_error_of_those_in_trouble_is_told() -> None:
    for name, state, since, error in (
        ("node-a", CLOSED, 1, "long over"),
        ("node-b", OPEN, 90, "older"),
        ("node-c", OPEN, 60, "newer"),
        ("node-d", OPEN, 5, ""),
    ):
        node = factory.seen_node(name, now=NOW, providers=())
        factory.breaker(node, "groq", now=NOW, state=state, since_seconds=since, error=error)

    says = row(read(), "groq").says

    assert says is not None and says.breaker is not None
    assert (says.column.name, says.breaker.last_error) == ("node-c", "newer")


def test_an_error_without_a_time_is_the_oldest_and_no_error_is_none() -> None:
    node = factory.seen_node("node-a", now=NOW, providers=("groq", "vllm"))
    factory.breaker(node, "groq", now=NOW, error="when?")
    ProviderHealth.objects.filter(key="groq").update(since=None)

    found = read()

    assert row(found, "groq").says is not None
    assert row(found, "vllm").says is None


def test_thresholds_and_backoffs_that_differ_are_all_told() -> None:
    for name, threshold, backoff in (("node-a", 2, 60.0), ("node-b", 3, 30.0), ("node-c", 2, 30.0)):
        factory.seen_node(name, now=NOW, providers=("groq",))
        ProviderHealth.objects.filter(node__name=name).update(threshold=threshold, backoff_seconds=backoff)

    found = row(read(), "groq")

    assert (found.strikes, found.backoffs) == ([2, 3], [30.0, 60.0])


def test_nodes_without_a_column_are_counted_by_what_they_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "COLUMNS_MAX", 1)
    for n in range(6):
        factory.seen_node(f"node-{n}", now=NOW, providers=("groq", "vllm"))
    found = dict(ProviderHealth.objects.filter(key="groq").values_list("node__name", "pk"))
    ProviderHealth.objects.filter(pk__in=[found[f"node-{n}"] for n in (0, 1)]).update(state=OPEN)
    ProviderHealth.objects.filter(pk=found["node-2"]).update(state=BreakerState.HALF_OPEN)
    factory.silent_for(Node.objects.get(name="node-3"), 60, now=NOW)

    table = read().providers

    assert ([column.name for column in table.columns], table.more_columns) == (["node-0"], 5)
    assert [each.rest for each in table.rows] == [
        "1 open, 1 half open, 2 closed, 1 not heard",
        "4 closed, 1 not heard",
    ]
    assert [cell.key for cell in table.cells(table.columns[0].node.pk)] == ["groq", "vllm"]


def test_rows_have_their_bound_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "ROWS_MAX", 2)
    factory.seen_node("node-a", now=NOW, providers=("a", "b", "c", "d", "e"))

    table = read().providers

    assert (len(table.rows), table.more_rows, len(table.cells())) == (2, 3, 2)


def test_a_mesh_beyond_all_bounds_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "STATES_MAX", 3)
    factory.seen_node("node-a", now=NOW, providers=("a", "b"))
    assert read().cut is False

    factory.seen_node("node-b", now=NOW, providers=("a", "b"))

    assert read().cut is True


def test_a_strip_tells_of_all_nodes_with_or_without_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matrix, "COLUMNS_MAX", 1)
    for name in ("node-a", "node-b"):
        node = factory.seen_node(name, now=NOW, providers=("groq",))
        factory.transition(node, "groq", at=NOW - timedelta(minutes=40), to=OPEN)
        factory.transition(node, "groq", at=NOW - timedelta(minutes=30), to=CLOSED, was=OPEN)
    factory.breaker(node, "groq", now=NOW, state=OPEN, since_seconds=20 * 60)

    strip = row(read(), "groq").strip

    assert strip is not None
    assert strip.words == "opened 2 times, node-a 1 ×, node-b 1 ×, last at 13:41"
    assert [level.name for level in strip.slots[-4:]] == ["DOWN", "DOWN", "DOWN", "DOWN"]


def test_a_node_that_never_spoke_stands_in_no_strip() -> None:
    node = factory.seen_node("node-a", now=NOW, providers=("groq",), last_heard_at=None)
    factory.breaker(node, "groq", now=NOW, state=OPEN)

    strip = row(read(), "groq").strip

    assert strip is not None
    assert set(strip.slots) == {strips.Level.CALM}


def test_history_beyond_the_bound_is_shown_as_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "CHANGES_MAX", 2)
    node = factory.seen_node("node-a", now=NOW, providers=("groq",))
    for minutes in (30, 60, 90):
        factory.transition(node, "groq", at=NOW - timedelta(minutes=minutes), to=SUSPECT)

    strip = row(read(), "groq").strip

    assert strip is not None
    assert strip.slots[0] is strips.Level.UNKNOWN
    assert strip.slots[-1] is strips.Level.CALM


def test_a_node_that_is_added_while_all_is_read_comes_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    factory.seen_node("node-a", now=NOW, providers=("groq",))
    states = providers.states

    def late() -> list[tuple[int, str, str]]:
        node = factory.seen_node("node-b", now=NOW, providers=("groq",))
        factory.transition(node, "groq", at=NOW, to=OPEN)
        return states()

    with monkeypatch.context() as patch:
        patch.setattr(providers, "states", late)
        first = read()

    assert [column.name for column in first.providers.columns] == ["node-a"]
    assert [column.name for column in read().providers.columns] == ["node-a", "node-b"]


@pytest.mark.parametrize("nodes", [1, 30])
def test_reading_takes_four_queries(nodes: int, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    for n in range(nodes):
        node = factory.seen_node(f"node-{n}", now=NOW, providers=tuple("abcdefgh"))
        factory.breaker(node, "node:other", now=NOW)
        factory.transition(node, "a", at=NOW, to=OPEN)

    with django_assert_num_queries(4):
        read()
