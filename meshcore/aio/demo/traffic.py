"""A trickle of calls over the real wire, as a handful of applications would make them."""

import asyncio
import itertools
import random
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import aiohttp

from meshcore.clock import Clock, UtcNow, monotonic, utcnow

CALLS_PER_SECOND = 2.0
OPEN_MAX = 64  # calls at a time; further ones are skipped and counted
CALL_SECONDS = 60.0  # then the application gives up
READY_LOOKS = 25  # for a node that takes calls, before the first call; then it calls in any case
READY_EVERY_SECONDS = 0.2
RECENT = 12
STREAMED_SHARE = 0.6
SAYINGS = ("many:4", "slow:6x80", "many:8", "slow:10x60", "many:2")
LONG_SAYING = "slow:80x200"  # 16 s, always streamed: so that a drain has something to wait for
LONG_EVERY = 12  # calls
MODELS = ("mock-fast", "mock-fast", "mock-deep")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """How one call went: which node was asked first, which one answered, `routed_via` as its header said."""

    at: datetime
    asked: str
    answered_by: str  # "" when none did
    routed_via: str
    model: str
    stream: bool
    status: int  # of the last node that was tried; 0: it couldn't be reached
    milliseconds: float


class Traffic:
    """Calls all nodes in turn; an application that gets 503 or no connection goes to the next one."""

    def __init__(
        self,
        urls: dict[str, str],
        *,
        calls_per_second: float = CALLS_PER_SECOND,
        open_max: int = OPEN_MAX,
        clock: Clock = monotonic,
        utcnow: UtcNow = utcnow,
        chance: random.Random | None = None,
        sayings: Callable[[int], str] | None = None,
    ) -> None:
        self.counts: Counter[str] = Counter()  # calls, answered, moved_on, failed, skipped
        self.recent: deque[Answer] = deque(maxlen=RECENT)
        self._urls = urls
        self._calls_per_second = calls_per_second
        self._open_max = open_max
        self._clock = clock
        self._utcnow = utcnow
        self._chance = chance or random.Random()  # noqa: S311 - variety, not secrecy
        self._saying = sayings or self._any_saying

    async def run(self) -> None:
        """Call until cancelled."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS, connect=2.0)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            await self._first_ready(session)
            open_calls: set[asyncio.Task[None]] = set()
            for number, first in enumerate(itertools.cycle(self._urls)):
                await asyncio.sleep(self._chance.uniform(0.5, 1.5) / self._calls_per_second)
                if len(open_calls) >= self._open_max:
                    self.counts["skipped"] += 1
                    continue
                task = group.create_task(self.call(session, first, number))
                open_calls.add(task)
                task.add_done_callback(open_calls.discard)

    async def _first_ready(self, session: aiohttp.ClientSession) -> None:
        """Wait until a node takes calls: those that just started wait for their dashboard first."""
        for _ in range(READY_LOOKS):
            if any([await _is_ready(session, url) for url in self._urls.values()]):
                return
            await asyncio.sleep(READY_EVERY_SECONDS)

    async def call(self, session: aiohttp.ClientSession, first: str, number: int) -> None:
        """Make one call, at `first` or behind it, and count how it went."""
        saying = self._saying(number)
        stream = saying == LONG_SAYING or self._chance.random() < STREAMED_SHARE
        body = {
            "model": self._chance.choice(MODELS),
            "stream": stream,
            "messages": [{"role": "user", "content": saying}],
        }
        begun = self._clock()
        answered_by, status, routed_via = "", 0, ""
        for node in self._in_turn(first):
            status, routed_via = await _ask(session, self._urls[node], body)
            if status not in (0, 503):
                answered_by = node if status == 200 else ""
                break
        self._count(first, answered_by)
        self.recent.append(
            Answer(
                at=self._utcnow(),
                asked=first,
                answered_by=answered_by,
                routed_via=routed_via,
                model=str(body["model"]),
                stream=stream,
                status=status,
                milliseconds=(self._clock() - begun) * 1000,
            )
        )

    def _in_turn(self, first: str) -> Sequence[str]:
        nodes = list(self._urls)
        start = nodes.index(first)
        return nodes[start:] + nodes[:start]

    def _any_saying(self, number: int) -> str:
        return LONG_SAYING if number % LONG_EVERY == 0 else self._chance.choice(SAYINGS)

    def _count(self, first: str, answered_by: str) -> None:
        self.counts["calls"] += 1
        self.counts["answered" if answered_by else "failed"] += 1
        if answered_by not in ("", first):
            self.counts["moved_on"] += 1


async def _is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/readyz") as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _ask(session: aiohttp.ClientSession, url: str, body: dict[str, object]) -> tuple[int, str]:
    """Return status and `X-Mesh-Routed-Via`; 0 when the node can't be reached or breaks off."""
    try:
        async with session.post(f"{url}/v1/chat/completions", json=body) as response:
            whole = await response.read()
            broken = bool(body["stream"]) and response.status == 200 and b"data: [DONE]" not in whole
            return 0 if broken else response.status, response.headers.get("X-Mesh-Routed-Via", "")
    except (aiohttp.ClientError, TimeoutError):
        return 0, ""
