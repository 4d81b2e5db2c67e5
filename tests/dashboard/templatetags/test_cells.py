"""Ids of cells, and icons."""

import pytest

from dashboard.templatetags.cells import cell, cell_id, slug
from dashboard.templatetags.icons import IconDoesNotExist, icon


def test_an_id_says_what_and_whose() -> None:
    assert cell("state", "node-a") == "c-state-node-a"
    assert cell("breaker", "node-a", "ollama/llama3.1") == "c-breaker-node-a-ollama_2f_llama3_2e_1"


def test_a_cell_of_the_page_itself_has_no_name_and_parts_make_the_same_id() -> None:
    assert cell("verdict") == cell_id(["verdict"]) == "c-verdict"
    assert cell_id(["state", "node-a"]) == cell("state", "node-a")


def test_two_names_are_not_taken_for_two_others() -> None:
    assert cell("breaker", "node", "a-groq") != cell("breaker", "node-a", "groq")


def test_different_names_have_different_ids() -> None:
    names = ["a.b", "a_b", "a-b", "a/b", "a:b", "a_2e_b"]

    assert len({slug(name) for name in names}) == len(names)


def test_an_icon_is_hidden_from_screen_readers_and_takes_the_colour_of_its_text() -> None:
    svg = icon("droplet")

    assert 'aria-hidden="true"' in svg
    assert 'stroke="currentColor"' in svg


def test_an_icon_that_lucide_does_not_have_is_a_mistake() -> None:
    with pytest.raises(IconDoesNotExist):
        icon("dragon")
