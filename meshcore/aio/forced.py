"""Work that a drain past its deadline may end: whoever does it gets an error that can be answered."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from meshcore.drain import Work
from meshcore.errors import DrainForced


@contextmanager
def forcible(work: Work | None, node_id: str) -> Iterator[None]:
    """Let a drain of node `node_id` end `work`, which the present task does, while the context lasts.

    Raises DrainForced then, in place of the cancellation; one that somebody else asked for stays one. For no
    work it does nothing.
    """
    task = asyncio.current_task()
    if work is None or task is None:
        yield
        return
    before, work.on_force = work.on_force, task.cancel
    was_forced = work.forced
    try:
        yield
    except asyncio.CancelledError:
        if work.forced and not was_forced and task.uncancel() == 0:
            raise DrainForced(node_id) from None
        raise
    finally:
        work.on_force = before
