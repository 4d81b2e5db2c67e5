"""Whatever happens to a spool: each item is delivered exactly once, or counted as dropped.

The dashboard is a model: one mark for each spool, moved with what is stored. What can't be asked for is only
what was never on the disk: the batch that a crash tore, and what came after the copy that a disk was set back
to. `MESH_SPOOL_EXAMPLES` says how many stories are told (15).
"""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from meshcore import framing
from meshcore.aio import spool_file
from meshcore.aio.segments import SegmentStore
from meshcore.aio.spool_file import SpoolFile
from meshcore.breaker import BreakerState
from meshcore.frames import DrainStepItem, HistogramItem, Item, Telemetry, TraceItem, TransitionItem
from meshcore.spool import SpoolPolicy
from meshcore.testing import START
from meshcore.trace import RoutingTrace

EXAMPLES = int(os.environ.get("MESH_SPOOL_EXAMPLES", "15"))
pytestmark = pytest.mark.timeout(120 + 3 * EXAMPLES)
POLICY = SpoolPolicy(max_bytes=4000, max_items=10, kept_bytes=1000, segment_bytes=1200)
FRAME_BYTES = 2500
GATHERED_MAX = 12
KINDS = ("trace", "failed", "drain_step", "histogram", "transition")


@dataclass
class Dashboard:
    """What a dashboard has stored, by the rule of the mark."""

    marks: dict[str, int] = field(default_factory=dict)
    named: Counter[str] = field(default_factory=Counter)  # traces and drain steps
    sums: Counter[str] = field(default_factory=Counter)  # what histograms and transitions stand for
    dropped: Counter[str] = field(default_factory=Counter)

    def store(self, spool_id: str, frame: Telemetry) -> int | None:
        """Return the mark after it, None when there is a gap and nothing was stored."""
        mark = self.marks[spool_id]
        if mark >= frame.to:
            return mark
        if mark < frame.after:
            return None
        for raw in frame.items:
            item = framing.decode_item(raw)
            if item.seq > mark:
                self._keep(item)
        self.dropped.update(frame.dropped)
        self.marks[spool_id] = frame.to
        return frame.to

    def _keep(self, item: Item) -> None:
        match item:
            case TraceItem(trace=trace):
                self.named[trace.trace_id] += 1
            case DrainStepItem(detail=detail):
                self.named[detail] += 1
            case HistogramItem(counts=counts):
                self.sums["histogram"] += sum(counts.values())
            case TransitionItem(count=count):
                self.sums["transition"] += count


class SpoolLedger(RuleBasedStateMachine):
    """A node's spool, its dashboard, its disk, and everything that goes wrong with them."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="meshboard-spool-"))
        self.dashboard = Dashboard()
        self.now = START
        self.appended: Counter[str] = Counter()  # by kind
        self.names: dict[str, str] = {}  # of traces and drain steps, and their kind
        self.unwritten: list[str] = []  # kinds and names of what is only in memory
        self.excused: list[str] = []
        self.copied_names: list[str] | None = None
        self.link: str | None = None  # the spool's id as the dashboard knows the connection
        self.after = 0
        self.spool = self._opened()

    def _opened(self) -> SpoolFile:
        self.now += timedelta(seconds=1)
        floor = int(self.now.timestamp() * 1e6)
        return SpoolFile(SegmentStore(self.folder / "spool", POLICY, floor=floor), utcnow=lambda: self.now)

    # What the node does.

    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=12))
    def append(self, kinds: list[str]) -> None:
        for kind in kinds:
            name = f"{kind}-{sum(self.appended.values())}"
            item = _item(kind, name, self.now)
            tag = str(item.__struct_config__.tag)
            self.spool.append(tag, item)
            self.appended[tag] += 1
            self.unwritten.append(name)
            if tag in ("trace", "drain_step"):
                self.names[name] = tag

    @rule(kind=st.sampled_from(KINDS), many=st.integers(1, 6))
    def write(self, kind: str, many: int) -> None:
        self.append([kind] * many)
        self.flush()

    @rule(many=st.integers(1, 4), more=st.integers(1, 8))
    def write_signals_in_doubt(self, many: int, more: int) -> None:
        self.write("histogram", many)
        self.connect()
        self.send("committed, then cut")
        self.write("histogram", more)

    @rule()
    def flush(self) -> None:
        with patch.object(spool_file, "GATHERED_MAX", GATHERED_MAX):
            self.loop.run_until_complete(self.spool.flush())
        self.unwritten.clear()

    @rule(minutes=st.integers(0, 2))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule(appends=st.booleans(), replaces=st.booleans())
    def flush_to_a_full_disk(self, appends: bool, replaces: bool) -> None:
        with _full_disk(appends=appends, replaces=replaces):
            self.loop.run_until_complete(self.spool.flush())

    # What the link does.

    @rule()
    def connect(self) -> None:
        for _ in range(2):
            mark = self.dashboard.marks.setdefault(self.spool.spool_id, 0)
            if self.spool.last_seq >= mark:
                break
            self.loop.run_until_complete(self.spool.take_new_id())
        self.link, self.after = self.spool.spool_id, mark
        self.loop.run_until_complete(self.spool.resume(mark))

    @precondition(lambda self: self.link is not None)
    @rule(
        fate=st.sampled_from(["acknowledged", "acknowledged", "answer lost", "lost", "committed, then cut"])
    )
    def send(self, fate: str) -> None:
        frame = self.loop.run_until_complete(self.spool.next_batch(self.after, max_bytes=FRAME_BYTES))
        if frame is None:
            return
        assert frame.after == self.after
        assert self.link is not None
        mark = None if fate == "lost" else self.dashboard.store(self.link, frame)
        if fate == "acknowledged" and mark is not None:
            self.loop.run_until_complete(self.spool.acknowledge(frame.to))
            self.after = frame.to
        else:
            self.link = None

    @precondition(lambda self: self.link is not None)
    @rule(back=st.integers(1, 40))
    def rewind(self, back: int) -> None:
        assert self.link is not None
        self.after = self.dashboard.marks[self.link]

    # What goes wrong with the process and its disk.

    @rule()
    def close_and_open(self) -> None:
        self.loop.run_until_complete(self.spool.close())
        self.unwritten.clear()
        self.link = None
        self.spool = self._opened()

    @rule()
    def crash(self) -> None:
        self.excused += self.unwritten
        self._die()
        self.spool = self._opened()

    @rule(torn_bytes=st.integers(0, 400))
    def crash_in_the_middle_of_a_write(self, torn_bytes: int) -> None:
        before = self._sizes()
        self.excused += self.unwritten
        self.loop.run_until_complete(self.spool.flush())
        after = self._sizes()
        self._die()
        newest = max(after, default=None)
        others = {path: size for path, size in after.items() if path != newest}
        if newest is not None and all(before.get(path) == size for path, size in others.items()):
            os.truncate(newest, max(after[newest] - torn_bytes, before.get(newest, 0)))
        self.spool = self._opened()

    @rule()
    def copy_the_disk(self) -> None:
        shutil.rmtree(self.folder / "copy", ignore_errors=True)
        shutil.copytree(self.folder / "spool", self.folder / "copy")
        self.copied_names = [*self._all_names(), *self.excused]
        self.excused += self.unwritten  # after a crash they are not on the copy

    @precondition(lambda self: self.copied_names is not None)
    @rule()
    def set_the_disk_back(self) -> None:
        assert self.copied_names is not None
        self.excused += set(self._all_names()) - set(self.copied_names)
        self._die()
        shutil.rmtree(self.folder / "spool")
        shutil.copytree(self.folder / "copy", self.folder / "spool")
        self.spool = self._opened()

    def _all_names(self) -> list[str]:
        return [f"{kind}-{number}" for kind in KINDS for number in range(sum(self.appended.values()))]

    def _sizes(self) -> dict[Path, int]:
        return {path: path.stat().st_size for path in (self.folder / "spool").glob("*.segment")}

    def _die(self) -> None:
        for segment in self.spool._store._segments:
            segment.retire()
        self.spool._thread.shutdown()
        self.unwritten, self.link = [], None

    # What must be true.

    @invariant()
    def nothing_is_stored_twice(self) -> None:
        assert max(self.dashboard.named.values(), default=0) <= 1
        for kind in ("histogram", "transition"):
            assert self.dashboard.sums[kind] <= self.appended[kind]

    def teardown(self) -> None:
        try:
            self.flush()
            self.connect()
            while self.link and self.loop.run_until_complete(self.spool.next_batch(self.after)):
                self.send("acknowledged")
            self.nothing_is_stored_twice()
            self._everything_is_there_or_counted()
        finally:
            self._die()
            self.loop.close()
            shutil.rmtree(self.folder)

    def _everything_is_there_or_counted(self) -> None:
        excused = set(self.excused)
        for kind in ("trace", "drain_step"):
            missing = {name for name, its in self.names.items() if its == kind} - set(self.dashboard.named)
            uncounted = len(missing) - self.dashboard.dropped[kind]
            assert 0 <= uncounted <= len(missing & excused), (kind, missing, self.dashboard.dropped)
        for kind in ("histogram", "transition"):
            excuses = sum(name.startswith(kind) for name in excused)
            missing_sum = self.appended[kind] - self.dashboard.sums[kind]
            if not self.dashboard.dropped[kind]:
                assert 0 <= missing_sum <= excuses, (kind, missing_sum)


def _item(kind: str, name: str, now: object) -> Item:
    match kind:
        case "trace" | "failed":
            outcome = "ok" if kind == "trace" else "error"
            call = RoutingTrace(trace_id=name, capability="llm.chat", started_at=START, outcome=outcome)
            return TraceItem(seq=0, at=now, trace=call)  # type: ignore[arg-type]
        case "drain_step":
            return DrainStepItem(seq=0, at=now, generation=1, step="drained", detail=name)  # type: ignore[arg-type]
        case "histogram":
            said = {"provider": "alpha", "capability": "llm.chat", "outcome": "ok", "counts": {"3": 1}}
            return HistogramItem(seq=0, at=now, **said)  # type: ignore[arg-type]
        case _:
            states = {"from_state": BreakerState.CLOSED, "to_state": BreakerState.OPEN}
            return TransitionItem(seq=0, at=now, key="alpha", **states)  # type: ignore[arg-type]


@contextmanager
def _full_disk(*, appends: bool, replaces: bool) -> Iterator[None]:
    """Let no segment grow any more unless `appends`, and no file be replaced unless `replaces`."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with ExitStack() as stack:
        if not appends:
            stack.enter_context(patch("meshcore.aio.segment_file.os.write", full))
        if not replaces:
            for module in ("segments", "segment_file"):
                stack.enter_context(patch(f"meshcore.aio.{module}.replace_file", full))
        yield


TestSpoolLedger = SpoolLedger.TestCase
TestSpoolLedger.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_what_comes_after_a_disk_was_set_back_is_no_repetition_of_what_came_on_the_lost_one() -> None:
    story = SpoolLedger()
    story.append(["trace"])
    story.flush()
    story.copy_the_disk()
    story.crash()
    story.append(["trace"] * 3)
    story.flush()
    story.connect()
    story.send("acknowledged")

    story.set_the_disk_back()
    story.append(["failed"] * 5)
    story.flush()
    story.connect()
    story.send("acknowledged")

    assert {name for name in story.dashboard.named if name.startswith("failed")} == {
        f"failed-{number}" for number in range(4, 9)
    }
    story.teardown()


def test_a_disk_set_back_under_a_clock_that_went_back_takes_a_new_name_and_repeats_nothing() -> None:
    story = SpoolLedger()
    story.append(["trace"])
    story.flush()
    story.copy_the_disk()
    story.now += timedelta(days=1)
    story.crash()
    story.append(["trace"] * 3)
    story.flush()
    story.connect()
    story.send("acknowledged")
    before = story.spool.spool_id

    story.now -= timedelta(days=1)
    story.set_the_disk_back()
    story.append(["failed"])
    story.flush()
    story.connect()
    story.send("acknowledged")

    assert story.spool.spool_id != before
    assert story.spool.report().reset_at is not None
    assert story.dashboard.named["failed-4"] == 1
    story.teardown()
