"""Desired state: whole, with a generation that only rises."""

from datetime import datetime, timedelta

import pytest

from dashboard.models import DesiredState, Node
from dashboard.services import desired
from meshcore.frames import DesiredDrain

pytestmark = pytest.mark.django_db


def test_a_node_without_one_gets_an_empty_one(now: datetime) -> None:
    node = Node.objects.create(name="node-a", created_at=now)

    state = desired.locked(node=node, now=now)

    assert (state.generation, state.drain) == (0, None)
    assert desired.locked(node=node, now=now) == state


def test_what_is_stored_is_what_is_sent(node: Node, now: datetime) -> None:
    state = desired.locked(node=node, now=now)
    drain = DesiredDrain(since=now, by="alice", deadline_at=now + timedelta(seconds=5), sticky=True)

    generation = desired.put_drain(state, drain, now=now)

    frame = desired.frame(DesiredState.objects.get(node=node))
    assert (frame.generation, frame.drain) == (generation, drain) == (1, drain)


def test_no_drain_is_said_with_a_generation_of_its_own(node: Node, now: datetime) -> None:
    state = desired.locked(node=node, now=now)
    desired.put_drain(state, DesiredDrain(since=now), now=now)

    assert desired.put_drain(state, None, now=now) == 2
    assert desired.frame(state).drain is None


@pytest.mark.parametrize(("known", "raised"), [(0, 6), (5, 6), (9, 10)])
def test_overtaking_goes_above_both(known: int, raised: int, node: Node, now: datetime) -> None:
    state = desired.locked(node=node, now=now)
    state.generation = 5

    assert desired.overtake(state, generation=known, now=now) == raised
