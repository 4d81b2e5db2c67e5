"""What an address may be asked for."""

from typing import Any

import pytest
from django.test import RequestFactory
from rest_framework import serializers
from rest_framework.request import Request

from dashboard.api.cursors import encode
from dashboard.api.operation import Filter, Operation
from dashboard.api.problems import Problem
from dashboard.api.reading import Query, is_key, older_of
from dashboard.selectors.keyset import Page
from dashboard.services.rights import Right

LIST = Operation(
    name="things",
    right=Right.READ,
    filters=(
        Filter(name="node", says="", at_most=9),
        Filter(name="state", says="", choices=("on", "off")),
        Filter(name="reason", says="", may_be_empty=True),
    ),
    cursor=(int,),
)
ONE = Operation(name="thing", right=Right.READ, filters=(Filter(name="key", says="", required=True),))


class Row(serializers.Serializer[Any]):
    """A number as it is sent."""

    def to_representation(self, instance: Any) -> Any:
        return instance


def query(address: str = "", operation: Operation = LIST) -> Query:
    """Read a query."""
    return Query(Request(RequestFactory().get(f"/api/v1/things{address}")), operation)


def test_a_list_is_fifty_rows_from_the_beginning() -> None:
    asked = query()

    assert (asked.limit, asked.place, asked.cursor.before, asked["node"]) == (50, (), None, "")


def test_what_is_asked_for_is_read() -> None:
    asked = query(f"?limit=500&cursor={encode('things', (90,))}&node=a%26b&state=on&reason=")

    assert (asked.limit, asked.place, asked.cursor.before) == (500, (90,), 90)
    assert (asked["node"], asked["state"], asked["reason"]) == ("a&b", "on", "")


def test_the_address_of_the_next_page_keeps_the_filters() -> None:
    page: Page[Any] = Page(rows=[1, 2], older=70)

    told = query("?node=a%26b&limit=5").numbered(page.rows, Row, older=older_of(page))

    assert told["results"] == [1, 2]
    assert told["next"] == f"/api/v1/things?node=a%26b&limit=5&cursor={encode('things', (70,))}"
    assert query(told["next"].removeprefix("/api/v1/things")).place == (70,)


def test_a_search_that_gave_up_goes_on_and_the_last_page_has_no_next() -> None:
    searched: Page[Any] = Page(rows=[], searched_to=40)
    last: Page[Any] = Page(rows=[1])

    assert (older_of(searched), older_of(last)) == (40, None)
    assert encode("things", (40,)) in query().numbered([], Row, older=40)["next"]
    assert query().numbered([1], Row, older=None)["next"] is None


def test_a_slice_ends_at_its_last_row() -> None:
    asked = query("?limit=2")

    assert asked.sliced([3, 4], Row, key=lambda row: (row,)) == {"results": [3, 4], "next": None}
    assert encode("things", (4,)) in asked.sliced([3, 4, 5], Row, key=lambda row: (row,))["next"]


@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("?explode=1", "explode"),
        ("?dry_run=true", "dry_run"),
        ("?format=json", "format"),
        ("?node=a&node=b", "node"),
        ("?node=", "node"),
        ("?node=0123456789", "node"),
        ("?node=a%00", "node"),
        ("?node=%1b[2J", "node"),
        ("?reason=a%0ab", "reason"),
        ("?state=maybe", "state"),
        ("?limit=0", "limit"),
        ("?limit=501", "limit"),
        ("?limit=-1", "limit"),
        ("?limit=%C2%B2", "limit"),
        ("?limit=1.5", "limit"),
        ("?limit=", "limit"),
        ("?cursor=", "cursor"),
        ("?cursor=90", "cursor"),
        (f"?cursor={encode('others', (90,))}", "cursor"),
    ],
)
def test_anything_else_is_named(address: str, field: str) -> None:
    with pytest.raises(Problem) as refused:
        query(address)

    assert (refused.value.status_code, refused.value.field) == (400, field)


def test_what_is_no_list_has_no_pages_and_insists_on_what_it_needs() -> None:
    assert query("?key=a", ONE)["key"] == "a"
    for address, field in (("", "key"), ("?key=a&limit=5", "limit"), ("?key=", "key")):
        with pytest.raises(Problem) as refused:
            query(address, ONE)
        assert refused.value.field == field


@pytest.mark.parametrize("text", ["", "-1", "1.0", "²", "x", str(2**63), "9" * 30])
def test_what_is_no_key_is_told_apart(text: str) -> None:
    assert not is_key(text)
    assert is_key(str(2**63 - 1))
