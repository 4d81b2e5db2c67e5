"""The providers' page."""

import re
from datetime import timedelta

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import Node, ProviderHealth
from dashboard.selectors import matrix
from meshcore.breaker import BreakerState
from tests.dashboard.web import example_mesh, factory
from tests.dashboard.web.conftest import HTMX, NOW

pytestmark = pytest.mark.django_db


def read(browser: Client, query: str = "", status: int = 200) -> str:
    response = browser.get(f"/providers/{query}")
    assert response.status_code == status
    return " ".join(response.content.decode().split())


def cell(page: str, name: str) -> str:
    """Return the words of a live cell."""
    found = re.search(f'id="{name}"[^>]*>(.*?)</(span|div)></(td|th)>', page)
    assert found is not None, name
    return " ".join(re.sub(r"<[^>]+>", " ", found[1]).split())


def test_the_worst_is_said_first_and_stands_top_left(viewer: Client) -> None:
    example_mesh.make(now=NOW)

    page = read(viewer)

    assert "<h1>Only node-b sees ollama down: path, not provider</h1>" in page
    assert 'data-live-page="providers"' in page and 'aria-current="page">Providers</a>' in page
    names = [page.index(f'provider={name}">') for name in ("ollama", "groq", "openrouter", "vllm")]
    assert names == sorted(names)
    heads = [page.index(f'<th scope="col"><a href="/nodes/node-{letter}/">') for letter in "bcead"]
    assert heads == sorted(heads)


def test_a_cell_counts_down_counts_strikes_and_disagrees(viewer: Client) -> None:
    mesh = example_mesh.make(now=NOW)
    ProviderHealth.objects.filter(node=mesh["node-d"], key="vllm").update(
        cooling_until=NOW + timedelta(seconds=12)
    )

    ProviderHealth.objects.filter(node=mesh["node-c"], key="vllm").update(cooling_until=NOW)

    page = read(viewer)

    assert cell(page, "c-breaker-node-c-vllm") == "closed"
    assert cell(page, "c-breaker-node-b-ollama") == "open 41 s , against the others"
    assert 'id="c-breaker-node-b-ollama" class="cell odd"' in page
    assert page.count('class="cell odd"') == 1
    assert 'data-until="2026-03-05T14:21:48+00:00"' in page
    assert cell(page, "c-breaker-node-c-groq") == "1 of 2 strikes"
    assert cell(page, "c-breaker-node-d-vllm") == "closed cooling 12 s"
    assert cell(page, "c-finding-ollama") == "only node-b sees it down: path, not provider"


def test_no_cell_shows_a_green_that_was_not_heard(viewer: Client) -> None:
    example_mesh.make(now=NOW)

    page = read(viewer)

    assert cell(page, "c-breaker-node-e-ollama") == "was closed"
    silent = re.findall(r'id="c-breaker-node-e-[^>]*>(?:<span class="[^"]*">)?', page)
    assert silent
    assert all("data-stale" in each and "pill ok" not in each for each in silent)
    assert '1</div><div class="label">node not heard' in page


def test_two_that_disagree_are_both_marked(viewer: Client) -> None:
    for name in ("node-a", "node-b"):
        node = factory.seen_node(name, now=NOW, providers=("groq",))
    factory.breaker(node, "groq", now=NOW, state=BreakerState.OPEN, open_seconds=5)

    page = read(viewer)

    assert "<h1>groq: node-a and node-b disagree</h1>" in page
    assert page.count('class="cell odd"') == 2


def test_errors_policies_and_the_day_are_told_of_each_provider(viewer: Client) -> None:
    example_mesh.make(now=NOW)

    page = read(viewer)

    assert "connect timeout after 1.0 s" in cell(page, "c-error-ollama")
    assert "node-b, open since 14:19:33" in cell(page, "c-error-ollama")
    assert cell(page, "c-error-vllm") == "–"
    assert cell(page, "c-policy-groq") == "2 strikes, then 60 s"
    assert 'aria-label="The last 24 hours: opened 3 times, node-a 1 ×, node-b 1 ×' in page
    assert cell(page, "c-strip-openrouter") == "no trouble"


def test_who_sees_whom_is_a_table_of_its_own(viewer: Client) -> None:
    example_mesh.make(now=NOW)

    page = read(viewer)

    assert cell(page, "c-breaker-node-a-node_3a_node_2d_a") == "itself"
    assert cell(page, "c-breaker-node-c-node_3a_node_2d_e") == "open 20 s"
    assert "the dashboard doesn&#x27;t hear it either" in page


@pytest.mark.parametrize("nodes", [1, 25])
def test_the_number_of_nodes_changes_no_number_of_queries(
    viewer: Client, nodes: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(nodes):
        node = factory.seen_node(f"node-{n}", now=NOW, providers=tuple("abcdef"))
        factory.transition(node, "a", at=NOW, to=BreakerState.OPEN)

    with django_assert_num_queries(8):  # 3 for who asks, 1 cursor, 4 for all breakers
        read(viewer)


def test_a_large_mesh_is_a_bounded_page_that_counts_the_rest(viewer: Client) -> None:
    nodes = Node.objects.bulk_create(
        [
            Node(name=f"n{n:03}", created_at=NOW, last_heard_at=NOW, state="running")
            for n in range(matrix.COLUMNS_MAX + 60)
        ]
    )
    ProviderHealth.objects.bulk_create(
        [
            ProviderHealth(node=node, key=f"p{k:02}", state="closed", observed_at=NOW)
            for node in nodes
            for k in range(matrix.ROWS_MAX + 3)
        ]
    )
    ProviderHealth.objects.filter(node=nodes[-1], key="p41").update(state="open")

    page = read(viewer)

    assert page.count('id="c-breaker-') == matrix.COLUMNS_MAX * matrix.ROWS_MAX
    assert '<th scope="col">60 more nodes</th>' in page
    assert "<h1>Only n099 sees p41 down: path, not provider</h1>" in page
    assert page.count('class="cell odd"') == 1
    assert cell(page, "c-rest-p41") == "60 closed"
    assert "3 more providers are not shown" in page


@pytest.mark.parametrize(
    ("query", "shown", "hidden"),
    [
        ("?provider=groq", "c-strip-groq", "c-strip-ollama"),
        ("?state=open", "c-strip-ollama", "c-strip-groq"),
        ("?state=suspect&provider=groq", "c-strip-groq", "c-strip-ollama"),
    ],
)
def test_filters_are_in_the_address(viewer: Client, query: str, shown: str, hidden: str) -> None:
    example_mesh.make(now=NOW)

    page = read(viewer, query)

    assert shown in page and hidden not in page
    assert f'hx-get="/providers/{query.replace("&", "&amp;")}"' in page
    assert "Only node-b sees ollama down" in page  # what is worst doesn't hide behind a filter
    assert ("Who sees whom" in page) is ("provider" not in query)


def test_a_filter_that_finds_nothing_says_so(viewer: Client) -> None:
    example_mesh.make(now=NOW)

    assert "No provider fits the filter" in read(viewer, "?provider=nothing")
    assert "No node is seen in that state" in read(viewer, "?state=forced_open")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("?state=opn", "state=&#x27;opn&#x27;: expected one of closed"),
        (f"?provider={'x' * 201}", "201 characters"),
    ],
)
def test_a_typo_in_the_address_is_told(viewer: Client, query: str, words: str) -> None:
    assert words in read(viewer, query, 400)


def test_empty_states_say_what_to_do(viewer: Client) -> None:
    assert "python manage.py add_node node-a" in read(viewer)

    Node.objects.create(name="node-a", created_at=NOW)
    page = read(viewer)

    assert "No node has told of a provider yet" in page
    assert "python -m meshcore node --config node.toml --check" in page
    assert "No node has called another one yet" in page
    assert "<h1>No provider yet</h1>" in page


def test_more_than_can_be_looked_at_is_no_silent_hole(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dashboard.selectors.providers.STATES_MAX", 2)
    factory.seen_node("node-a", now=NOW, providers=("a", "b", "c"))

    assert "There are more breakers than this page looks at" in read(viewer)


def test_the_rows_come_alone(viewer: Client) -> None:
    example_mesh.make(now=NOW)

    part = viewer.get("/providers/?state=open", headers=HTMX).content.decode()

    assert part.strip().startswith('<div id="rows"')
    assert "<form" not in part and "c-verdict" not in part


def test_a_stranger_is_refused(stranger: Client) -> None:
    assert stranger.get("/providers/").status_code == 403
