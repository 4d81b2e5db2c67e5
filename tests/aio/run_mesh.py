"""What the tests of runs share: nodes of one log in one process, with leases of a fraction of a second."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from meshcore.aio.bus import BusSettings, CapabilityBus
from meshcore.aio.drain_marker import DrainController
from meshcore.aio.run_loading import load
from meshcore.aio.run_terms import ExecutionPolicy
from meshcore.aio.runlog import RunLog
from meshcore.aio.runlog.appending import behind
from meshcore.aio.runner import Runner, RunnerPolicy
from meshcore.clock import monotonic, utcnow
from meshcore.config_sections import OnBrokenStream
from meshcore.drain import WorkKind
from meshcore.run_events import AnyEvent, ChunkEvent, Claimed, End
from meshcore.run_orphans import OrphanPolicy
from meshcore.run_record import EMPTY
from meshcore.run_request import parse_run
from meshcore.runs import RunState
from meshcore.trace import RoutingTrace
from tests.aio.bus_mesh import STOP, Script, make_bus, says

HEARTBEAT_SECONDS = 0.1
LEASE_SECONDS = 1.2
PATIENCE_SECONDS = 30.0
CHAT = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
WORDS = [f"chunk-{n} " for n in range(1, 7)]


def answer(*words: str) -> list[bytes]:
    """Return the steps of a whole answer."""
    return [*(says(word) for word in words), STOP]


class Paused:
    """A service that says some words, then waits until it is let go on, then says the rest."""

    def __init__(self, before: list[str], after: list[str], **fields: Any) -> None:
        self.reached = asyncio.Event()
        self.go_on = asyncio.Event()

        async def pause() -> None:
            self.reached.set()
            await self.go_on.wait()

        self.script = Script(*(says(word) for word in before), pause, *answer(*after), **fields)


class RunNode:
    """A node in the process of the test."""

    def __init__(self, runner: Runner, bus: CapabilityBus, controller: DrainController) -> None:
        self.runner = runner
        self.bus = bus
        self.controller = controller
        self.ended: list[tuple[str, End]] = []
        self.fenced = 0
        self._life: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to live."""
        await self.runner.take_place()
        self._life = asyncio.create_task(self.runner.run())

    async def create(self, raw: bytes = CHAT, *, client: str = "alice", key: str = "") -> str:
        """Make a run here."""
        work = self.controller.ledger.admit(WorkKind.RUN, "run")
        made = await self.runner.desk.create(
            parse_run(raw), client=client, idempotency_key=key, stream=True, work=work
        )
        return made.run_id

    async def die(self) -> None:
        """End as by SIGKILL: without another word."""
        hands = self.runner._hands
        for task in [*hands._tasks, *([self._life] if self._life else [])]:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def stop(self) -> None:
        """End cleanly."""
        self.controller.begin_shutdown()
        await self.runner.stop()
        await self.die()


StartNode = Callable[..., Awaitable[RunNode]]


@asynccontextmanager
async def starting(log: RunLog, folder: Path) -> AsyncIterator[StartNode]:
    """Give what starts nodes of a log."""
    async with AsyncExitStack() as stack:

        async def start(
            name: str,
            *scripts: Script,
            home: str = "",
            on_broken_stream: OnBrokenStream = OnBrokenStream.CONTINUE,
            log: RunLog = log,
            on_trace: Callable[[RoutingTrace], None] | None = None,
            **bounds: Any,
        ) -> RunNode:
            bus = make_bus(name, settings=BusSettings(deadline_seconds=60.0), on_trace=on_trace)
            for script in scripts:
                script.offer_to(bus)
            controller = DrainController(home=folder / name, on_status=lambda _: None)
            controller.tick()
            bus.draining = lambda: not controller.accepts()
            orphans = {"lease_seconds": LEASE_SECONDS, "cancel_seconds": 2.0}
            execution = ExecutionPolicy(on_broken_stream=on_broken_stream, **bounds)
            node = RunNode.__new__(RunNode)
            runner = Runner(
                log,
                bus,
                controller,
                home=home or f"home-{name}",
                policy=RunnerPolicy(
                    heartbeat_seconds=HEARTBEAT_SECONDS,
                    lease_seconds=LEASE_SECONDS,
                    orphans=OrphanPolicy(**orphans),
                    execution=execution,
                ),
                on_end=lambda run_id, state: node.ended.append((run_id, state.end)),
                on_fenced=lambda: setattr(node, "fenced", node.fenced + 1),
                clock=monotonic,
                utcnow=utcnow,
                random=random.random,
            )
            node.__init__(runner, bus, controller)  # type: ignore[misc]
            await node.start()
            stack.push_async_callback(node.die)
            return node

        yield start


async def events(log: RunLog, run_id: str) -> list[AnyEvent]:
    """Return all that stands in a run's log."""
    return [event async for record, _ in behind(log, run_id, EMPTY) for event in record.events]


async def state_of(log: RunLog, run_id: str) -> RunState:
    """Return a run as it is."""
    return (await load(log, run_id)).state


async def until(look: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Look until there is something, and return it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not (seen := await look()):  # noqa: ASYNC110 - what is looked at is no event
            await asyncio.sleep(0.01)
    assert seen, what
    return seen


async def ended(log: RunLog, run_id: str) -> RunState:
    """Return a run when it has ended."""

    async def look() -> RunState | None:
        state = await state_of(log, run_id)
        return state if state.end else None

    state: RunState = await until(look, f"{run_id} ends")
    return state


async def said(log: RunLog, run_id: str, words: str) -> None:
    """Wait until a run's text is there."""

    async def look() -> bool:
        return (await state_of(log, run_id)).text == words

    await until(look, words)


def claims(found: list[AnyEvent]) -> list[tuple[str, str, int]]:
    """Return (node, reason, epoch) of each claim."""
    return [(e.node, str(e.reason), e.epoch) for e in found if isinstance(e, Claimed)]


def indices(found: list[AnyEvent]) -> list[int]:
    """Return the numbers of all chunks."""
    return [event.index for event in found if isinstance(event, ChunkEvent)]


async def is_true(value: object) -> bool:
    """Return whether something is so, as `until` wants it."""
    return bool(value)
