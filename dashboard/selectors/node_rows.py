"""All nodes as plain rows: a page judges a thousand of them, and models take several times as long."""

from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from django.db.models import TextField
from django.db.models.functions import Cast

from dashboard.models import Node
from dashboard.selectors import drains
from dashboard.selectors.drains import Order
from meshcore.drain import Readout

_READOUT = msgspec.json.Decoder(Readout).decode
_SPOOL = msgspec.json.Decoder(dict[str, Any]).decode
NEVER_SPOKE = "{}"


class NodeRow(NamedTuple):
    """What is read of a node, by the names of its model; JSON as text, to be decoded by those who need it."""

    pk: int
    name: str
    community: str
    url: str
    instance_id: str
    boot_epoch: str
    version: str
    state: str
    accepting: bool
    in_flight: int
    edge: int
    safe_to_stop: bool
    runs_more: int
    clock_skew_seconds: float
    lost_items: int
    lost_at: datetime | None
    last_heard_at: datetime | None
    observed_generation: int
    readout_text: str
    spool_text: str
    closed_at: datetime | None  # of its link
    idle: bool | None
    generation: int | None  # of its desired state, None: it has none
    changed_at: datetime | None
    drain_text: str | None

    @property
    def spool(self) -> dict[str, Any]:
        """What it said of its spool (meshcore.frames.SpoolReport)."""
        return _SPOOL(self.spool_text)

    @property
    def readout(self) -> Readout | None:
        """What it said last of its own state, None when it never spoke."""
        return None if self.readout_text == NEVER_SPOKE else _READOUT(self.readout_text)

    def order(self, *, now: datetime) -> Order:
        """Return what is asked of it."""
        if self.generation is None or self.changed_at is None:
            return Order(observed=self.observed_generation)
        return drains.order(
            generation=self.generation,
            observed=self.observed_generation,
            changed_at=self.changed_at,
            drains=self.drain_text not in (None, "null"),
            now=now,
        )


_ELSEWHERE = {
    "readout_text": Cast("readout", TextField()),
    "spool_text": Cast("spool", TextField()),
    "drain_text": Cast("desired__drain", TextField()),
}
_NAMES = {
    "closed_at": "link__closed_at",
    "idle": "link__idle",
    "generation": "desired__generation",
    "changed_at": "desired__changed_at",
}
_FIELDS = tuple(_NAMES.get(name, name) for name in NodeRow._fields)


def read() -> list[NodeRow]:
    """Return all nodes that aren't forgotten, in no order; one query."""
    return list(map(NodeRow._make, Node.objects.order_by().annotate(**_ELSEWHERE).values_list(*_FIELDS)))
