"""The demo's processes and mocks: started together, switched one by one, ended together."""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

from meshcore.aio.demo.child import Child, ChildError, ChildState
from meshcore.aio.demo.plan import NODES, PROVIDERS, Plan
from meshcore.aio.demo.ports import HOST
from meshcore.aio.demo.switches import FAULTS, NodeSwitch, ProviderFault, Switch, SwitchError
from meshcore.aio.mock_ai import MockAi
from meshcore.clock import Clock, monotonic

logger = logging.getLogger(__name__)
Thing = TypeVar("Thing")

READY_SECONDS = 60.0  # for a node to start; 1 to 3 s on a small machine that does nothing else
STOP_SECONDS = 0.7  # for a node to stop by itself; long streams of a demo are not worth a longer wait
BOUNCE_SECONDS = 10.0  # a bounced node stays away so long: enough to be seen as unreachable


class DemoMesh:
    """Three nodes as processes of their own, and their providers as servers in this one."""

    def __init__(self, plan: Plan, *, code: Path, clock: Clock = monotonic) -> None:
        """Take `code` as the folder that holds the `meshcore` package."""
        self.plan = plan
        self.troubles: dict[str, str] = {}  # node -> why its last start failed
        self.faults = dict.fromkeys(_providers(), ProviderFault.OK)
        self.mocks = {name: MockAi(name=name, models=[model]) for name, model in _providers().items()}
        self.nodes = {node: self._child(node, code) for node in NODES}
        self._clock = clock
        self._comebacks: dict[str, tuple[float, asyncio.Task[None]]] = {}  # node -> when, and who does it

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Let the mesh run while the context lasts; raises OSError or ChildError when it can't be started."""
        self.plan.write()
        async with AsyncExitStack() as stack:
            for name, mock in self.mocks.items():
                await stack.enter_async_context(mock.serve(HOST, self.plan.ports[name]))
            stack.push_async_callback(self._stop)
            results = await asyncio.gather(*map(self._start, self.nodes.values()), return_exceptions=True)
            for failure in filter(None, results):
                raise failure
            yield

    async def turn(self, switch: Switch) -> None:
        """Turn a switch; raises SwitchError when there is no such target. A started node takes its time."""
        if isinstance(switch.setting, ProviderFault):
            self._of(self.faults, switch.target)
            self.faults[switch.target] = switch.setting
            self.mocks[switch.target].faults = FAULTS[switch.setting]
            return
        child = self._of(self.nodes, switch.target)
        await self._forget_comeback(switch.target)
        if switch.setting is NodeSwitch.START:
            self._come_back(switch.target, after_seconds=0)
            return
        await child.kill()
        if switch.setting is NodeSwitch.BOUNCE:
            self._come_back(switch.target, after_seconds=BOUNCE_SECONDS)

    def seconds_to_comeback(self, node: str) -> float | None:
        """Return in how many seconds a bounced node is started, or None when nobody waits for that."""
        when, _ = self._comebacks.get(node, (0.0, None))
        return max(when - self._clock(), 0.0) if when and self.nodes[node].state is ChildState.DOWN else None

    def _child(self, node: str, code: Path) -> Child:
        argv = [
            sys.executable,
            "-m",
            "meshcore",
            "node",
            "--config",
            str(self.plan.config_file(node)),
            "--lifeline",
        ]
        log = self.plan.folder / f"{node}.log"
        return Child(argv, env=self.plan.environment(), cwd=code, log=log)

    @staticmethod
    async def _start(child: Child) -> None:
        await child.start(ready_seconds=READY_SECONDS)

    def _of(self, things: Mapping[str, Thing], target: str) -> Thing:
        if target not in things:
            raise SwitchError(f"{target!r}: expected one of {', '.join(things)}")
        return things[target]

    def _come_back(self, node: str, *, after_seconds: float) -> None:
        when = self._clock() + after_seconds
        self._comebacks[node] = (when, asyncio.create_task(self._start_later(node, after_seconds)))

    async def _start_later(self, node: str, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.troubles.pop(node, None)
        try:
            await self._start(self.nodes[node])
        except (ChildError, OSError) as exc:
            self.troubles[node] = str(exc)
            logger.error("%s didn't come back: %s", node, exc)

    async def _forget_comeback(self, node: str) -> None:
        _, task = self._comebacks.pop(node, (0.0, None))
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _stop(self) -> None:
        for node in self.nodes:
            await self._forget_comeback(node)
        await asyncio.gather(*(child.stop(grace_seconds=STOP_SECONDS) for child in self.nodes.values()))


def _providers() -> dict[str, str]:
    return {f"{node}/{provider}": model for node in NODES for provider, model in PROVIDERS.items()}
