"""The providers' page."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.models import AuditEntry, DesiredState, Node, ProviderHealth
from dashboard.selectors import matrix
from dashboard.services import overrides
from meshcore.breaker import BreakerState
from meshcore.override import Action
from tests.dashboard.services.trail import ALICE
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

    with django_assert_num_queries(9):  # 3 for who asks, 1 cursor, 4 for all breakers, 1 for overrides
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


def overridden(node: Node, action: Action, **more: Any) -> None:
    facts = {"key": "groq", "reason": "bills twice", "expires_seconds": 3600.0, "now": NOW, **more}
    overrides.put(node=node, action=action, actor=ALICE, **facts)


def test_overrides_say_who_wants_what_why_where_and_until_when(viewer: Client) -> None:
    nodes = [factory.seen_node(name, now=NOW) for name in ("node-a", "node-b", "node-c")]
    overridden(nodes[0], Action.FORCE_OPEN)
    overridden(nodes[1], Action.FORCE_CLOSED, expires_seconds=None, reason="its <b>probe</b> lies")
    Node.objects.filter(name="node-a").update(observed_generation=1)
    factory.breaker(nodes[0], "groq", now=NOW, state=BreakerState.FORCED_OPEN, open_seconds=3600)
    factory.breaker(nodes[1], "groq", now=NOW, state=BreakerState.FORCED_CLOSED)

    page = read(viewer)

    assert cell(page, "c-breaker-node-a-groq") == "forced open 1 h"
    assert cell(page, "c-breaker-node-b-groq") == "forced closed"
    rows = page.partition('id="overrides-title"')[2].partition("</section>")[0].split("<tr>")[2:]
    told = [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in rows]
    assert told[0].startswith("groq forced open alice : bills twice node-a 14:21:07 15:21:07 in 1 h")
    assert "node-b waits for node-b 14:21:07 it is lifted" in told[1]
    assert "its &lt;b&gt;probe&lt;/b&gt; lies" in page


def test_who_may_override_can_click_on_every_breaker_and_on_each_row(operator: Client) -> None:
    example_mesh.make(now=NOW)

    page = read(operator)

    assert 'href="/providers/?override=groq&amp;node=node-c"' in page
    assert 'href="/providers/?override=groq"' in page
    assert 'href="/providers/?override=node%3Anode-e&amp;node=node-c"' in page
    assert "Click on one above" in page


def test_who_may_not_sees_disabled_buttons_with_the_reason(viewer: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    overridden(node, Action.FORCE_OPEN)

    page = read(viewer, "?override=groq")

    assert page.count('disabled title="Overriding breakers is for operators and admins."') == 3
    assert "data-confirm" not in page and 'class="over"' not in page
    assert viewer.post("/providers/override/", {"key": "groq"}).status_code == 403


def test_the_second_step_opens_with_the_page_and_in_place(operator: Client) -> None:
    example_mesh.make(now=NOW)
    in_place = {**HTMX, "HX-Target": "confirm"}

    page = read(operator, "?override=groq&node=node-c")
    opened = operator.get("/providers/?override=groq", headers=in_place).content.decode()
    closed = operator.get("/providers/?override=", headers=in_place).content.decode()

    assert '<div id="confirm" class="panel"> <form class="confirm"' in page
    assert '<option value="node-c" selected>' in page and '<option value="3600" selected>' in page
    assert 'hx-get="/providers/?"' in page  # the rows are fetched without the form
    assert opened.strip().startswith('<form class="confirm"')
    assert closed == ""


@pytest.mark.parametrize("in_place", [True, False])
def test_an_override_is_asked_of_the_node_with_reason_and_end(operator: Client, in_place: bool) -> None:
    for name in ("node-a", "node-b"):
        factory.seen_node(name, now=NOW)
    form = {
        "key": "groq",
        "action": "force_open",
        "node": "node-a",
        "expires": "1800",
        "reason": "bills twice",
    }

    response = operator.post(
        "/providers/override/",
        form,
        headers=HTMX if in_place else {},
        follow=not in_place,
        REMOTE_ADDR="192.0.2.7",
    )

    assert "Asked node-a to take groq out of service." in response.content.decode()
    assert ("rows-changed" in response.get("HX-Trigger", "")) is in_place
    (wish,) = DesiredState.objects.get().overrides
    assert (wish["action"], wish["actor"], wish["reason"]) == ("force_open", "alice", "bills twice")
    assert wish["expires_at"].startswith("2026-03-05T14:51:07")
    assert AuditEntry.objects.get().address == "192.0.2.7"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("force_closed", "Asked node-a and node-b to hold the breaker of groq closed."),
        ("reset", "Asked node-a and node-b to reset the breaker of groq."),
        ("lift", "Nothing changed: groq was just so already."),
    ],
)
def test_all_nodes_that_have_it_are_asked_at_once(operator: Client, action: str, said: str) -> None:
    for name in ("node-a", "node-b"):
        factory.seen_node(name, now=NOW)
    form = {"key": "groq", "action": action, "node": "", "expires": "never", "reason": "its probe lies"}

    assert said in operator.post("/providers/override/", form, follow=True).content.decode()


def test_an_override_is_lifted_from_its_own_line(operator: Client) -> None:
    node = factory.seen_node("node-a", now=NOW)
    overridden(node, Action.FORCE_OPEN)

    opened = read(operator, "?override=groq&action=lift&node=node-a")
    done = operator.post(
        "/providers/override/",
        {"key": "groq", "action": "lift", "node": "node-a", "reason": "paid"},
        follow=True,
    )

    assert '<option value="lift" selected>' in opened and "curl -X DELETE" in opened
    assert "Asked node-a to let groq go by its own evidence again." in done.content.decode()
    assert DesiredState.objects.get().overrides == []


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"reason": "x"}, "3 characters or more"),
        ({"reason": "x" * 501}, "501 characters"),
        ({"reason": "a\x00bc"}, "control characters"),
        ({"action": "explode"}, "no choice &#x27;explode&#x27;"),
        ({"expires": "soon"}, "no choice &#x27;soon&#x27;"),
        ({"node": "nowhere"}, "no node called &#x27;nowhere&#x27;"),
        ({"key": ""}, "expected PROVIDER"),
    ],
)
@pytest.mark.parametrize("in_place", [True, False])
def test_what_cannot_be_used_is_said_in_place_and_what_was_typed_stays(
    operator: Client, form: dict[str, str], words: str, in_place: bool
) -> None:
    factory.seen_node("node-a", now=NOW)
    whole = {"key": "groq", "action": "reset", "expires": "never", "reason": "its probe lies", **form}
    whole["action"] = whole["action"] if "expires" not in form else "force_open"

    response = operator.post("/providers/override/", whole, headers=HTMX if in_place else {})

    page = response.content.decode()
    assert response.status_code == 422
    assert words in page and 'role="alert"' in page
    assert ("<html" in page) is not in_place
    assert not DesiredState.objects.exists()


def test_a_stranger_is_refused(stranger: Client) -> None:
    assert stranger.get("/providers/").status_code == 403
