"""Orders to several nodes: one answer for all, and which node is meant."""

import pytest
from django.test import RequestFactory
from rest_framework.request import Request

from dashboard.api.body import BodyError
from dashboard.api.orders import answer, node_in, only_at
from dashboard.api.problems import Problem
from dashboard.models import DesiredState, Node
from dashboard.services.desired import Ordered
from meshcore.clock import utcnow

pytestmark = pytest.mark.django_db


def request(**headers: str) -> Request:
    return Request(RequestFactory().post("/", headers=headers))


def test_an_order_that_one_node_has_not_confirmed_is_202(online: Node, node: Node) -> None:
    ordered = [Ordered(node=online, generation=0, changed=True)]
    assert answer(ordered).status_code == 200

    DesiredState.objects.update(generation=1, changed_at=utcnow())

    assert answer(ordered).status_code == 202
    assert answer(ordered).data["results"][0]["observed"] == "pending"


def test_an_order_to_nobody_is_200() -> None:
    assert (answer([]).status_code, answer([]).data) == (200, {"results": []})


def test_no_name_is_no_node_and_an_empty_or_unknown_one_is_refused(node: Node) -> None:
    found = node_in("node-a")

    assert (node_in(None), found and found.pk) == (None, node.pk)
    for name in ("", "node-z"):
        with pytest.raises(BodyError) as refused:
            node_in(name)
        assert refused.value.field == "node"


def test_a_generation_needs_a_node_to_be_of(node: Node) -> None:
    assert only_at(request(), None) is only_at(request(**{"If-Match": "*"}), None) is None
    assert only_at(request(**{"If-Match": '"0"'}), node) == 0
    with pytest.raises(Problem, match="one node"):
        only_at(request(**{"If-Match": '"0"'}), None)
