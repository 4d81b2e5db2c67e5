"""The present of a node, as it says it."""

from datetime import datetime, timedelta
from typing import Any

import msgspec
import pytest
from django.db import DataError, connection
from django.test.utils import CaptureQueriesContext

from dashboard.models import Change, Node, NodeLink, ProviderHealth, Run
from dashboard.services import bulk_update, health, nodes
from dashboard.services.actor import SYSTEM
from dashboard.services.columns import Unfit
from dashboard.services.health import Said
from meshcore.breaker import BreakerState
from meshcore.drain import ActiveWork, DrainInfo, DrainSource, InFlight, NodeState, Readout
from meshcore.frames import BreakerReport, Health, SpoolReport
from meshcore.run_reports import RunReport

pytestmark = pytest.mark.django_db
MINE = 5


@pytest.fixture
def connected(node: Node, now: datetime) -> Node:
    NodeLink.objects.update_or_create(node=node, defaults={"connection_no": MINE, "opened_at": now})
    Change.objects.all().delete()
    return node


def frame(now: datetime, no: int = 1, **changes: object) -> Health:
    readout = Readout(
        state=NodeState.RUNNING,
        accepting=True,
        in_flight=InFlight(calls=2, total=2),
        edge=1,
        observed_generation=3,
    )
    spool = SpoolReport(size=4, last_seq=9, dropped={"trace": 1})
    made = Health(no=no, at=now, node=readout, spool=spool, version="0.1.0")
    return msgspec.structs.replace(made, **changes)


def with_readout(made: Health, **changes: object) -> Health:
    return msgspec.structs.replace(made, node=msgspec.structs.replace(made.node, **changes))


def apply(node: Node, made: Health, now: datetime, *, connection_no: int = MINE) -> bool:
    (answer,) = health.apply(said=[Said(node=node, connection_no=connection_no, health=made, now=now)])
    if isinstance(answer, Exception):
        raise answer
    return answer


def new_keys() -> list[str]:
    keys = list(Change.objects.order_by("id").values_list("key", flat=True))
    Change.objects.all().delete()
    return keys


def test_what_a_node_says_is_its_row(connected: Node, now: datetime) -> None:
    assert apply(connected, frame(now), now)

    node = Node.objects.get()
    assert (node.state, node.accepting, node.in_flight, node.edge) == ("running", True, 2, 1)
    assert (node.observed_generation, node.safe_to_stop, node.version) == (3, False, "0.1.0")
    assert node.readout["in_flight"]["calls"] == 2
    assert node.spool == {"size": 4, "last_seq": 9, "dropped": {"trace": 1}, "reset_at": None}
    assert (node.last_heard_at, node.health_connection_no, node.health_no) == (now, MINE, 1)


@pytest.mark.parametrize("connection_no", [MINE - 1, MINE + 1])
def test_a_connection_that_does_not_count_changes_nothing(
    connected: Node, now: datetime, connection_no: int
) -> None:
    assert not apply(connected, frame(now), now, connection_no=connection_no)

    assert Node.objects.get().last_heard_at is None
    assert new_keys() == []


def test_a_frame_that_was_overtaken_changes_nothing(connected: Node, now: datetime) -> None:
    apply(connected, frame(now, no=7), now)

    late = with_readout(frame(now, no=6), state=NodeState.DRAINING)

    assert not apply(connected, late, now)
    assert not apply(connected, frame(now, no=7), now)
    assert (Node.objects.get().state, Node.objects.get().health_no) == ("running", 7)


def test_a_new_connection_begins_again_at_one(connected: Node, now: datetime) -> None:
    apply(connected, frame(now, no=700), now)
    NodeLink.objects.update(connection_no=MINE + 1)

    assert apply(connected, frame(now, no=1), now, connection_no=MINE + 1)
    assert Node.objects.get().health_no == 1


def test_only_what_shows_is_announced(connected: Node, now: datetime) -> None:
    apply(connected, frame(now), now)
    first = new_keys()

    apply(connected, frame(now, no=2), now + timedelta(seconds=1))
    nothing = new_keys()
    apply(connected, with_readout(frame(now, no=3), edge=2), now + timedelta(seconds=2))

    assert first == ["node:node-a", "providers:node-a", "nodes"]
    assert nothing == []
    assert new_keys() == ["figures:node-a"]


def test_what_a_node_could_not_take_is_announced_and_kept(connected: Node, now: datetime) -> None:
    apply(connected, frame(now), now)
    new_keys()

    apply(connected, with_readout(frame(now, no=2), problems=("aliases: expected PROVIDER/MODEL",)), now)

    assert new_keys() == ["node:node-a"]
    assert Node.objects.get().readout["problems"] == ["aliases: expected PROVIDER/MODEL"]


@pytest.mark.parametrize(
    ("drain", "news"),
    [(None, []), (DrainInfo(source=DrainSource.DESIRED, by="ana"), ["node:node-a"])],
)
def test_work_that_grows_older_is_no_news_and_other_work_only_of_a_drain(
    connected: Node, now: datetime, drain: DrainInfo | None, news: list[str]
) -> None:
    def working(no: int, age: float, id_: str = "w1") -> Health:
        work = ActiveWork(id=id_, kind="call", age_seconds=age)
        return with_readout(frame(now, no=no), active_work=(work,), drain=drain)

    apply(connected, working(1, 1.0), now)
    new_keys()

    apply(connected, working(2, 2.0), now)
    older = new_keys()
    apply(connected, working(3, 0.1, "w2"), now)

    assert older == []
    assert new_keys() == news


def test_a_state_that_changes_the_order_says_so(connected: Node, now: datetime) -> None:
    apply(connected, frame(now), now)
    new_keys()

    apply(connected, with_readout(frame(now, no=2), state=NodeState.DRAINING), now)

    assert new_keys() == ["node:node-a", "providers:node-a", "nodes"]


def test_a_node_that_was_silent_changes_the_order_too(connected: Node, now: datetime) -> None:
    apply(connected, frame(now), now)
    new_keys()

    apply(connected, frame(now, no=2), now + timedelta(minutes=5))

    assert new_keys() == ["node:node-a", "providers:node-a", "nodes"]


def test_a_word_that_comes_as_late_as_words_may_is_no_turn(connected: Node, now: datetime) -> None:
    apply(connected, frame(now), now)
    new_keys()
    late = Said(
        node=connected,
        connection_no=MINE,
        health=frame(now, no=2),
        now=now + timedelta(seconds=10),
        every_seconds=5.0,
    )

    assert health.apply(said=[late]) == [True]

    assert new_keys() == []


def test_a_breaker_that_opens_is_announced_and_moves_the_node(connected: Node, now: datetime) -> None:
    closed = BreakerReport(key="alpha", state=BreakerState.CLOSED)
    apply(connected, frame(now, full=True, breakers=(closed,)), now)
    new_keys()

    opened = BreakerReport(key="alpha", state=BreakerState.OPEN, strikes=2, seconds_remaining=60.0)
    apply(connected, frame(now, no=2, breakers=(opened,)), now)

    assert new_keys() == ["node:node-a", "providers:node-a", "providers", "nodes"]
    assert ProviderHealth.objects.get().open_until == now + timedelta(seconds=60)


LOCKS = {"sqlite": [], "postgresql": ["SELECT"]}  # of the nodes, in order


@pytest.mark.parametrize("many", [1, 20])
def test_health_that_says_nothing_new_costs_two_statements_for_any_number_of_nodes(
    connected: Node, now: datetime, many: int
) -> None:
    every = [connected, *linked(many - 1, now)]
    health.apply(said=[said(each, frame(now), now) for each in every])

    with CaptureQueriesContext(connection) as queries:
        answers = health.apply(said=[said(each, frame(now, no=2), now) for each in every])

    assert answers == [True] * many
    statements = [query["sql"].split()[0] for query in queries if "SAVEPOINT" not in query["sql"]]
    assert statements == [*LOCKS[connection.vendor], "SELECT", "WITH"]


def linked(many: int, now: datetime) -> list[Node]:
    """More nodes, as `connected`."""
    made = [nodes.add(name=f"n{n}", actor=SYSTEM, now=now)[0] for n in range(many)]
    NodeLink.objects.update(connection_no=MINE, opened_at=now)
    Change.objects.all().delete()
    return made


def said(node: Node, made: Health, now: datetime, *, connection_no: int = MINE) -> Said:
    return Said(node=node, connection_no=connection_no, health=made, now=now)


@pytest.mark.parametrize("many", [1, 20])
def test_breakers_of_any_number_of_nodes_cost_the_same(connected: Node, now: datetime, many: int) -> None:
    every = [connected, *linked(many, now)]
    opened = BreakerReport(key="alpha", state=BreakerState.OPEN)
    full = [said(each, frame(now, full=True, breakers=(opened,)), now) for each in every]

    with CaptureQueriesContext(connection) as queries:
        health.apply(said=full)

    inserts = [query["sql"] for query in queries if "providerhealth" in query["sql"]]
    assert len(inserts) == 2, "what is stored is read, what is new is written"
    assert ProviderHealth.objects.filter(state="open").count() == len(every)


def test_each_of_a_group_is_judged_for_itself(connected: Node, now: datetime) -> None:
    other, lost, overtaken = linked(3, now)
    apply(overtaken, frame(now, no=9), now)
    wrong = with_readout(frame(now), edge=-1)

    answers = health.apply(
        said=[
            said(connected, frame(now), now),
            said(lost, frame(now), now, connection_no=MINE + 1),
            said(other, wrong, now),
            said(overtaken, frame(now, no=8), now),
            said(connected, with_readout(frame(now, no=2), edge=7), now),
        ]
    )

    assert [answer if isinstance(answer, bool) else type(answer) for answer in answers] == [
        *(True, False, Unfit, False, True)
    ]
    assert (Node.objects.get(pk=connected.pk).edge, Node.objects.get(pk=connected.pk).health_no) == (7, 2)


def test_a_word_that_the_database_refuses_costs_no_other(
    connected: Node, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    (other,) = linked(1, now)
    write = bulk_update.update

    def checked(model: type, rows: list[tuple[object, ...]], **settings: Any) -> set[object]:
        if any(row[0] == other.pk for row in rows):
            raise DataError("poison")
        return write(model, rows, **settings)

    monkeypatch.setattr(bulk_update, "update", checked)

    good, bad = health.apply(said=[said(connected, frame(now), now), said(other, frame(now), now)])

    assert good is True
    assert isinstance(bad, DataError)
    assert Node.objects.get(pk=connected.pk).state == "running"


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"in_flight": InFlight(total=-1)}, "in_flight=-1"),
        ({"edge": 2**31}, "edge=2147483648"),
        ({"observed_generation": 2**63}, "observed_generation="),
    ],
)
def test_what_cannot_be_stored_is_refused_and_named(
    connected: Node, now: datetime, wrong: dict[str, object], named: str
) -> None:
    with pytest.raises(Unfit, match=named):
        apply(connected, with_readout(frame(now), **wrong), now)

    assert Node.objects.get().last_heard_at is None


def test_a_version_is_kept_when_health_does_not_name_it(connected: Node, now: datetime) -> None:
    apply(connected, frame(now), now)

    apply(connected, frame(now, no=2, version=""), now)

    assert Node.objects.get().version == "0.1.0"


def test_how_many_runs_a_node_does_not_tell_of_is_a_change_of_its_runs(
    connected: Node, now: datetime
) -> None:
    apply(connected, frame(now, 1, runs_more=2), now)
    new_keys()

    apply(connected, frame(now, 2, runs_more=0), now)

    assert new_keys() == ["node:node-a", "runs:node-a"]


def test_the_runs_of_a_node_are_its_word_and_announced(connected: Node, now: datetime) -> None:
    report = RunReport(run_id="run_1", status="running", epoch=1)

    assert apply(connected, frame(now, 1, full=True, runs=(report,), runs_more=2), now)
    told = new_keys()
    assert apply(connected, frame(now, 2, full=True, runs_more=2), now)
    kept = Run.objects.get().status
    assert apply(connected, frame(now, 3, full=True), now)

    assert told == ["node:node-a", "providers:node-a", "nodes", "runs:node-a", "runs", "run:run_1"]
    assert (kept, Run.objects.get().status, Node.objects.get().runs_more) == ("running", "waiting", 0)
