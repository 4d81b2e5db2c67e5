"""The gate in front of every call: it is looked at and the call is counted in one step, without an await."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from meshcore.aio.drain_marker import DrainController
from meshcore.drain import NodeState, Work, WorkKind
from meshcore.errors import CallError, Code

CLOSED_RETRY_SECONDS = 5.0  # a drain is given back by people or a deploy; asking more often helps nobody


class Admitted(NamedTuple):
    """A call that goes on; `edge`: it may only be passed on, to a peer."""

    work: Work
    edge: bool


class Admission:
    """Admits calls to node `node_id`, of which at most `max_streams` may stream at once."""

    def __init__(self, node_id: str, controller: DrainController, *, max_streams: int) -> None:
        self._node_id = node_id
        self._controller = controller
        self._max_streams = max_streams
        self._streams = 0

    @contextmanager
    def admitted(self, kind: WorkKind, work_id: str) -> Iterator[Admitted]:
        """Count a call in while the context lasts.

        Behind a closed gate work in flight can only fall, because nothing happens between gate and count.
        Raises CallError when the gate is closed, or when there are too many streams.
        """
        is_stream = kind is WorkKind.STREAM
        if is_stream and self._streams >= self._max_streams:
            raise CallError(Code.CAPACITY_EXCEEDED, f"{self._node_id} has {self._max_streams} streams open")
        admitted = self.enter(kind, work_id)
        self._streams += is_stream
        try:
            yield admitted
        finally:
            self._streams -= is_stream
            admitted.work.close()

    def enter(self, kind: WorkKind, work_id: str) -> Admitted:
        """Count a call in until its work is closed. Raises CallError when the gate is closed."""
        ledger = self._controller.ledger
        if self._controller.accepts():
            return Admitted(ledger.admit(kind, work_id), edge=False)
        if self._controller.edge_open():
            return Admitted(ledger.edge(work_id), edge=True)
        raise self._closed()

    def _closed(self) -> CallError:
        state = self._controller.readout().state
        code = Code.JOINING if state is NodeState.JOINING else Code.NODE_DRAINING
        doing = "draining" if state is NodeState.DRAINED else state
        message = f"{self._node_id} is {doing} and takes no new calls"
        return CallError(code, message, retry_after_seconds=CLOSED_RETRY_SECONDS)
