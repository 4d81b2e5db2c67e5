"""Who lives, without comparing clocks (runs.md, "Rules": liveness, self-fence).

A beat is (node, instance, counter). An observer trusts only its own monotonic clock: an instance is dead when
its counter stood still for a lease during which the observer read well at least twice, or when its beat was
there and is gone, as a clean stop leaves it. The beating side trusts its own clock, too, and gives up earlier
than any observer can call it dead.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from meshcore.clock import Clock
from meshcore.run_orphans import Life

FENCE_SHARE = 0.8  # of the lease: the margin is for the way to the engine and the observers' rhythm
GONE_MAX = 1000  # instances known to be gone; of an older one its log says who came behind it
READS_MIN = 2  # good reads within the lease: one that found nothing new may have been an old answer


class Beat(NamedTuple):
    """A sign of life; `counter` rises with each."""

    node: str
    instance: str
    counter: int


@dataclass(slots=True)
class _Watched:
    counter: int
    since: float  # when this counter was first seen
    reads: int = 0  # good reads since then


class Observer:
    """Watches the beats of a log; `lease_seconds` above 0."""

    def __init__(self, *, lease_seconds: float, clock: Clock) -> None:
        if not lease_seconds > 0:
            raise ValueError(f"lease_seconds={lease_seconds!r}: expected seconds above 0")
        self._lease_seconds = lease_seconds
        self._clock = clock
        self._watched: dict[str, _Watched] = {}
        self._gone: dict[str, None] = {}  # instances whose beat was there and is not any more

    def read(self, beats: Iterable[Beat]) -> None:
        """Take a good read of all beats; a read that failed is none, so nothing follows from it."""
        now, found = self._clock(), {beat.instance: beat.counter for beat in beats}
        for instance in self._watched.keys() - found.keys():
            self._missed(instance)
        for instance, counter in found.items():
            self._saw(instance, counter, now)

    def begin_anew(self) -> None:
        """Count what was seen so far for nothing: the observer may have been the one that was cut off."""
        now = self._clock()
        for seen in self._watched.values():
            seen.since, seen.reads = now, 0

    def expect(self, instance: str) -> None:
        """Watch an instance whose beat may never come, as that of an owner that is read in a log."""
        if instance not in self._watched and instance not in self._gone:
            self._watched[instance] = _Watched(0, self._clock())

    def life(self, instance: str) -> Life:
        """Return what is known of an instance."""
        if instance in self._gone:
            return Life.DEAD
        seen = self._watched.get(instance)
        if seen is None:
            return Life.UNKNOWN
        if self._clock() - seen.since < self._lease_seconds or seen.reads < READS_MIN:
            return Life.ALIVE if seen.counter else Life.UNKNOWN
        return Life.DEAD

    def _missed(self, instance: str) -> None:
        seen = self._watched[instance]
        if not seen.counter:  # expected, and still not there
            seen.reads += 1
            return
        del self._watched[instance]
        self._gone[instance] = None
        if len(self._gone) > GONE_MAX:
            self._gone.pop(next(iter(self._gone)))

    def _saw(self, instance: str, counter: int, now: float) -> None:
        self._gone.pop(instance, None)
        seen = self._watched.get(instance)
        if seen is None or counter > seen.counter:  # a lower one was long on its way
            self._watched[instance] = _Watched(counter, now)
        else:
            seen.reads += 1


class SelfFence:
    """Tells a node when to stop generating: before anybody may call it dead.

    A beat counts from before it was sent, because nobody knows when on its way it was stored.
    """

    def __init__(self, *, lease_seconds: float, clock: Clock) -> None:
        self._after_seconds = lease_seconds * FENCE_SHARE
        self._clock = clock
        self._good_from = clock()

    def beat(self, sent_at: float) -> None:
        """Learn that the beat sent at `sent_at` was stored."""
        self._good_from = max(self._good_from, sent_at)

    def is_closed(self) -> bool:
        """Return whether to stop and take a new instance id before beating again."""
        return self._clock() - self._good_from >= self._after_seconds

    def next_deadline(self) -> float:
        """Return when it closes unless a beat is stored before, in the clock's seconds."""
        return self._good_from + self._after_seconds
