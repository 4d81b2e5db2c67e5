"""Aliases: what a table may say, and which table is in force. Cases are those of bus-and-health §4."""

import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshcore.alias import AliasBook, AliasSource, Step, is_alias, parse_aliases
from meshcore.errors import ConfigError

TABLE = {"mesh/two-step": ("alpha/m1", "beta/m2"), "mesh/fast": ("alpha/m1",)}


def test_a_good_table_is_taken_as_it_is() -> None:
    table = {"mesh/fast": ["ollama/llama3", "openrouter/meta-llama/llama-3"]}

    assert parse_aliases(table, source="node.toml") == {
        "mesh/fast": ("ollama/llama3", "openrouter/meta-llama/llama-3")
    }


def test_a_models_own_slashes_stay_with_the_model() -> None:
    step = Step.parse("openrouter/meta-llama/llama-3")

    assert (step.provider, step.model) == ("openrouter", "meta-llama/llama-3")
    assert str(step) == "openrouter/meta-llama/llama-3"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mesh/fast", True), ("mesh/", False), ("mesh", False), ("meshX/fast", False), ("", False)],
)
def test_case_20_the_prefix_makes_an_alias(name: str, expected: bool) -> None:
    assert is_alias(name) is expected


@pytest.mark.parametrize(
    ("table", "complaint"),
    [
        ([], "aliases = []: expected a table"),
        (None, "aliases = None: expected a table"),
        ({f"mesh/a{n}": ["a/b"] for n in range(1001)}, "expected a table of at most 1000 aliases"),
        ({"fast": ["a/b"]}, "the name of aliases.'fast' = 'fast': expected mesh/NAME"),
        ({"mesh/a/b": ["a/b"]}, "the name of aliases.'mesh/a/b'"),
        ({"mesh/": ["a/b"]}, "the name of aliases.'mesh/'"),
        ({3: ["a/b"]}, "the name of aliases.3 = 3"),
        ({"mesh/fast": "a/b"}, "aliases.'mesh/fast' = 'a/b': expected a list"),
        ({"mesh/fast": {"chain": ["a/b"]}}, "aliases.'mesh/fast' = {'chain': ['a/b']}: expected a list"),
        ({"mesh/fast": []}, "aliases.'mesh/fast' = []: expected at least one PROVIDER/MODEL"),
        ({"mesh/fast": ["a/b", 3]}, "aliases.'mesh/fast' = ['a/b', 3]: expected a list"),
        ({"mesh/fast": [" "]}, "each PROVIDER/MODEL"),
        ({"mesh/fast": ["llama3"]}, "each PROVIDER/MODEL"),
        ({"mesh/fast": ["a/b"] * 101}, "a list of at most 100"),
        ({"mesh/fast": ["a/b", "c/d", "a/b"]}, "expected each PROVIDER/MODEL once"),
    ],
)
def test_case_20_a_wrong_table_is_refused_whole_with_value_and_what_is_allowed(
    table: Any, complaint: str
) -> None:
    with pytest.raises(ConfigError, match=re.escape(complaint)) as refusal:
        parse_aliases(table, source="node.toml")

    assert str(refusal.value).startswith("node.toml: ")


def test_case_20_a_reload_shows_what_changed_and_drops_what_was_removed() -> None:
    book = AliasBook({"mesh/foo": ("foo/m",), "mesh/old": ("foo/m",)})

    changed = book.load({"mesh/foo": ("bar/m", "groq/m")})

    assert changed
    assert book.chain("mesh/foo") == (Step("bar", "m"), Step("groq", "m"))
    assert book.chain("mesh/old") is None


def test_loading_the_same_table_again_changes_nothing() -> None:
    book = AliasBook(TABLE)

    assert not book.load(dict(TABLE))


def test_the_dashboards_table_replaces_the_files_whole_until_it_wants_none() -> None:
    book = AliasBook(TABLE)

    assert book.want({"mesh/slow": ["gamma/m3"]})
    assert not book.want({"mesh/slow": ["gamma/m3"]})
    assert (book.source, list(book.chains())) == (AliasSource.DASHBOARD, ["mesh/slow"])
    assert book.want(None)
    assert (book.source, list(book.chains())) == (AliasSource.FILE, ["mesh/fast", "mesh/two-step"])


def test_a_table_of_the_dashboard_without_aliases_is_a_table_too() -> None:
    book = AliasBook(TABLE)

    book.want({})

    assert (book.source, book.chains()) == (AliasSource.DASHBOARD, {})


def test_a_file_that_is_loaded_while_the_dashboards_table_holds_waits_for_its_turn() -> None:
    book = AliasBook(TABLE)
    book.want({"mesh/slow": ["gamma/m3"]})

    book.load({"mesh/new": ("alpha/m1",)})
    meanwhile = list(book.chains())
    book.want(None)

    assert (meanwhile, list(book.chains())) == (["mesh/slow"], ["mesh/new"])


def test_case_20_a_refused_table_leaves_the_old_one_and_says_why() -> None:
    book = AliasBook(TABLE)
    book.want({"mesh/slow": ["gamma/m3"]})

    with pytest.raises(ConfigError, match="at least one"):
        book.want({"mesh/good": ["a/b"], "mesh/bad": []})

    assert list(book.chains()) == ["mesh/slow"]
    assert "mesh/bad" in book.problems[AliasSource.DASHBOARD]


def test_a_good_table_ends_the_problem() -> None:
    book = AliasBook(TABLE)
    assert book.refuse_file("it is no TOML")
    assert not book.refuse_file("it is no TOML")
    with pytest.raises(ConfigError):
        book.want({"nonsense": []})

    book.load(TABLE)
    book.want(None)

    assert book.problems == {}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
chains = st.lists(st.sampled_from(["a/b", "c/d/e", "", "x", "a b/c", "a/b,c"]) | json_values, max_size=4)
names = st.sampled_from(["mesh/a", "mesh/b-1", "mesh/", "mesh", "other"]) | st.text()


@given(st.dictionaries(names, chains | json_values, max_size=3) | json_values)
def test_whatever_comes_is_a_table_or_one_clear_error(table: Any) -> None:
    book = AliasBook(TABLE)
    with suppress(ConfigError):
        book.load(parse_aliases(table, source="hypothesis"))

    assert all(is_alias(name) and chain for name, chain in book.chains().items())
