"""Many simulated nodes, counted."""

from meshcore.aio.fake_dashboard import FakeDashboard
from meshcore.aio.simulation.crowd import Crowd, Standing, names, sentences
from meshcore.aio.simulation.node import NodePlan
from meshcore.aio.testing import wait_until


def crowd_at(dashboard: FakeDashboard, count: int) -> Crowd:
    url = dashboard.url.replace("ws://", "http://").removesuffix("/link/v1")
    return Crowd(dict.fromkeys(names(count), "msh_token"), url, NodePlan(calls_per_second=0))


async def test_all_come_and_are_counted_and_say_goodbye() -> None:
    async with FakeDashboard() as dashboard:
        crowd = crowd_at(dashboard, 3)
        async with crowd.present(at_once=True):
            await wait_until(lambda: crowd.standing().greeted == 3)

            assert await crowd.say_goodbye() == 3
            assert (crowd.standing().nodes, crowd.standing().lost) == (3, 0)


async def test_a_node_that_breaks_is_counted_as_lost() -> None:
    async with FakeDashboard() as dashboard:
        crowd = crowd_at(dashboard, 2)
        crowd.nodes[0].spool.batch_behind = None  # type: ignore[method-assign, assignment]

        async with crowd.present():
            await wait_until(lambda: crowd.standing().lost == 1)


def test_names_stand_in_order() -> None:
    assert names(2) == ["sim-0001", "sim-0002"]


def test_lost_nodes_are_said_aloud() -> None:
    zero = dict.fromkeys(Standing.__slots__, 0)

    assert [words for words in sentences(Standing(**{**zero, "lost": 2})) if "LOST" in words]
    assert not [words for words in sentences(Standing(**zero)) if "LOST" in words]
