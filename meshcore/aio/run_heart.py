"""A node's life in a run log: the instance that it is, its beats, and what it knows of the others'.

NEW ── no living double ──► BEATING ── no beat stored for 0.8 leases ──► another instance, BEATING
                               └────── stop: the beat is deleted ──────► STOPPED
"""

import asyncio
import logging
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import msgspec

from meshcore.aio.atomic_file import replace_file
from meshcore.aio.runlog import EngineGone, RunLog
from meshcore.clock import Clock
from meshcore.errors import IdentityTaken
from meshcore.liveness import Beat, Observer, SelfFence
from meshcore.run_orphans import Life

HOME_FILE = "run_home.json"
POLL_SECONDS = 0.2  # while a double is watched
NAMES_MAX = 100  # former instances that are known as such; what an older one left is taken over from the dead

logger = logging.getLogger(__name__)


class _Home(msgspec.Struct, frozen=True):
    host: str
    name: str


def home_name(home: Path) -> str:
    """Return what all instances of this home, on this host, are named by. Raises OSError.

    A home that was copied to another host is another one.
    """
    path, host = home / HOME_FILE, socket.gethostname()
    try:
        known = msgspec.json.decode(path.read_bytes(), type=_Home)
        if known.host == host:
            return known.name
    except (FileNotFoundError, msgspec.MsgspecError, UnicodeDecodeError):
        pass  # there is none yet, or none that says anything
    fresh = _Home(host, secrets.token_hex(4))
    replace_file(path, msgspec.json.encode(fresh))
    return fresh.name


class Heart:
    """The beats of node `node` of a home; `on_fenced` is called when this instance must stop generating."""

    def __init__(
        self,
        log: RunLog,
        *,
        node: str,
        home: str,
        heartbeat_seconds: float,
        lease_seconds: float,
        on_fenced: Callable[[], None],
        clock: Clock,
    ) -> None:
        self._log = log
        self._node = node
        self._home = home
        self._heartbeat_seconds = heartbeat_seconds
        self._lease_seconds = lease_seconds
        self._on_fenced = on_fenced
        self._clock = clock
        self._observer = Observer(lease_seconds=lease_seconds, clock=clock)
        self._is_stopped = False
        self._names: dict[str, None] = {}  # of instances that this process was, the newest last
        self._former: list[str] = []  # those of them whose beats are still there
        self._begin()

    @property
    def is_alive(self) -> bool:
        """Whether others take this instance for alive, so that it may own runs."""
        return self._is_beating and not self._fence.is_closed()

    async def take_place(self) -> None:
        """Take over from older instances of this home, and beat for the first time.

        Raises IdentityTaken when another process lives under the same node id, EngineGone.
        """
        doubles = [beat for beat in await self._log.beats() if beat.node == self._node]
        self._observer.read(doubles)
        strangers = [beat for beat in doubles if not self._is_own(beat.instance)]
        if strangers:
            await self._watch(strangers)
        for beat in doubles:
            await self._log.remove_beat(beat.node, beat.instance)
        self._begin()
        await self._beat()

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(
                max(min(self._heartbeat_seconds, self._fence.next_deadline() - self._clock()), 0)
            )
            if self._fence.is_closed():
                self._close()
            await self._try_to_beat()

    async def look(self) -> None:
        """Read the beats of all. Raises EngineGone.

        While none of our own is stored it says nothing that the others' aren't, either.
        """
        beats = await self._log.beats()
        if not self.is_alive:
            self._observer.begin_anew()
        self._observer.read(beats)

    def life(self, instance: str) -> Life:
        """Return what is known of an instance, which is watched from now on."""
        if instance == self.instance:
            return Life.ALIVE
        if self._is_own(instance):
            return Life.DEAD  # this home is locked: there is nobody else of it
        self._observer.expect(instance)
        return self._observer.life(instance)

    def was(self, instance: str) -> bool:
        """Return whether this process went under that name before it was fenced."""
        return instance in self._names

    async def stop(self) -> None:
        """Say that this instance ended. Raises EngineGone."""
        self._is_stopped = True
        self._is_beating = False
        for instance in [*self._former, self.instance]:
            await self._log.remove_beat(self._node, instance)

    def _begin(self) -> None:
        self.instance = f"{self._home}-{secrets.token_hex(8)}"
        self._counter = 0
        self._stored = 0  # of its beats; those that failed while the engine was away are none
        self._is_beating = False
        self._renew_fence()

    def _renew_fence(self) -> None:
        self._fence = SelfFence(lease_seconds=self._lease_seconds, clock=self._clock)

    def _is_own(self, instance: str) -> bool:
        return instance.startswith(f"{self._home}-")

    async def _watch(self, strangers: list[Beat]) -> None:
        """Wait for one lease whether a double lives."""
        until = self._clock() + self._lease_seconds
        before = {beat.instance: beat.counter for beat in strangers}
        while self._clock() < until:
            await asyncio.sleep(min(POLL_SECONDS, self._lease_seconds / 4))
            for beat in await self._log.beats():
                if before.get(beat.instance, beat.counter) != beat.counter:
                    raise IdentityTaken(self._node, beat.instance)

    def _close(self) -> None:
        """Be another instance: this one may be taken for dead. One that never lived can't be."""
        if not self._is_beating:
            self._renew_fence()
            return
        logger.error(
            "no sign of life of %s was stored for %.1f s: it stops its runs and goes on as another instance",
            self.instance,
            self._lease_seconds,
        )
        self._former.append(self.instance)
        self._names[self.instance] = None
        if len(self._names) > NAMES_MAX:
            del self._names[next(iter(self._names))]
        self._on_fenced()
        self._begin()

    async def _try_to_beat(self) -> None:
        try:
            async with asyncio.timeout(max(self._fence.next_deadline() - self._clock(), 0)):
                await self._beat()
        except (EngineGone, TimeoutError) as exc:
            logger.warning("a sign of life was not stored: %s", exc or "no answer")

    async def _beat(self) -> None:
        if self._is_stopped:
            return
        sent_at, fence = self._clock(), self._fence
        self._counter += 1
        await self._log.beat(Beat(self._node, self.instance, self._counter))
        fence.beat(sent_at)
        self._stored += 1
        self._is_beating = fence is self._fence and not self._is_stopped
        while self._former and self._stored * self._heartbeat_seconds >= self._lease_seconds:
            # not before this process had the time to release what it left: a beat that goes says "take it"
            await self._log.remove_beat(self._node, self._former[-1])
            self._former.pop()
