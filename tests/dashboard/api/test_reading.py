"""What a list may be asked for."""

from typing import Any

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from dashboard.api.problems import Problem
from dashboard.api.reading import Query


def query(**given: Any) -> Query:
    """Read a query of a list that knows the filter `node`."""
    return Query(Request(RequestFactory().get("/api/v1/traces", given)), filters=["node"])


def test_a_list_is_fifty_rows_from_the_newest() -> None:
    asked = query()

    assert (asked.limit, asked.cursor.before, asked.filter("node")) == (50, None, "")


def test_the_address_of_the_next_page_keeps_the_filters() -> None:
    asked = query(node="a&b", limit="5", cursor="90")

    page = asked.page([1], older=70)

    assert (asked.limit, asked.cursor.before, asked.filter("node")) == (5, 90, "a&b")
    assert page == {"results": [1], "next": "/api/v1/traces?node=a%26b&limit=5&cursor=70"}
    assert query().page([], older=None)["next"] is None


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"explode": "1"}, "explode"),
        ({"limit": "0"}, "limit"),
        ({"limit": "501"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "²"}, "limit"),
        ({"limit": "1.5"}, "limit"),
        ({"cursor": "x"}, "cursor"),
        ({"cursor": str(2**63)}, "cursor"),
        ({"node": "x" * 251}, "node"),
        ({"node": "a\x00"}, "node"),
    ],
)
def test_anything_else_is_named(given: dict[str, str], field: str) -> None:
    with pytest.raises(Problem) as refused:
        query(**given)

    assert (refused.value.status_code, refused.value.field) == (400, field)
