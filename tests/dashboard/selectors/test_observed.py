"""How far an order has come, by the node's own word."""

from datetime import datetime, timedelta

import msgspec
import pytest

from dashboard.models import Node, NodeLink
from dashboard.selectors.nodes import gather
from dashboard.selectors.observed import Observed, desired_of, fresh, observed
from dashboard.selectors.presence import Composite
from dashboard.services import drain
from dashboard.services.actor import SYSTEM
from meshcore.drain import NodeState, Readout
from tests.dashboard.web.factory import seen_node

pytestmark = pytest.mark.django_db


def heard(node: Node, now: datetime, *, generation: int = 0) -> None:
    """Let the node speak."""
    NodeLink.objects.filter(node=node).update(opened_at=now, closed_at=None)
    Node.objects.filter(pk=node.pk).update(state="running", last_heard_at=now, observed_generation=generation)


def how_far(now: datetime) -> Observed:
    """Return how far node-a is."""
    node = fresh(name="node-a")
    assert node is not None
    return observed(node=node, now=now)


def test_an_order_is_pending_until_the_node_says_it_saw_it(node: Node, now: datetime) -> None:
    heard(node, now)
    assert how_far(now) is Observed.OBSERVED

    drain.request(node=node, actor=SYSTEM, now=now)
    assert how_far(now) is Observed.PENDING

    heard(node, now, generation=1)
    assert how_far(now) is Observed.OBSERVED


def test_after_ten_seconds_it_is_not_acknowledged(node: Node, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, now=now)

    for seconds, told in ((9.9, Observed.PENDING), (10.0, Observed.NOT_ACKNOWLEDGED)):
        heard(node, now + timedelta(seconds=seconds))
        assert how_far(now + timedelta(seconds=seconds)) is told


def test_silence_is_unreachable_never_observed(node: Node, now: datetime) -> None:
    assert how_far(now) is Observed.UNREACHABLE

    heard(node, now, generation=9)
    assert how_far(now + timedelta(seconds=7)) is Observed.UNREACHABLE


def test_a_node_that_left_on_purpose_is_away_too(node: Node, now: datetime) -> None:
    heard(node, now)
    NodeLink.objects.filter(node=node).update(closed_at=now, idle=True)

    assert how_far(now) is Observed.UNREACHABLE


def test_a_node_made_by_hand_has_neither_link_nor_order(now: datetime) -> None:
    Node.objects.create(name="node-a", created_at=now, last_heard_at=now, state="running")
    node = fresh(name="node-a")

    assert node is not None
    assert how_far(now) is Observed.OBSERVED
    assert desired_of(node).generation == 0
    assert fresh(name="node-z") is None


def test_drain_case_30_a_drained_node_that_falls_silent_is_unreachable_and_not_drained(now: datetime) -> None:
    drained = Readout(state=NodeState.DRAINED, accepting=False, safe_to_stop=True)
    seen_node("node-a", now=now, state=NodeState.DRAINED, readout=msgspec.to_builtins(drained))
    silent = now + timedelta(seconds=7)

    told = [
        (gather(now=at).named("node-a").state, how_far(at))  # type: ignore[union-attr]
        for at in (now, silent)
    ]

    assert told == [
        (Composite.DRAINED, Observed.OBSERVED),
        (Composite.UNREACHABLE, Observed.UNREACHABLE),
    ]
