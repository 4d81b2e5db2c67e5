"""Lists of the Access page: whole states, a fixed number of queries."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User

from dashboard.models import Node, Scope
from dashboard.selectors import access
from dashboard.selectors.access import TokenState
from dashboard.selectors.keyset import Cursor
from dashboard.services import accounts, nodes, tokens
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db
NEWEST = Cursor()


@pytest.mark.parametrize(
    ("ends", "state"),
    [
        ({}, TokenState.ACTIVE),
        ({"expires_at": 1}, TokenState.ACTIVE),
        ({"expires_at": 0}, TokenState.EXPIRED),
        ({"revoked_at": -1}, TokenState.REVOKED),
        ({"revoked_at": -1, "expires_at": -2}, TokenState.REVOKED),
    ],
)
def test_a_token_counts_until_it_ends(ends: dict[str, int], state: TokenState, now: datetime) -> None:
    token, _ = tokens.issue(name="ci", scopes=[Scope.READ], actor=SYSTEM, now=now)
    for field, seconds in ends.items():
        setattr(token, field, now + timedelta(seconds=seconds))

    assert access.state_of(token, now=now) is state


def test_lists_are_read_in_a_fixed_number_of_queries(
    django_assert_num_queries: Any, bob: User, now: datetime
) -> None:
    for number in range(5):
        nodes.add(name=f"node-{number}", actor=SYSTEM, now=now)
    accounts.new_password(user=bob, actor=SYSTEM, now=now)

    with django_assert_num_queries(1):
        told = access.tokens(cursor=NEWEST, rows=3, now=now)
        names = [each.token.node.name for each in told.rows if each.token.node]
        assert names == ["node-4", "node-3", "node-2"]
    with django_assert_num_queries(1):
        listed = access.nodes(cursor=NEWEST, rows=9, now=now)
        assert [node.link.connection_no for node in listed.rows] == [0] * 5
    with django_assert_num_queries(2):
        (person,) = access.people(cursor=NEWEST, rows=9).rows
        assert (person.user, person.groups, person.one_time) == (bob, ("viewer",), True)
    assert told.older is not None
    assert listed.older is None


def test_of_a_node_s_tokens_those_that_count_are_counted(node: Node, now: datetime) -> None:
    for seconds in (60.0, None):
        tokens.issue(
            name="x", scopes=[Scope.NODES_PUSH], node=node, actor=SYSTEM, expires_seconds=seconds, now=now
        )
    tokens.revoke(token=node.tokens.earliest("pk"), actor=SYSTEM, now=now)

    def counted(at: datetime) -> Any:
        return access.nodes(cursor=NEWEST, rows=9, now=at).rows[0].keys  # type: ignore[attr-defined]

    assert counted(now) == 2
    assert counted(now + timedelta(minutes=1)) == 1
