"""Inbound events with a buffer id come until they are acknowledged: which copy is let in.

    unknown ──admit──> IN_HAND ──retained──> KNOWN
                          └────abandoned────> unknown

A handler that was cancelled or failed has retained nothing, so its event may come again; a copy of what was
retained is dropped and acknowledged; of two copies at once one is let in (link-and-telemetry, "Rules",
inbound).
"""

import enum
from collections import OrderedDict


class Admission(enum.StrEnum):
    """What to do with an event that came."""

    RUN = "run"  # hand it to the handler, then say `retained` or `abandoned`
    WAIT = "wait"  # another copy is in hand: do nothing, its end decides
    ACKNOWLEDGE = "acknowledge"  # it was retained before: drop it and acknowledge


class Inbox:
    """Buffer ids in hand, and the last `remembered` ones that were retained.

    What is older may be let in again.
    """

    def __init__(self, *, remembered: int = 10_000) -> None:
        self._remembered = remembered
        self._in_hand: set[str] = set()
        self._known: OrderedDict[str, None] = OrderedDict()

    def admit(self, buffer_id: str) -> Admission:
        """Return what to do with this copy."""
        if buffer_id in self._known:
            return Admission.ACKNOWLEDGE
        if buffer_id in self._in_hand:
            return Admission.WAIT
        self._in_hand.add(buffer_id)
        return Admission.RUN

    def retained(self, buffer_id: str) -> None:
        """The handler finished: acknowledge."""
        self._in_hand.discard(buffer_id)
        self._known[buffer_id] = None
        if len(self._known) > self._remembered:
            self._known.popitem(last=False)

    def abandoned(self, buffer_id: str) -> None:
        """The handler failed or was cancelled: another copy may be let in."""
        self._in_hand.discard(buffer_id)
