"""Cursors: what a list gave comes back, and nothing else does."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard.api.cursors import KEY_MAX, BadCursor, decode, encode


@given(st.integers(0, KEY_MAX), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")))
def test_a_place_comes_back_from_its_cursor(number: int, name: str) -> None:
    assert decode(encode("a", (number, name)), "a", (int, str)) == (number, name)


def test_a_cursor_needs_no_escaping_in_an_address() -> None:
    assert encode("traces", ("~?>",)).isascii()
    assert not set(encode("traces", ("~?>", 1))) & set("+/=&?%")


def raw(document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param("%%%", id="no base64"),
        pytest.param("é", id="no ASCII"),
        pytest.param("QUJD", id="no JSON"),
        pytest.param(raw(7), id="no list"),
        pytest.param(raw([]), id="nothing in it"),
        pytest.param(encode("b", (7,)), id="of another list"),
        pytest.param(encode("a", ("7",)), id="of another kind"),
        pytest.param(encode("a", (7, 8)), id="with too much"),
        pytest.param(raw(["a", True]), id="a flag"),
        pytest.param(raw(["a", -1]), id="below zero"),
        pytest.param(raw(["a", 2**63]), id="beyond any key"),
        pytest.param(raw(["a", [7]]), id="nested"),
        pytest.param("A" * 2000, id="too long"),
        pytest.param(base64.urlsafe_b64encode(b"[" * 700).decode(), id="deep"),
    ],
)
def test_what_no_list_gave_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        decode(text, "a", (int,))


@pytest.mark.parametrize("name", ["\x00", "\ud800"])
def test_a_key_that_no_database_takes_is_refused(name: str) -> None:
    with pytest.raises(BadCursor):
        decode(raw(["a", name]), "a", (str,))


@given(st.text())
def test_text_that_somebody_made_up_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        decode(text, "a", (int,))
