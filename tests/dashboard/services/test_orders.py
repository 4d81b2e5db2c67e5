"""What is ordered of a node is said under a key of its own: nothing else wakes its link."""

from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from django.db import transaction

from dashboard.models import Change, Node
from dashboard.services import aliases, audit, drain, drain_hello, nodes, outbox, overrides
from dashboard.services.actor import SYSTEM
from meshcore.override import Action
from tests.dashboard.services.test_outbox import there

pytestmark = pytest.mark.django_db
Act = Callable[[Node, datetime], object]
HOUR = timedelta(hours=1)


@pytest.fixture
def other(node: Node, now: datetime) -> Node:
    return nodes.add(name="node-b", actor=SYSTEM, now=now)[0]


def force(node: Node | None, now: datetime, seconds: float | None = None) -> object:
    wish = {"key": "groq", "reason": "", "expires_seconds": seconds, "actor": SYSTEM}
    return overrides.put(node=node, action=Action.FORCE_OPEN, now=now, **wish)  # type: ignore[arg-type]


def drained(node: Node, now: datetime, **more: object) -> object:
    return drain.request(node=node, actor=SYSTEM, now=now, **more)  # type: ignore[arg-type]


def hello(node: Node, now: datetime, generation: int) -> object:
    with transaction.atomic():
        head = audit.locked_head()
        return drain_hello.node_said_hello(
            node=node, boot_epoch="b2", desired_generation=generation, head=head, now=now
        )


ORDERS: dict[str, tuple[Act, Act]] = {
    "a drain": (lambda node, now: None, drained),
    "the end of a drain": (drained, lambda node, now: drain.cancel(node=node, actor=SYSTEM, now=now)),
    "a drain whose time is over": (
        lambda node, now: drained(node, now, expires_seconds=60.0),
        lambda node, now: drain.expire(now=now + HOUR),
    ),
    "a drain that ends with a reboot": (
        lambda node, now: (
            Node.objects.filter(pk=node.pk).update(boot_epoch="b1"),
            drained(node, now, sticky=False),
        ),
        lambda node, now: hello(node, now, 0),
    ),
    "a generation above the node's": (lambda node, now: None, lambda node, now: hello(node, now, 7)),
    "an override": (lambda node, now: None, force),
    "the end of an override": (
        force,
        lambda node, now: overrides.lift(node=node, key="groq", reason="", actor=SYSTEM, now=now),
    ),
    "an override whose time is over": (
        lambda node, now: force(node, now, 60.0),
        lambda node, now: overrides.expire(now=now + HOUR),
    ),
    "a table of aliases": (
        lambda node, now: None,
        lambda node, now: aliases.put(
            nodes=[node], table={"mesh/fast": ["groq/llama"]}, reason="", actor=SYSTEM, now=now
        ),
    ),
}


@pytest.mark.parametrize("order", ORDERS)
def test_every_order_wakes_the_link_of_its_node_and_no_other(
    order: str, node: Node, other: Node, now: datetime
) -> None:
    before, act = ORDERS[order]
    before(node, now)
    Change.objects.all().delete()

    act(node, now)

    assert woken() == {"orders:node-a"}


def test_an_order_to_all_nodes_wakes_each_link(node: Node, other: Node, now: datetime) -> None:
    Change.objects.all().delete()

    force(None, now)

    assert woken() == {"orders:node-a", "orders:node-b"}


def test_a_run_that_shall_end_wakes_the_link_of_the_node_that_can_end_it(now: datetime) -> None:
    there("node-a", now)
    Change.objects.all().delete()

    outbox.cancel_run(run_id="run_abc123_1", reason="", actor=SYSTEM, now=now)

    assert woken() == {"orders:node-a"}


def woken() -> set[str]:
    return set(Change.objects.filter(key__startswith="orders:").values_list("key", flat=True))
