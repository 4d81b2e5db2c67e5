"""What an address may ask of a list."""

import pytest

from dashboard.selectors.keyset import Cursor
from dashboard.web import asked
from dashboard.web.asked import BadQuery


@pytest.mark.parametrize(
    ("query", "cursor"),
    [
        ({}, Cursor()),
        ({"before": ""}, Cursor()),
        ({"before": "17"}, Cursor(before=17)),
        ({"after": "9223372036854775807"}, Cursor(after=2**63 - 1)),
    ],
)
def test_a_cursor_is_a_key(query: dict[str, str], cursor: Cursor) -> None:
    assert asked.cursor(query) == cursor


@pytest.mark.parametrize("value", ["-1", "x", "1.5", "٣", " 1", "9223372036854775808", "9" * 100, "0" * 5000])
def test_what_is_no_key_is_refused(value: str) -> None:
    with pytest.raises(BadQuery, match="before="):
        asked.cursor({"before": value})


def test_a_choice_that_does_not_exist_is_refused_with_those_that_do() -> None:
    assert asked.choice({"outcome": "ok"}, "outcome", ("ok", "error")) == "ok"
    assert asked.choice({}, "outcome", ("ok", "error")) == ""
    with pytest.raises(BadQuery, match=r"outcome='okay': expected one of ok, error\."):
        asked.choice({"outcome": "okay"}, "outcome", ("ok", "error"))
    with pytest.raises(BadQuery, match="none yet"):
        asked.choice({"node": "a"}, "node", ())


def test_a_text_is_trimmed_and_bounded() -> None:
    assert asked.text({"actor": " alice "}, "actor", at_most=5) == "alice"
    with pytest.raises(BadQuery, match="actor: 6 characters"):
        asked.text({"actor": "alicia"}, "actor", at_most=5)


@pytest.mark.parametrize(
    ("query", "page"),
    [({}, "traces"), ({"node": "a"}, "traces"), ({"before": "1"}, ""), ({"pause": "1"}, "")],
)
def test_only_the_newest_rows_come_by_themselves(query: dict[str, str], page: str) -> None:
    assert asked.tail(query, "traces") == page
