"""Which pages a change concerns, and what is news."""

import pytest

from dashboard import page_keys


@pytest.mark.parametrize(
    ("page", "number"),
    [("fleet", 1), ("fleet:2", 2), ("fleet:99", 99)]
    + [
        (page, 0)
        for page in ("fleet:1", "fleet:0", "fleet:02", "fleet:100", "fleet:", "fleet:x", "node:2", "")
    ],
)
def test_a_page_of_the_fleet_has_a_number(page: str, number: int) -> None:
    assert page_keys.fleet_number(page) == number


def test_what_is_said_of_all_nodes_is_rendered_once_however_many_changed() -> None:
    keys = ["heard", "node:node-a", "node:node-b", "node:node-a", "audit"]

    assert page_keys.concerning("fleet", keys) == ["heard", "node:node-a", "summary", "node:node-b"]
    assert page_keys.concerning("fleet:2", keys) == ["heard", "node:node-a", "summary", "node:node-b"]
    assert page_keys.concerning("fleet", ["heard"]) == ["heard"]
    assert page_keys.concerning("fleet", ["providers:node-a", "node:node-a"]) == ["node:node-a", "summary"]
    assert page_keys.concerning("node:node-a", keys) == ["heard", "node:node-a"]


@pytest.mark.parametrize(
    ("key", "news"),
    [
        ("node:a", True),
        ("nodes", True),
        ("heard", False),
        ("figures", False),
        ("figures:a", False),
        ("transitions:a", False),
    ],
)
def test_ages_and_figures_are_no_news(key: str, news: bool) -> None:
    assert page_keys.is_news(key) is news


@pytest.mark.parametrize(
    ("key", "pages"),
    [
        ("node:node-a", ("fleet", "node:node-a", "drains")),
        ("providers:node-a", ("fleet", "node:node-a", "providers", "runs", "run:")),
        ("runs:node-a", ("runs", "node:node-a", "run:")),
        ("run:run_1", ("run:run_1",)),
        ("runs", ("runs",)),
        ("runs:", ()),
        ("providers", ()),
        ("nodes", ("fleet",)),
        ("traces", ()),
        ("figures", ("fleet", "node:")),
        ("figures:node-a", ("fleet", "node:node-a")),
        ("transitions:node-a", ("node:node-a", "providers")),
        ("heard", ("fleet", "node:", "providers")),
        ("audit", ()),
        ("node:", ()),
        ("", ()),
    ],
)
def test_a_key_names_its_pages(key: str, pages: tuple[str, ...]) -> None:
    assert page_keys.pages_of(key) == pages


@pytest.mark.parametrize(
    ("page", "keys"),
    [
        ("fleet", {"nodes"}),
        ("fleet:2", {"nodes"}),
        ("providers", {"nodes", "providers", "overrides"}),
        ("traces", {"traces"}),
        ("drains", {"drains"}),
        ("audit", {"audit"}),
        ("node:node-a", {"providers:node-a", "transitions:node-a", "drains", "traces", "runs"}),
        ("runs", {"runs"}),
        ("run:run_1", {"run:run_1"}),
    ],
)
def test_each_page_knows_what_changes_its_list(page: str, keys: set[str]) -> None:
    assert page_keys.list_keys_of(page) == keys
