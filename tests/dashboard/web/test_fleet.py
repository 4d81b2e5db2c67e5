"""The first page."""

import json
import os
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from dashboard.selectors import nodes as selector
from dashboard.services import audit_triggers
from dashboard.web.fleet import demo_url
from tests.dashboard.web import example_mesh, factory
from tests.dashboard.web.conftest import HTMX, NOW

GONE_PID = 2**22 + 1  # beyond what Linux gives out by default


@pytest.mark.django_db
def test_the_worst_is_said_first_and_every_node_has_a_row(viewer: Client) -> None:
    example_mesh.make(now=NOW)

    page = viewer.get("/").content.decode()

    assert "<h1>node-e is unreachable</h1>" in page
    rows = [page.index(f'href="/nodes/node-{letter}/"') for letter in "ebacdf"]
    assert rows == sorted(rows)
    assert 'data-live-page="fleet"' in page
    assert "1 204 traces" in page


@pytest.mark.django_db
@pytest.mark.parametrize("nodes", [1, 20])
def test_the_number_of_nodes_changes_no_number_of_queries(
    viewer: Client, nodes: int, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    for n in range(nodes):
        factory.minutes(factory.seen_node(f"node-{n}", now=NOW), [5, 6], now=NOW)

    with django_assert_num_queries(10):  # 3 for who asks, 1 cursor, 5 for all nodes, 1 for the audit's guards
        assert viewer.get("/").status_code == 200


@pytest.mark.django_db
def test_a_large_fleet_has_pages_each_live_by_itself(viewer: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selector, "PAGE_ROWS", 2)
    for n in range(5):
        factory.seen_node(f"node-{n}", now=NOW)

    first, second, last = (viewer.get(f"/?page={n}").content.decode() for n in (1, 2, 3))

    assert [f"node-{n}/" in first for n in range(5)] == [True, True, False, False, False]
    assert [f"node-{n}/" in last for n in range(5)] == [False, False, False, False, True]
    assert 'data-live-page="fleet"' in first
    assert 'data-live-page="fleet:2"' in second
    assert 'hx-get="/?page=2"' in second
    assert "3 to 4 of 5 nodes" in second
    assert (second.count('rel="prev"'), second.count('rel="next"')) == (1, 1)
    assert (first.count('rel="prev"'), last.count('rel="next"')) == (0, 0)


@pytest.mark.django_db
def test_a_page_behind_the_last_one_says_so_and_leads_back(viewer: Client) -> None:
    page = viewer.get("/?page=9").content.decode()

    assert "not so many nodes any more" in page
    assert 'rel="prev"' in page


@pytest.mark.django_db
@pytest.mark.parametrize("number", ["0", "-1", "01", "100", "two", "²"])
def test_a_page_that_cannot_be_is_not_there(viewer: Client, number: str) -> None:
    assert viewer.get("/", {"page": number}).status_code == 404


@pytest.mark.django_db
def test_an_audit_that_nothing_guards_is_said_above_all(viewer: Client) -> None:
    assert "audit entries be changed" not in viewer.get("/").content.decode()
    audit_triggers.remove(connection)

    page = viewer.get("/").content.decode()

    assert "The database would let audit entries be changed: audit_refuses_delete" in page
    assert "audit entries be changed" not in viewer.get("/", headers=HTMX).content.decode()


@pytest.mark.django_db
def test_without_a_node_it_says_how_to_add_one(viewer: Client) -> None:
    page = viewer.get("/").content.decode()

    assert "No node has been added yet" in page
    assert "python manage.py add_node node-a" in page


@pytest.mark.django_db
def test_the_rows_come_alone_and_the_confirm_is_not_among_them(operator: Client) -> None:
    factory.seen_node("node-a", now=NOW)

    part = operator.get("/", headers=HTMX).content.decode()

    assert part.strip().startswith('<div id="rows"')
    assert 'id="confirm"' not in part


@pytest.mark.django_db
def test_a_viewer_sees_the_button_disabled_with_the_reason(viewer: Client, operator: Client) -> None:
    factory.seen_node("node-a", now=NOW)

    assert (
        '<button type="button" disabled title="Draining is for operators and admins.">'
        in viewer.get("/").content.decode()
    )
    assert 'href="/nodes/node-a/?confirm=drain"' in operator.get("/").content.decode()


@pytest.mark.django_db
def test_a_viewer_is_not_led_to_the_audit(viewer: Client, operator: Client) -> None:
    assert 'href="/audit/"' not in viewer.get("/").content.decode()
    assert 'href="/audit/"' in operator.get("/").content.decode()


def test_the_demo_is_linked_only_while_it_runs(tmp_path: Path) -> None:
    said = tmp_path / "demo" / "mesh.json"
    said.parent.mkdir()
    before = demo_url(tmp_path)

    said.write_text(json.dumps({"control_url": "http://127.0.0.1:9/", "pid": os.getpid(), "nodes": []}))
    running = demo_url(tmp_path)
    said.write_text(json.dumps({"control_url": "http://127.0.0.1:9/", "pid": GONE_PID, "nodes": []}))
    dead = demo_url(tmp_path)

    assert (before, running, dead) == ("", "http://127.0.0.1:9/", "")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"pid": "x", "control_url": "http://a/"}'])
def test_a_broken_word_of_the_demo_links_nowhere(tmp_path: Path, text: str) -> None:
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "mesh.json").write_text(text)

    assert demo_url(tmp_path) == ""


def test_only_a_web_address_is_linked(tmp_path: Path) -> None:
    (tmp_path / "demo").mkdir()
    said = {"control_url": "javascript:alert(1)", "pid": os.getpid()}
    (tmp_path / "demo" / "mesh.json").write_text(json.dumps(said))

    assert demo_url(tmp_path) == ""
