"""Who sends what it held during an outage: a few nodes at a time, so that the present of all gets through.

hello with a long spool -> expected, told when to begin -> its first frame takes a place or waits for one
-> sent to the end, silent for too long, or gone -> the place is the next one's
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

REPLAYING_MAX = 16  # nodes at once, in a process
REPLAY_ITEMS = 1000  # who holds fewer sends no replay: two frames
LATER_SECONDS = 5.0  # in which so many nodes are done, as a guess
LATER_MAX_SECONDS = 60.0
SILENT_SECONDS = 30.0  # a node that has a place and sends nothing loses it until it goes on


class Replays:
    """The places of a process."""

    def __init__(self, *, most: int = REPLAYING_MAX, silent_seconds: float = SILENT_SECONDS) -> None:
        self.most = most
        self.silent_seconds = silent_seconds
        self.places = asyncio.Semaphore(most)
        self.expected = 0  # nodes that have something to replay
        self.running = 0  # of them, those that have a place
        self.waiting = 0  # and those with a frame that waits for one
        self.put_off = 0  # were told to come later, since the start

    def expect(self, *, after: int, last: int) -> "Replay | None":
        """Return the replay of a node that holds what lies in (after, last], None when that isn't much."""
        return Replay(self, last) if last - after > REPLAY_ITEMS else None


class Replay:
    """One node's; `later_seconds` is what the node is told to wait, and who doesn't waits unacknowledged."""

    def __init__(self, replays: Replays, last: int) -> None:
        self._replays = replays
        self._last = last
        self._has_place = False
        self._silence: asyncio.TimerHandle | None = None
        self._ended = False
        self.later_seconds = min(replays.expected // replays.most * LATER_SECONDS, LATER_MAX_SECONDS)
        replays.expected += 1
        replays.put_off += self.later_seconds > 0

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have a place while frames are being stored, and for a while behind it."""
        if self._silence is not None:
            self._silence.cancel()
        if not self._has_place:
            await self._take_place()
        try:
            yield
        finally:
            seconds = self._replays.silent_seconds
            self._silence = asyncio.get_running_loop().call_later(seconds, self._give_up_place)

    async def _take_place(self) -> None:
        self._replays.waiting += 1
        try:
            await self._replays.places.acquire()
        finally:
            self._replays.waiting -= 1
        self._has_place = True
        self._replays.running += 1

    def _give_up_place(self) -> None:
        if self._has_place:
            self._has_place = False
            self._replays.running -= 1
            self._replays.places.release()

    def stored(self, to: int) -> bool:
        """Note how far it has come; return whether that is the end."""
        if to >= self._last:
            self.end()
        return self._ended

    def end(self) -> None:
        """Leave: all was sent, or the node is gone."""
        if self._ended:
            return
        self._ended = True
        self._replays.expected -= 1
        if self._silence is not None:
            self._silence.cancel()
        self._give_up_place()
