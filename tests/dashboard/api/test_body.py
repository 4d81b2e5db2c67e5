"""Bodies of writes: what is let through, and how the rest is named."""

import json
from typing import Any

import pytest
from django.test import RequestFactory
from hypothesis import given
from hypothesis import strategies as st
from rest_framework.request import Request

from dashboard.api.body import (
    FLAG,
    LINE,
    LINES,
    OBJECT,
    SECONDS,
    TABLE,
    TEXT,
    BodyError,
    Key,
    Shape,
    choice,
    decode,
    no_body,
    raw_json,
)
from dashboard.api.problems import Problem

SHAPE = Shape(
    keys={
        "name": Key(TEXT, "What it is called.", required=True, bounds={"maxLength": 9}),
        "on": Key(FLAG, "Whether."),
    },
    example={"name": "a"},
)


def request(body: bytes, method: str = "POST", **headers: str) -> Request:
    """Build a request as a view gets it."""
    content_type = headers.pop("content_type", "application/json")
    built = RequestFactory().generic(method, "/", data=body, content_type=content_type, headers=headers)
    return Request(built)


def test_a_shape_lets_its_own_keys_through() -> None:
    assert SHAPE.read(b'{"name": "x", "on": false}') == {"name": "x", "on": False}


@pytest.mark.parametrize(
    ("body", "field", "said"),
    [
        (b"", "name", "missing"),
        (b'{"name": "x", "of": 1}', "of", "allowed are name, on"),
        (b'{"name": 7}', "name", "name is 7; expected text"),
        (b'{"name": "x", "on": "yes"}', "on", "expected true or false"),
        (b'{"name": "a\\u0000b"}', "name", "control characters"),
        (b'{"name": "\\ud83d"}', "name", "half surrogate"),
        (b'{"name": "x", "on": 1e999}', "on", "finite"),
        (b'{"name": "x", "name": "y"}', "name", "twice"),
    ],
)
def test_a_shape_names_what_it_does_not_let_through(body: bytes, field: str, said: str) -> None:
    with pytest.raises(BodyError, match=said) as refused:
        SHAPE.read(body)

    assert refused.value.field == field


def test_a_shape_documents_what_it_checks() -> None:
    schema = SHAPE.schema()

    assert schema["required"] == ["name"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["name"]["maxLength"] == 9
    assert schema["properties"]["on"] == {"type": "boolean", "description": "Whether."}


KINDS: list[tuple[Any, list[Any], list[Any]]] = [
    (TEXT, ["", "a", "a\nb"], [None, 1, []]),
    (LINE, ["", "a", "ä \u2009"], [None, 1, "a\nb", "a\tb", "\r", "\x00"]),
    (FLAG, [True, False], [0, "true", None]),
    (SECONDS, [None, 0, 1.5], [True, "1", []]),
    (OBJECT, [{}, {"a": 1}], [None, []]),
    (LINES, [[], ["a"]], ["a", [1], [None], ["a\nb"]]),
    (TABLE, [{}, {"a": ["b"]}], [[], {"a": "b"}, {"a": [1]}]),
    (choice(["a", "b"]), ["a"], ["c", None, ["a"]]),
]


@pytest.mark.parametrize(("kind", "right", "wrong"), KINDS, ids=lambda value: str(value)[:30])
def test_a_kind_takes_nothing_for_another(kind: Any, right: list[Any], wrong: list[Any]) -> None:
    assert [kind.fits(value) for value in right] == [True] * len(right)
    assert [kind.fits(value) for value in wrong] == [False] * len(wrong)


SHOWABLE = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n\r\t"))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | SHOWABLE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SHOWABLE, inner, max_size=3),
    max_leaves=8,
)
NEVER = st.characters(categories=["Cs", "Cc"], exclude_characters="\n\r\t")


@given(st.dictionaries(SHOWABLE, VALUES))
def test_what_can_be_stored_comes_through_as_it_is(document: dict[str, Any]) -> None:
    assert decode(json.dumps(document).encode()) == document


@given(SHOWABLE, NEVER, st.sampled_from(["key", "value", "deep key", "deep value"]))
def test_what_cant_be_stored_is_refused_wherever_it_is(text: str, character: str, where: str) -> None:
    bad = text + character
    places: dict[str, Any] = {
        "key": {bad: 1},
        "value": {"a": bad},
        "deep key": {"a": [{"b": {bad: 1}}]},
        "deep value": {"a": [[{"b": bad}]]},
    }

    with pytest.raises(BodyError) as refused:
        decode(json.dumps(places[where]).encode())

    json.dumps([refused.value.message, refused.value.field], ensure_ascii=False).encode()  # can be answered


@given(st.binary().filter(lambda raw: not raw.lstrip().startswith(b"{")))
def test_bytes_that_are_no_object_are_refused(raw: bytes) -> None:
    with pytest.raises(BodyError):
        decode(raw)


def test_nesting_that_no_parser_survives_is_refused() -> None:
    for raw in (b"[" * 60_000, b'{"a":' * 10_000):
        with pytest.raises(BodyError, match="not JSON"):
            decode(raw)


@pytest.mark.parametrize(("method", "header"), [("POST", "Accept-Post"), ("PUT", "Accept")])
def test_another_media_type_is_415_and_says_which_is_taken(method: str, header: str) -> None:
    with pytest.raises(Problem) as refused:
        raw_json(request(b"{}", method, content_type="text/plain"))

    assert refused.value.status_code == 415
    assert refused.value.headers == {header: "application/json"}


def test_a_coded_body_is_415() -> None:
    with pytest.raises(Problem) as refused:
        raw_json(request(b"\x1f\x8b", **{"Content-Encoding": "gzip"}))

    assert refused.value.status_code == 415
    assert raw_json(request(b"{}", **{"Content-Encoding": "identity"})) == b"{}"


def test_a_body_where_none_is_read_is_refused() -> None:
    no_body(request(b"", "DELETE"))

    with pytest.raises(Problem, match="DELETE takes no body"):
        no_body(request(b"{}", "DELETE"))
