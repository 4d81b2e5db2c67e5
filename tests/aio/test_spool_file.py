"""The disk spool as a node uses it."""

import asyncio
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from meshcore.aio import spool_file
from meshcore.aio.spool_file import SpoolFile
from meshcore.errors import FrameError
from meshcore.frames import DrainStepItem, TraceItem
from meshcore.spool_entry import ITEM_MAX_BYTES
from meshcore.trace import RoutingTrace

AT = datetime(2026, 1, 1, tzinfo=UTC)
STEP = DrainStepItem(seq=0, at=AT, generation=1, step="drained")


def trace(message: str = "") -> TraceItem:
    call = RoutingTrace(trace_id="t1", capability="llm.chat", started_at=AT, message=message)
    return TraceItem(seq=0, at=AT, trace=call)


def _full(descriptor: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.fixture
async def spool(tmp_path: Path) -> AsyncIterator[SpoolFile]:
    async with SpoolFile.open(tmp_path) as opened:
        yield opened


async def sent(spool: SpoolFile) -> list[int]:
    """The numbers of everything that would be sent."""
    numbers: list[int] = []
    after = 0
    while frame := await spool.next_batch(after):
        numbers += [msgspec.json.decode(item)["seq"] for item in frame.items]
        after = frame.to
    return numbers


async def test_an_item_gets_the_next_number_and_is_soon_on_disk(spool: SpoolFile) -> None:
    numbers = [spool.append("trace", trace()), spool.append("drain_step", STEP)]

    async with asyncio.timeout(10):
        await spool.batch_behind(1)

    assert numbers == [1, 2]
    assert spool.last_seq == 2
    assert await sent(spool) == [1, 2]
    assert (spool.report().size, spool.report().last_seq) == (2, 2)


async def test_an_item_may_come_as_a_dict(spool: SpoolFile) -> None:
    spool.append("drain_step", {"at": AT, "generation": 1, "step": "drained"})
    spool.append("trace", {"at": AT, "trace": trace().trace})
    await spool.flush()

    frame = await spool.next_batch(0)

    assert frame is not None
    first, second = (msgspec.json.decode(item) for item in frame.items)
    assert (first["kind"], first["seq"], first["step"]) == ("drain_step", 1, "drained")
    assert (second["kind"], second["trace"]["trace_id"]) == ("trace", "t1")


async def test_what_is_no_item_of_that_kind_is_refused_and_takes_no_number(spool: SpoolFile) -> None:
    with pytest.raises(FrameError, match="drain_step"):
        spool.append("drain_step", trace())
    with pytest.raises(FrameError, match="step"):
        spool.append("drain_step", {"at": AT, "generation": 1})

    assert spool.append("trace", trace()) == 1


async def test_an_item_that_no_frame_could_carry_is_dropped_and_counted(spool: SpoolFile) -> None:
    spool.append("trace", trace("x" * ITEM_MAX_BYTES))
    spool.append("trace", trace())
    await spool.flush()

    assert await sent(spool) == [2]
    assert spool.report().dropped == {"trace": 1}


async def test_what_was_appended_before_the_start_is_written_by_it(tmp_path: Path) -> None:
    spool = SpoolFile.open(tmp_path)
    spool.append("trace", trace())
    assert spool.report().size == 1

    async with spool, asyncio.timeout(10):
        assert (await spool.batch_behind(0)).to == 1


async def test_closing_writes_the_rest_and_a_new_process_goes_on_behind_it(tmp_path: Path) -> None:
    async with SpoolFile.open(tmp_path) as first:
        first.append("trace", trace())
        spool_id = first.spool_id

    async with SpoolFile.open(tmp_path) as second:
        assert second.spool_id == spool_id
        assert await sent(second) == [1]
        assert second.append("trace", trace()) > 1, "behind the present: a disk that is set back repeats none"


async def test_a_spool_that_was_never_started_can_be_closed(tmp_path: Path) -> None:
    spool = SpoolFile.open(tmp_path)
    spool.append("trace", trace())

    await spool.close()

    async with SpoolFile.open(tmp_path) as second:
        assert await sent(second) == [1]


async def test_what_is_acknowledged_is_forgotten(spool: SpoolFile) -> None:
    for _ in range(3):
        spool.append("trace", trace())
    await spool.flush()

    await spool.acknowledge(2)

    assert spool.report().size == 1


async def test_a_reset_spool_sends_what_it_took_under_a_new_name(spool: SpoolFile) -> None:
    before = spool.spool_id
    spool.append("trace", trace())
    await spool.flush()
    await spool.acknowledge(1)

    await spool.take_new_id()

    assert spool.spool_id != before
    assert await sent(spool) == [1]
    assert spool.report().reset_at is not None


async def test_a_resumed_spool_forgets_what_the_dashboard_has(spool: SpoolFile) -> None:
    for _ in range(3):
        spool.append("trace", trace())
    await spool.flush()

    await spool.resume(2)

    assert spool.report().size == 1


async def test_a_full_disk_costs_items_that_are_counted_and_never_the_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_file, "RETRY_SECONDS", 0.01)
    async with SpoolFile.open(tmp_path) as spool:
        with monkeypatch.context() as patch:
            patch.setattr("meshcore.aio.segment_file.os.write", _full)
            spool.append("trace", trace())
            spool.append("drain_step", STEP)
            async with asyncio.timeout(10):
                while not spool.report().dropped:  # noqa: ASYNC110 - a report has no event
                    await asyncio.sleep(0.01)
            spool.append("trace", trace())
            await spool.flush()
        spool.append("trace", trace())
        async with asyncio.timeout(10):
            await spool.batch_behind(3)
        frame = await spool.next_batch(0)

    assert frame is not None
    assert frame.to == 4
    assert frame.dropped == {"trace": 2}
    assert [msgspec.json.decode(item)["kind"] for item in frame.items] == ["drain_step", "trace"]


async def test_of_drain_steps_the_newest_wait_in_memory_for_a_disk_with_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_file, "KEPT_MAX", 2)
    monkeypatch.setattr(spool_file, "GATHERED_MAX", 3)
    spool = SpoolFile.open(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("meshcore.aio.segment_file.os.write", _full)
        for _ in range(3):
            spool.append("drain_step", STEP)
        await spool.flush()
        spool.append("drain_step", STEP)
        spool.append("drain_step", STEP)
        spool.append("trace", trace())
    await spool.flush()
    frame = await spool.next_batch(0)
    await spool.close()

    assert frame is not None
    assert [msgspec.json.decode(item)["seq"] for item in frame.items] == [2, 3, 4, 5]
    assert frame.dropped == {"drain_step": 1, "trace": 1}


async def test_what_follows_a_write_that_fails_stays_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fails = [True, False]
    real = os.write

    def write(descriptor: int, data: bytes) -> int:
        if fails and fails.pop(0):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    spool = SpoolFile.open(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("meshcore.aio.segment_file.os.write", write)
        spool.append("trace", trace())
        first = asyncio.create_task(spool.flush())
        await asyncio.sleep(0)
        spool.append("trace", trace())
        await asyncio.gather(first, spool.flush())
    frame = await spool.next_batch(0)
    await spool.close()

    assert frame is not None
    assert (frame.to, frame.dropped, len(frame.items)) == (2, {"trace": 1}, 1)


async def test_what_comes_while_the_disk_is_too_slow_is_dropped_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_file, "GATHERED_MAX", 2)
    spool = SpoolFile.open(tmp_path)

    for _ in range(5):
        spool.append("trace", trace())
    await spool.close()

    async with SpoolFile.open(tmp_path) as second:
        assert await sent(second) == [1, 2]
        assert second.report().dropped == {"trace": 3}
        assert second.last_seq >= 5


async def test_appending_costs_the_call_next_to_nothing(spool: SpoolFile) -> None:
    item = trace()

    before = time.perf_counter()
    for _ in range(1000):
        spool.append("trace", item)
    seconds = time.perf_counter() - before

    assert seconds / 1000 < 0.001, "a tenth of this is what is promised; a busy machine is forgiven"


CHILD = """
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from meshcore.aio.spool_file import SpoolFile

AT = datetime(2026, 1, 1, tzinfo=UTC)

async def main():
    spool = SpoolFile.open(Path(sys.argv[1]), max_bytes=1 << 20)
    spool.start()
    while True:
        numbers = [spool.append("drain_step", {"at": AT, "generation": 1, "step": "s"}) for _ in range(50)]
        print("given", numbers[-1], flush=True)
        await spool.flush()
        print("stored", numbers[-1], flush=True)

asyncio.run(main())
"""


def killed_after(home: Path, stored: int) -> tuple[int, int]:
    """Let a process append until `stored` numbers are on disk, kill it; returns (last given, last stored)."""
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(home)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    last = {"given": 0, "stored": 0}
    first = None
    with child, contextlib.ExitStack() as stack:
        stack.callback(child.kill)
        for line in child.stdout:
            what, number = line.split()
            first = first or int(number)
            last[what] = int(number)
            if last["stored"] - first >= stored:
                os.kill(child.pid, signal.SIGKILL)
    return last["given"], last["stored"]


async def test_a_killed_process_loses_nothing_stored_and_its_numbers_never_come_again(tmp_path: Path) -> None:
    given, stored = 0, 0
    for _ in range(3):
        before = given
        given, stored = await asyncio.to_thread(killed_after, tmp_path, 500)
        assert given > before

    async with SpoolFile.open(tmp_path) as spool:
        numbers = await sent(spool)
        fresh = spool.append("drain_step", STEP)

    assert numbers == sorted(set(numbers))
    assert stored in numbers
    assert len(numbers) >= 3 * 500
    assert fresh > given
