"""What the dashboard wants of this node, and what the node must do about it (drain-and-control §1, §2).

Desired state is level-triggered: whole, with a generation. Only a higher generation than the one held counts,
so a late order can't come back. The last one is kept on disk, where it outlives process and dashboard.
"""

import msgspec

from meshcore.drain import DrainInfo, DrainSource
from meshcore.errors import FrameError
from meshcore.frames import FRAME_MAX_BYTES, Desired

CONTENT_MAX_BYTES = FRAME_MAX_BYTES - (16 << 10)  # of a whole state; what is left is for the frame around it
UNREADABLE = Desired(generation=-1)
"""Stands for a stored state that can't be read: any order of the dashboard is newer."""


def is_newer(offered: Desired, held: Desired) -> bool:
    """Return whether the node must act on `offered`; a lower or equal generation is ignored."""
    return offered.generation > held.generation


def drain_asked(held: Desired) -> DrainInfo | None:
    """Return the drain that `held` asks for, or None.

    A node that can't read what it was told stays out of service: its last order may have been a drain.
    """
    if held is UNREADABLE:
        return DrainInfo(source=DrainSource.DESIRED, reason="the stored desired state can't be read")
    if held.drain is None:
        return None
    return DrainInfo(
        source=DrainSource.DESIRED,
        generation=held.generation,
        since=held.drain.since,
        by=held.drain.by,
        reason=held.drain.reason,
        deadline_at=held.drain.deadline_at,
        force=held.drain.force,
        sticky=held.drain.sticky,
    )


def encode(desired: Desired) -> bytes:
    """Return the content of the file that keeps `desired`."""
    return msgspec.json.format(msgspec.json.encode(desired), indent=2) + b"\n"


def decode(data: bytes) -> Desired:
    """Return the desired state kept in a file; raises FrameError when it can't be read."""
    try:
        return msgspec.json.decode(data, type=Desired)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameError(f"desired state: {exc}") from exc
