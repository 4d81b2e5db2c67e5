"""Which connection of a node counts, and what it is told first."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db import DataError, OperationalError, connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import Change, DesiredState, Drain, DrainStatus, Node, NodeLink, SpoolMark
from dashboard.services import drain, link, nodes
from dashboard.services import marks as marks_of
from dashboard.services.actor import SYSTEM
from dashboard.services.link import Greeting, HandshakeRefused
from meshcore.capability import Manifest, Offer
from meshcore.frames import WINDOW, DesiredDrain, Hello
from meshcore.link import CloseCode

pytestmark = pytest.mark.django_db


@pytest.fixture
def hello(now: datetime) -> Hello:
    return Hello(
        node_id="whatever it says",
        instance_id="i1",
        boot_epoch="b1",
        log_id="log1",
        spool_id="s1",
        clock=now + timedelta(seconds=3),
        manifest=Manifest(
            node_id="node-a",
            url="http://127.0.0.1:8101",
            version="0.1.0",
            capabilities=(Offer(name="llm.chat"),),
        ),
    )


def said(hello: Hello, **changes: object) -> Hello:
    return msgspec.structs.replace(hello, **changes)


def later(now: datetime, seconds: float) -> datetime:
    return now + timedelta(seconds=seconds)


def keys() -> list[str]:
    return list(Change.objects.order_by("id").values_list("key", flat=True))


def test_the_first_hello_is_answered_and_stored(node: Node, hello: Hello, now: datetime) -> None:
    number, answer = link.open_connection(node=node, hello=hello, now=now)

    node.refresh_from_db()
    stored = NodeLink.objects.get(node=node)
    assert number == stored.connection_no == 1
    assert (stored.instance_id, stored.opened_at, stored.closed_at, stored.idle) == ("i1", now, None, False)
    assert (node.name, node.instance_id, node.boot_epoch, node.log_id) == ("node-a", "i1", "b1", "log1")
    assert (node.url, node.version, node.clock_skew_seconds) == ("http://127.0.0.1:8101", "0.1.0", 3.0)
    assert node.manifest["capabilities"] == [{"name": "llm.chat"}]
    assert (answer.contract_version, answer.resume_from, answer.spool_reset) == (1, 0, False)
    assert answer.desired is not None
    assert answer.desired.drain is None
    assert (answer.limits.window, answer.limits.health_seconds) == (WINDOW, 1.0)
    assert keys()[-3:] == ["node:node-a", "providers:node-a", "nodes"]


def test_the_mark_of_the_spool_is_where_to_resume(node: Node, hello: Hello, now: datetime) -> None:
    SpoolMark.objects.create(node=node, spool_id="s1", hwm=41, updated_at=now)
    SpoolMark.objects.create(node=node, spool_id="another", hwm=99, updated_at=now)

    _, answer = link.open_connection(node=node, hello=said(hello, spool_last_seq=50), now=now)

    assert (answer.resume_from, answer.spool_reset) == (41, False)
    assert SpoolMark.objects.get(spool_id="s1").connection_no == 1
    assert SpoolMark.objects.get(spool_id="another").connection_no == 0


def test_a_spool_behind_its_mark_is_told_to_become_another_one(
    node: Node, hello: Hello, now: datetime
) -> None:
    SpoolMark.objects.create(node=node, spool_id="s1", hwm=41, updated_at=now)

    _, answer = link.open_connection(node=node, hello=said(hello, spool_last_seq=40), now=now)

    assert answer.spool_reset


def test_a_database_that_came_back_older_knows_how_much_it_lacks(
    node: Node, hello: Hello, now: datetime, caplog: pytest.LogCaptureFixture
) -> None:
    SpoolMark.objects.create(node=node, spool_id="s1", hwm=60, updated_at=now)

    for at, acknowledged, lost in ((0, 60, 0), (1, 100, 40), (2, 90, 40), (8 * 86400, 70, 10)):
        again = said(hello, spool_last_seq=200, spool_acknowledged=acknowledged)
        link.open_connection(node=node, hello=again, now=later(now, at))
        node.refresh_from_db()
        assert node.lost_items == lost

    assert node.lost_at == later(now, 8 * 86400)
    assert "node-a: up to 40 reports are missing" in caplog.text


def test_only_so_many_spools_of_a_node_are_remembered(node: Node, hello: Hello, now: datetime) -> None:
    for n in range(marks_of.MARKS_MAX + 3):
        link.open_connection(node=node, hello=said(hello, spool_id=f"s{n}"), now=later(now, n))

    marks = SpoolMark.objects.filter(node=node)
    assert marks.count() == marks_of.MARKS_MAX
    assert not marks.filter(spool_id__in=["s0", "s1", "s2"]).exists()


def test_the_same_instance_takes_over_at_once(node: Node, hello: Hello, now: datetime) -> None:
    first, _ = link.open_connection(node=node, hello=hello, now=now)

    second, _ = link.open_connection(node=node, hello=hello, now=later(now, 0.1))

    assert (first, second) == (1, 2)


@pytest.mark.parametrize("seconds_since_heard", [0.0, 9.9])
def test_another_instance_is_refused_while_the_present_one_is_alive(
    node: Node, hello: Hello, now: datetime, seconds_since_heard: float
) -> None:
    link.open_connection(node=node, hello=hello, now=later(now, -60))
    Node.objects.update(last_heard_at=later(now, -seconds_since_heard))
    before = len(keys())

    with pytest.raises(HandshakeRefused, match="node-a") as refused:
        link.open_connection(node=node, hello=said(hello, instance_id="i2", desired_generation=7), now=now)

    assert refused.value.code is CloseCode.DUPLICATE_NODE
    assert NodeLink.objects.get().instance_id == "i1"
    assert not DesiredState.objects.filter(generation__gt=0).exists()
    assert len(keys()) == before


def test_who_only_just_connected_is_alive_before_its_first_health(
    node: Node, hello: Hello, now: datetime
) -> None:
    link.open_connection(node=node, hello=hello, now=now)

    with pytest.raises(HandshakeRefused):
        link.open_connection(node=node, hello=said(hello, instance_id="i2"), now=later(now, 5))


def test_another_instance_takes_over_when_the_present_one_is_silent(
    node: Node, hello: Hello, now: datetime
) -> None:
    link.open_connection(node=node, hello=hello, now=now)

    number, _ = link.open_connection(node=node, hello=said(hello, instance_id="i2"), now=later(now, 10))

    assert number == 2


def test_another_instance_takes_over_at_once_when_the_present_socket_is_closed(
    node: Node, hello: Hello, now: datetime
) -> None:
    number, _ = link.open_connection(node=node, hello=hello, now=now)
    assert link.close_connection(node=node, connection_no=number, now=now)

    second, _ = link.open_connection(node=node, hello=said(hello, instance_id="i2"), now=later(now, 1))

    assert second == 2
    assert NodeLink.objects.get().closed_at is None


def test_a_node_that_goes_idle_is_flipped_before_it_closes(node: Node, hello: Hello, now: datetime) -> None:
    number, _ = link.open_connection(node=node, hello=hello, now=now)

    flipped = link.go_idle(node=node, connection_no=number, now=now)
    open_still = NodeLink.objects.get()
    closed = link.close_connection(node=node, connection_no=number, now=later(now, 1))

    assert flipped
    assert closed
    assert (open_still.idle, open_still.closed_at) == (True, None)
    assert (NodeLink.objects.get().idle, NodeLink.objects.get().closed_at) == (True, later(now, 1))
    assert keys()[-3:] == ["node:node-a", "providers:node-a", "nodes"]


def test_a_new_connection_is_not_idle(node: Node, hello: Hello, now: datetime) -> None:
    number, _ = link.open_connection(node=node, hello=hello, now=now)
    link.go_idle(node=node, connection_no=number, now=now)

    link.open_connection(node=node, hello=hello, now=later(now, 1))

    assert not NodeLink.objects.get().idle


def test_who_lost_the_connection_changes_nothing_any_more(node: Node, hello: Hello, now: datetime) -> None:
    old, _ = link.open_connection(node=node, hello=hello, now=now)
    link.open_connection(node=node, hello=hello, now=now)
    before = len(keys())

    assert not link.close_connection(node=node, connection_no=old, now=now)
    assert not link.go_idle(node=node, connection_no=old, now=now)

    stored = NodeLink.objects.get()
    assert (stored.connection_no, stored.closed_at, stored.idle) == (2, None, False)
    assert len(keys()) == before


def test_the_desired_state_comes_with_the_answer(node: Node, hello: Hello, now: datetime) -> None:
    drain.request(node=node, actor=SYSTEM, reason="kernel", sticky=True, now=now)

    _, answer = link.open_connection(node=node, hello=hello, now=now)

    assert answer.desired is not None
    assert answer.desired.generation == 1
    assert isinstance(answer.desired.drain, DesiredDrain)
    assert answer.desired.drain.reason == "kernel"


def test_a_drain_that_is_not_sticky_has_ended_when_a_rebooted_node_is_answered(
    node: Node, hello: Hello, now: datetime
) -> None:
    first, _ = link.open_connection(node=node, hello=hello, now=now)
    drain.request(node=node, actor=SYSTEM, sticky=False, now=now)
    link.close_connection(node=node, connection_no=first, now=now)

    rebooted = said(hello, instance_id="i2", boot_epoch="b2")
    _, answer = link.open_connection(node=node, hello=rebooted, now=later(now, 60))

    assert answer.desired is not None
    assert (answer.desired.generation, answer.desired.drain) == (2, None)
    assert Drain.objects.get().status == DrainStatus.ENDED_BY_RESTART


def test_a_node_that_knows_a_later_generation_is_overtaken(node: Node, hello: Hello, now: datetime) -> None:
    _, answer = link.open_connection(node=node, hello=said(hello, desired_generation=41), now=now)

    assert answer.desired is not None
    assert answer.desired.generation == 42


def test_a_newer_node_is_answered_with_what_both_speak(node: Node, hello: Hello, now: datetime) -> None:
    _, answer = link.open_connection(node=node, hello=said(hello, contract_version=7), now=now)

    assert answer.contract_version == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"contract_version": 0},
        {"instance_id": ""},
        {"instance_id": "x" * 65},
        {"spool_id": ""},
        {"spool_id": "x" * 65},
        {"boot_epoch": "x" * 129},
        {"log_id": "x" * 65},
        {"manifest": Manifest(node_id="node-a", url="x" * 256)},
    ],
)
def test_a_hello_that_cannot_be_stored_is_refused_and_named(
    node: Node, hello: Hello, now: datetime, wrong: dict[str, object]
) -> None:
    with pytest.raises(HandshakeRefused, match="expected") as refused:
        link.open_connection(node=node, hello=said(hello, **wrong), now=now)

    assert refused.value.code is CloseCode.PROTOCOL_ERROR
    assert not NodeLink.objects.filter(connection_no__gt=0).exists()


def test_nul_characters_in_a_hello_are_replaced(node: Node, hello: Hello, now: datetime) -> None:
    link.open_connection(node=node, hello=said(hello, boot_epoch="b\x00"), now=now)

    node.refresh_from_db()
    assert node.boot_epoch == "b\ufffd"


def greeting(node: Node, hello: Hello, now: datetime) -> Greeting:
    return Greeting(node=node, hello=hello, now=now)


def test_many_open_at_once_and_each_is_answered_for_itself(node: Node, hello: Hello, now: datetime) -> None:
    others = [nodes.add(name=f"node-{letter}", actor=SYSTEM, now=now)[0] for letter in "cb"]
    Node.objects.filter(pk=others[0].pk).update(forgotten_at=now)
    Change.objects.all().delete()

    answers = link.open_connections([greeting(each, hello, now) for each in (*others, node)])

    assert isinstance(answers[0], HandshakeRefused)
    assert [answer[0] for answer in answers[1:] if not isinstance(answer, Exception)] == [1, 1]
    assert list(Change.objects.order_by("id").values_list("key", flat=True)) == [
        *("node:node-a", "providers:node-a", "nodes", "node:node-b", "providers:node-b")
    ]


def test_a_hello_that_can_not_be_stored_takes_nothing_from_the_others(
    node: Node, hello: Hello, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = nodes.add(name="node-b", actor=SYSTEM, now=now)[0]
    introduce = link._introduce

    def fails(node: Node, *args: Any, **kwargs: Any) -> None:
        if node == other:
            raise DataError("of the test")
        introduce(node, *args, **kwargs)

    monkeypatch.setattr(link, "_introduce", fails)

    answers = link.open_connections([greeting(each, hello, now) for each in (other, node)])

    assert isinstance(answers[0], DataError)
    assert NodeLink.objects.get(node=node).connection_no == 1
    assert NodeLink.objects.get(node=other).connection_no == 0


def test_a_database_that_is_away_is_told_to_all(
    node: Node, hello: Hello, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("of the test")

    monkeypatch.setattr(link, "_introduce", away)

    with pytest.raises(OperationalError, match="of the test"):
        link.open_connections([greeting(node, hello, now)])


def test_of_two_connections_of_a_node_that_come_at_once_the_later_counts(
    node: Node, hello: Hello, now: datetime
) -> None:
    answers = link.open_connections([greeting(node, hello, now), greeting(node, hello, now)])

    assert [answer[0] for answer in answers if not isinstance(answer, Exception)] == [1, 2]
    assert NodeLink.objects.get(node=node).connection_no == 2


def test_a_group_of_hellos_costs_few_queries_each(node: Node, hello: Hello, now: datetime) -> None:
    made = [nodes.add(name=f"node-{n}", actor=SYSTEM, now=now)[0] for n in range(8)]
    greetings = [greeting(each, hello, now) for each in made]
    link.open_connections(greetings)

    with CaptureQueriesContext(connection) as few:
        link.open_connections(greetings[:1])
    with CaptureQueriesContext(connection) as many:
        link.open_connections(greetings)

    each = (len(many) - len(few)) / (len(greetings) - 1)
    assert each <= 10  # node, link, mark, desired state, drain; three of them written; a savepoint
