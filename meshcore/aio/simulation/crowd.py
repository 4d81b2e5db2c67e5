"""Many simulated nodes in one process: they come, they work, what they did is counted, they go."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from meshcore.aio.simulation.node import NodePlan, SimulatedNode

logger = logging.getLogger(__name__)

DIALS_PER_SECOND = 100.0  # as machines boot; all at once is what a dashboard's restart does
IDLE_SECONDS = 5.0  # for the dashboard to say that it knows that a node goes
IDLE_AT_ONCE = 50  # nodes that say goodbye at the same time


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the crowd does: counts of nodes, calls and items since it came; `lost` nodes report no more."""

    nodes: int
    greeted: int
    caught_up: int
    lost: int
    calls: int
    failed: int
    refused: int
    waiting: int  # items in spools
    dropped: int  # items
    acknowledged: int  # items


class Crowd:
    """The nodes with these tokens, by name."""

    def __init__(self, tokens: Mapping[str, str], dashboard_url: str, plan: NodePlan) -> None:
        self.nodes = [SimulatedNode(name, token, dashboard_url, plan) for name, token in tokens.items()]
        self._lost = 0

    def standing(self) -> Standing:
        """Return how the crowd does now."""
        reports = [node.spool.report() for node in self.nodes]
        return Standing(
            nodes=len(self.nodes),
            greeted=sum(node.link.first_descriptor.is_set() for node in self.nodes),
            caught_up=sum(node.has_caught_up() for node in self.nodes),
            lost=self._lost,
            calls=sum(node.calls_ended for node in self.nodes),
            failed=sum(node.calls_failed for node in self.nodes),
            refused=sum(node.calls_refused for node in self.nodes),
            waiting=sum(report.size for report in reports),
            dropped=sum(sum(report.dropped.values()) for report in reports),
            acknowledged=sum(node.spool.acknowledged_to for node in self.nodes),
        )

    @asynccontextmanager
    async def present(self, *, at_once: bool = False) -> AsyncIterator[None]:
        """Let all nodes run while the context lasts."""
        tasks = [
            asyncio.create_task(self._live(node, 0.0 if at_once else place / DIALS_PER_SECOND))
            for place, node in enumerate(self.nodes)
        ]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def say_goodbye(self) -> int:
        """Let all nodes go idle, and return how many of them the dashboard took note of."""
        some = asyncio.Semaphore(IDLE_AT_ONCE)

        async def leave(node: SimulatedNode) -> bool:
            async with some:
                return await node.link.go_idle(IDLE_SECONDS)

        return sum(await asyncio.gather(*map(leave, self.nodes)))

    async def _live(self, node: SimulatedNode, delay_seconds: float) -> None:
        await asyncio.sleep(delay_seconds)
        try:
            await node.run()
        except Exception:
            logger.exception("%s is lost to the simulation", node.name)
            self._lost += 1


def names(count: int) -> Sequence[str]:
    """Return the names of so many simulated nodes, in order: sim-0001, sim-0002, …"""
    return [f"sim-{n:04d}" for n in range(1, count + 1)]


def sentences(standing: Standing) -> Iterator[str]:
    """Say for people how the crowd does."""
    yield f"{standing.greeted} of {standing.nodes} nodes linked, {standing.caught_up} have nothing to tell"
    yield f"{standing.calls} calls, {standing.failed} failed, {standing.refused} refused while draining"
    yield f"{standing.acknowledged} items stored, {standing.waiting} wait, {standing.dropped} dropped"
    if standing.lost:
        yield f"{standing.lost} NODES WERE LOST"
