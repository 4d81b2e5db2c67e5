"""The Access page: for admins, in a fixed number of queries."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from dashboard.services import nodes, tokens
from dashboard.services.actor import SYSTEM
from tests.dashboard.conftest import person
from tests.dashboard.web import example_access, example_mesh
from tests.dashboard.web.conftest import NOW, signed_in

pytestmark = pytest.mark.django_db


@pytest.fixture
def admin(db: None) -> Client:
    """Dora's browser; she administers."""
    return signed_in(person("dora", "admin"))


def body(answer: Any) -> str:
    return str(answer.content.decode())


def test_others_see_why_not_and_the_way_there_is_shut(operator: Client) -> None:
    answer = operator.get("/access/")

    assert answer.status_code == 403
    assert "are for admins." in body(answer)
    assert 'class="shut" title="Tokens, nodes and people are for admins."' in body(operator.get("/"))


def test_an_admin_finds_all_three_lists(admin: Client) -> None:
    example_access.make(example_mesh.make(now=NOW), now=NOW)

    page = body(admin.get("/access/"))

    assert 'data-go="x" aria-current="page"' in page
    for words in ("deploy pipeline", "10.20.0.0/16", "for node-a", "revoked", "expired", "12 s ago"):
        assert words in page
    for words in ("maria.alvarez", "one-time password", "deactivated", "none: sees nothing"):
        assert words in page
    assert page.count("Forget<span") == 6


def test_an_empty_board_says_what_to_do(admin: Client) -> None:
    page = body(admin.get("/access/"))

    assert "No token has been made yet" in page
    assert "No node has been added yet" in page


def test_the_page_costs_the_same_whatever_there_is(admin: Client, django_assert_num_queries: Any) -> None:
    admin.get("/access/")
    with django_assert_num_queries(8):
        admin.get("/access/")

    example_access.make(example_mesh.make(now=NOW), now=NOW)

    with django_assert_num_queries(8):
        admin.get("/access/")


def test_a_long_list_is_shortened_and_can_be_seen_whole(admin: Client) -> None:
    for number in range(60):
        nodes.add(name=f"node-{number:02}", actor=SYSTEM, now=NOW)

    short, whole = body(admin.get("/access/")), body(admin.get("/access/?list=nodes"))

    assert short.count("Forget<span") == 20
    assert 'href="/access/?list=nodes"' in short
    assert whole.count("Forget<span") == 50
    assert "Make a token" not in whole
    assert "?list=nodes&amp;before=" in whole
    older = admin.get("/access/", {"list": "nodes", "before": nodes.Node.objects.get(name="node-10").pk})
    assert body(older).count("Forget<span") == 10


@pytest.mark.parametrize("query", ["list=secrets", "list=nodes&before=x"])
def test_an_address_that_makes_no_sense_says_so(admin: Client, query: str) -> None:
    answer = admin.get(f"/access/?{query}")

    assert answer.status_code == 400
    assert "expected" in body(answer)


def test_names_of_others_are_never_markup(admin: Client) -> None:
    tokens.issue(name="<b>ci</b>", scopes=list(tokens.Scope)[:1], actor=SYSTEM, now=NOW)
    User.objects.create_user("eve").groups.set([])

    assert "<b>ci</b>" not in body(admin.get("/access/"))
