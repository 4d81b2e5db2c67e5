"""What nodes say, on its way into the database: groups of frames of all nodes of a process.

    telemetry -> room (who waits outside isn't acknowledged) -> decode lane -> group: long frames at once,
                 short ones with what comes within a twentieth of a second -> ingest lane
    health    -> group: news at once, the rest with what comes within a tenth of a second -> ingest lane

While PostgreSQL stores a group the next one is decoded; what waits is bounded in frames and bytes.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime

from dashboard.groups import Groups, Room
from dashboard.lanes import Lane
from dashboard.models import Node
from dashboard.replays import Replays
from dashboard.services import ballast, health, ingest
from dashboard.services.health import Said
from dashboard.services.ingest import Answer, Batch
from meshcore.clock import UtcNow
from meshcore.frames import Telemetry

ROOM_FRAMES = 256  # decoded or being decoded at once
ROOM_BYTES = 16 << 20  # of the same, as they came; decoded they are about four times as long
OUTSIDE_MAX = 16  # frames by HTTP that wait hold up to 1 MiB each; those of links are bounded by the window
GROUP_FRAMES = 64
GROUP_BYTES = 2 << 20  # 2 000 calls: 0.1 s of SQLite's write lock, for which orders have to wait
GATHER_SECONDS = 0.05  # a thousand nodes are then 20 transactions a second, not hundreds
WHOLE_ITEMS = 50  # a frame of so many waits for no others: it is of a replay, or of a very busy node
HEALTH_FRAMES = 500
HEALTH_GATHER_SECONDS = 0.1  # 1 000 nodes are then 20 frames a transaction, and nobody sees the difference


class IngestWriter:
    """See the module; made on a loop, where all is called."""

    def __init__(self, *, decode: Lane, lane: Lane, now: UtcNow) -> None:
        self._decode = decode
        self._room = Room(max_works=ROOM_FRAMES, max_size=ROOM_BYTES)
        self._telemetry: Groups[Batch, Answer] = Groups(
            lane,
            lambda batches: ballast.without_ballast(ingest.store, batches, now=now()),
            max_works=GROUP_FRAMES,
            max_size=GROUP_BYTES,
            gather_seconds=GATHER_SECONDS,
        )
        self._health: Groups[Said, bool] = Groups(
            lane,
            lambda said: ballast.with_room(health.apply, said=said),
            max_works=HEALTH_FRAMES,
            max_size=HEALTH_FRAMES,
            gather_seconds=HEALTH_GATHER_SECONDS,
        )
        self.replays = Replays()

    @property
    def is_crowded(self) -> bool:
        """Whether so many wait for room that who can come again later should."""
        return self._room.outside >= OUTSIDE_MAX

    async def store(
        self, *, node: Node, connection_no: int, telemetry: Telemetry, now: datetime, spool_id: str = ""
    ) -> Answer:
        """Store a frame that came at `now`, and return what to answer; frames of a spool keep their order.

        Raises LaneFull, and what the database raises.
        """
        size = sum(memoryview(item).nbytes for item in telemetry.items)
        async with self._room.place(size):
            batch = await self._decode.run(
                ingest.read,
                node=node,
                connection_no=connection_no,
                telemetry=telemetry,
                now=now,
                spool_id=spool_id,
            )
            urgent = len(telemetry.items) >= WHOLE_ITEMS
            return await self._telemetry.put(batch, size=size, urgent=urgent)

    async def note_health(self, said: Said, *, urgent: bool) -> bool:
        """Store what a node says of itself; False: the connection doesn't count any more.

        Raises Unfit, LaneFull, and what the database raises.
        """
        return await self._health.put(said, urgent=urgent)

    def gauges(self) -> dict[str, Callable[[], float]]:
        """Return what /metrics shows, by name."""
        return {
            "ingest_waiting_frames": lambda: self._telemetry.waiting,
            "ingest_oldest_seconds": self._telemetry.oldest_seconds,
            "ingest_withheld_frames": lambda: self._room.outside,
            "ingest_health_waiting": lambda: self._health.waiting,
            "ingest_replaying_nodes": lambda: self.replays.running,
            "ingest_replays_waiting": lambda: self.replays.waiting,
            "ingest_replays_put_off": lambda: self.replays.put_off,
        }

    async def close(self) -> None:
        """Forget what no group has taken, and let the groups that are being stored end."""
        await asyncio.gather(self._telemetry.close(), self._health.close())
