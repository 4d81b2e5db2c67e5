"""Live cells: the same bytes for everybody, and nothing in them that a swap could take away from a person."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest
import time_machine
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from pytest_django import DjangoAssertNumQueries, DjangoDbBlocker

from dashboard import fragments, page_keys
from dashboard.models import Drain, Node, ProviderHealth
from dashboard.selectors import nodes
from dashboard.templatetags import pills
from meshcore.drain import NodeState
from tests.dashboard.web import example_mesh, factory

NOW = datetime(2026, 3, 5, 14, 21, 7, tzinfo=UTC)
RUNS = [example_mesh.run_id(number, now=NOW) for number in range(8)]
PAGES = {
    "fleet": "/",
    "providers": "/providers/",
    "drains": "/drains/",
    "runs": "/runs/",
    **{f"run:{run_id}": f"/runs/{run_id}/" for run_id in RUNS},
    **{f"node:node-{x}": f"/nodes/node-{x}/" for x in "abcdef"},
}
OOB = ' hx-swap-oob="true"'
FORBIDDEN = {
    *(
        "a",
        "area",
        "audio",
        "button",
        "details",
        "dialog",
        "embed",
        "fieldset",
        "form",
        "iframe",
        "input",
        "label",
    ),
    *("link", "meta", "object", "script", "select", "style", "summary", "textarea", "tr", "td", "video"),
}
MAY_NEST_TABLES = {
    "c-breakers-",
    "c-drain-node-",
    "c-ribbon-",
}  # whole tables inside the cell are no loose rows

pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module", autouse=True)
def _mesh(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """One of each trouble; what a test does to it is taken back behind the test."""
    with django_db_blocker.unblock(), transaction.atomic():
        example_mesh.make(now=NOW)
        factory.seen_node(
            "node-c", now=NOW, state=NodeState.DRAINED, drain=factory.local_drain(now=NOW), safe_to_stop=True
        )
        factory.order(Node.objects.get(name="node-d"), generation=3, drains=True, seconds_ago=30, now=NOW)
        example_mesh.drains(now=NOW)
        example_mesh.runs(now=NOW)
        yield
        transaction.set_rollback(True)


@pytest.fixture(autouse=True)
def _moment() -> Iterator[None]:
    """The clock stands still."""
    with time_machine.travel(NOW, tick=False):
        yield


class Cells(HTMLParser):
    """The top elements of out-of-band HTML: id -> their source, and every tag and attribute inside."""

    VOID = frozenset({"path", "polyline", "polygon", "rect", "circle", "line", "br"})

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=False)
        self.html = html
        self.found: dict[str, str] = {}
        self.tags: dict[str, set[str]] = {}
        self.attributes: set[str] = set()
        self._depth = 0
        self._starts = [0]
        for line in html.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self.feed(html)

    def _offset(self) -> int:
        line, column = self.getpos()
        return self._starts[line - 1] + column

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._depth == 0:
            assert tag in ("span", "div"), f"a cell is a span or a div, not a {tag}"
            self._id, self._begin = dict(attrs)["id"] or "", self._offset()
            self.tags[self._id] = set()
        else:
            self.tags[self._id].add(tag)
        self.attributes |= {name for name, _ in attrs}
        self._depth += 1

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[self._id].add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_endtag(self, tag: str) -> None:
        self._depth -= 1
        if self._depth == 0:
            end = self._offset() + len(f"</{tag}>")
            self.found[self._id] = self.html[self._begin : end]


def pushed(page: str) -> Cells:
    return Cells(fragments.render_all(page, NOW))


def rendered(page: str, *changed: str, now: datetime = NOW) -> str:
    """What a page is pushed after changes of these keys of the feed."""
    return "".join(fragments.render(page, page_keys.concerning(page, changed), now).values())


def seen(user: User, path: str) -> str:
    browser = Client()
    browser.force_login(user)
    return browser.get(path).content.decode()


@pytest.mark.parametrize("page", PAGES)
def test_a_pushed_cell_is_byte_for_byte_the_cell_that_operator_and_viewer_see(
    page: str, alice: User, bob: User
) -> None:
    cells = pushed(page)
    pages = [seen(user, PAGES[page]) for user in (alice, bob)]

    assert cells.found
    for name, cell in cells.found.items():
        assert OOB in cell
        assert [html.count(cell.replace(OOB, "")) for html in pages] == [1, 1], name


@pytest.mark.parametrize("page", PAGES)
def test_a_cell_has_nothing_that_can_be_focused_typed_into_or_followed(page: str) -> None:
    cells = pushed(page)

    for name, tags in cells.tags.items():
        nested = any(name.startswith(prefix) for prefix in MAY_NEST_TABLES)
        assert tags & (FORBIDDEN - ({"tr", "td"} if nested else set())) == set(), name
    assert cells.attributes & {"href", "tabindex", "contenteditable", "style", "autofocus"} == set()
    assert not [name for name in cells.attributes if name.startswith("on")]


@pytest.mark.parametrize("page", PAGES)
def test_no_page_has_the_same_id_twice(page: str, alice: User) -> None:
    ids = re.findall(r'\sid="([^"]+)"', seen(alice, PAGES[page] + "?confirm=drain"))

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("page", PAGES)
def test_the_confirm_and_the_button_stand_outside_of_every_cell(page: str, alice: User) -> None:
    cells = "".join(pushed(page).found.values())

    for outside in ('id="confirm"', 'id="control"', 'id="rows"', 'id="list-changed"', "csrfmiddlewaretoken"):
        assert outside not in cells


def test_a_change_of_a_node_renders_its_row_and_what_is_said_of_all() -> None:
    cells = Cells(rendered("fleet", "node:node-b")).found

    assert {f"c-{what}-node-b" for what in fragments.ROW_CELLS} < set(cells)
    assert {"c-verdict", "c-totals", "c-notices"} < set(cells)
    assert not [name for name in cells if name.endswith("node-a")]


def test_a_change_of_a_provider_renders_its_breaker_on_the_page_of_the_node() -> None:
    html = rendered("node:node-b", "providers:node-b")

    assert 'id="c-breaker-node-b-ollama"' in html
    assert "data-until=" in html


@pytest.mark.parametrize(
    ("page", "key", "cells"),
    [
        ("fleet", "heard", {f"c-heard-node-{x}" for x in "abcdef"}),
        ("node:node-a", "heard", {"c-heard-node-a"}),
        ("node:node-a", "figures", {f"c-{name}-node-a" for name in ("figures", "drain", "facts")}),
        ("node:node-a", "figures:node-a", {"c-figures-node-a"}),
        ("node:node-a", "figures:node-b", set()),
        ("node:node-a", "traces", set()),
        ("fleet", "traces", set()),
        ("fleet", "nodes", {"c-verdict", "c-totals", "c-notices"}),
        ("fleet", "audit", set()),
        ("providers", "heard", {f"c-heard-node-{x}" for x in "abcde"}),
        ("providers", "node:node-b", set()),
        ("providers", "nodes", set()),
        ("fleet", "node:nowhere", {"c-verdict", "c-totals", "c-notices"}),
        ("node:node-a", "node:node-b", set()),
        ("drains", "node:node-f", set()),
        ("drains", "drains", set()),
        (f"run:{RUNS[6]}", "nodes", set()),
        (f"run:{RUNS[6]}", f"run:{RUNS[7]}", set()),
        ("run:nowhere", "run:nowhere", set()),
        ("node:node-a", "runs:node-b", set()),
        ("node:node-a", "nodes", set()),
        ("node:nowhere", "node:nowhere", set()),
        ("traces", "traces", set()),
        ("nonsense", "node:node-a", set()),
    ],
)
def test_each_change_renders_what_it_concerns_and_no_more(page: str, key: str, cells: set[str]) -> None:
    assert set(Cells(rendered(page, key)).found) == cells


def test_a_page_of_the_fleet_gets_the_cells_of_its_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "PAGE_ROWS", 2)  # node-e and node-b are worst

    assert "c-state-node-b" in rendered("fleet", "node:node-b")
    assert "c-state-node-b" not in rendered("fleet:2", "node:node-b")
    assert set(Cells(rendered("fleet", "heard")).found) == {"c-heard-node-e", "c-heard-node-b"}
    assert "c-state-node-a" in fragments.render_all("fleet:2", NOW)


def test_traffic_renders_the_figures_of_every_row() -> None:
    cells = set(Cells(rendered("fleet", "figures")).found)

    assert {"c-rate-node-a", "c-spark-node-f", "c-totals"} < cells
    assert "c-state-node-a" not in cells


def test_what_a_node_works_on_renders_its_figures_and_those_of_all() -> None:
    figures = {f"c-{name}-node-a" for name in ("flight", "rate", "errors", "times", "spark")}

    assert set(Cells(rendered("fleet", "figures:node-a")).found) == figures | {
        "c-verdict",
        "c-totals",
        "c-notices",
    }


@pytest.mark.parametrize("page", ["", "traces", "node:nowhere", "nonsense"])
def test_a_page_without_cells_renders_nothing(page: str) -> None:
    assert fragments.render_all(page, NOW) == ""


def test_a_change_of_a_provider_renders_the_rows_of_its_node_and_what_all_rows_amount_to() -> None:
    cells = set(Cells(rendered("providers", "providers:node-b")).found)

    assert {"c-verdict", "c-tally", "c-finding-ollama", "c-strip-groq", "c-error-vllm"} < cells
    assert {f"c-breaker-node-b-{name}" for name in ("ollama", "groq", "vllm", "openrouter")} < cells
    assert cells < set(pushed("providers").found)


def test_a_breaker_renders_what_stood_against_the_others_and_does_no_more() -> None:
    against = 'id="c-breaker-node-c-groq" class="cell odd"'
    ProviderHealth.objects.filter(key="groq").update(state="closed")
    ProviderHealth.objects.filter(key="groq", node__name="node-c").update(state="open")
    alone = rendered("providers", "providers:node-c")

    ProviderHealth.objects.filter(key="groq", node__name="node-b").update(state="open")
    behind = rendered("providers", "providers:node-b")

    assert against in alone
    assert against not in behind and 'id="c-breaker-node-c-groq"' in behind


def test_a_breaker_of_a_node_that_fell_silent_is_pushed_without_its_colour() -> None:
    later = Cells(rendered("providers", "providers:node-b", now=NOW + timedelta(seconds=60))).found

    assert "was open" in later["c-breaker-node-b-ollama"]
    assert "pill none" in later["c-breaker-node-b-ollama"]


def test_a_change_of_a_node_renders_its_drains_alone() -> None:
    cells = Cells(rendered("drains", "node:node-a")).found

    drains = Drain.objects.filter(node__name="node-a")
    assert set(cells) == {f"c-{what}-{drain.pk}" for what in fragments.DRAIN_CELLS for drain in drains}


def test_a_cell_that_cannot_be_rendered_says_so_in_its_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(look: object, said: str) -> str:
        raise KeyError(said)

    whole = {page: set(pushed(page).found) for page in PAGES}
    monkeypatch.setattr(pills, "_pill", broken)

    for page, ids in whole.items():
        cells = pushed(page).found
        assert set(cells) == ids
        assert "can't be shown" in "".join(cells.values())
    assert "cells can't be rendered" in caplog.text
    assert "KeyError" in caplog.text


def test_the_other_cells_of_a_node_are_shown_beside_a_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(pills.NODE_LOOKS, "degraded", None)

    cells = Cells(rendered("fleet", "node:node-b")).found

    assert "can't be shown" in cells["c-state-node-b"]
    assert "12" in cells["c-flight-node-b"]


@pytest.mark.parametrize(
    ("page", "queries"),
    [
        *(("fleet", 6), ("node:node-b", 10), ("node:node-a", 13), ("providers", 4), ("drains", 4)),
        *(("runs", 8), (f"run:{RUNS[7]}", 3), (f"run:{RUNS[0]}", 1)),
    ],
)
def test_rendering_everything_takes_a_fixed_number_of_queries(
    page: str, queries: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    with django_assert_num_queries(queries):
        fragments.render_all(page, NOW)


def test_the_cells_by_plain_request_are_the_pushed_ones_with_the_time(bob: User) -> None:
    browser = Client()
    browser.force_login(bob)

    html = browser.get("/live/cells?page=fleet").content.decode()

    assert fragments.render_all("fleet", NOW) in html
    assert 'data-at="2026-03-05T14:21:07+00:00"' in html


def test_a_cell_that_time_alone_changes_is_rendered_for_its_moment() -> None:
    later = rendered("fleet", "node:node-b", now=NOW + timedelta(seconds=60))

    assert "unreachable" in later
    assert "1 min" not in rendered("fleet", "node:node-b")


def test_a_change_of_the_runs_of_a_node_renders_them_wherever_they_are_seen() -> None:
    moved = RUNS[6]  # it went from node-b to node-c
    on_list = set(Cells(rendered("runs", "runs:node-c")).found)
    on_node = set(Cells(rendered("node:node-c", "runs:node-c")).found)
    on_page = set(Cells(rendered(f"run:{moved}", "runs:node-c")).found)

    slug = moved.replace("_", "_5f_")
    assert {"c-tally", f"c-status-{slug}", f"c-owner-{slug}"} < on_list
    assert on_node == {f"c-{what}-{slug}" for what in fragments.RUN_CELLS if what != "owner"}
    assert on_page == {f"c-{what}-{slug}" for what in fragments.RUN_PAGE_CELLS}


def test_a_run_whose_owner_is_silent_is_pushed_without_its_colour() -> None:
    cells = Cells(rendered("runs", "providers:node-e")).found

    silent = cells[f"c-status-{RUNS[4].replace('_', '_5f_')}"]
    assert "was running" in silent and "data-stale" in silent and "pill none" in silent
