"""What a list of traces is narrowed to: by one condition that an index serves, the others row by row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.db.models.lookups import GreaterThan, GreaterThanOrEqual

from dashboard.models import SKIP_BITS, Node
from dashboard.selectors import keyset
from meshcore.trace import Reason

ID_SHIFT = 20  # a trace's id is its milliseconds << 20 | slot | counter (dashboard.md, "Traces at size")
KEY_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceFilter:
    """What a list is narrowed to; empty and None mean anything.

    `since` itself included and `until` itself not, by when the dashboard stored a call: of one that was told
    late, that is later than its start. `node_ids` are those of `node`, when they are known already.
    `served_by` is the node that answered, `skipped` a Reason why somebody was passed over, `signature` the
    key of an ErrorSignature. `tokens_min` counts both directions.
    """

    node: str = ""
    node_ids: tuple[int, ...] | None = None
    provider: str = ""
    outcome: str = ""
    alias: str = ""
    trace_id: str = ""
    code: str = ""
    capability: str = ""
    model: str = ""
    caller: str = ""
    served_by: str = ""
    failed_over: bool = False
    skipped: str = ""
    signature: int | None = None
    duration_ms_min: float | None = None
    duration_ms_max: float | None = None
    ttft_ms_min: float | None = None
    tokens_min: float | None = None
    since: datetime | None = None
    until: datetime | None = None

    def split(self) -> tuple[Q, Q | None]:
        """Return the condition that an index serves, and what is left to judge row by row, without the time.

        The one that is likely to fit the fewest goes first.
        """
        failed = self.outcome == "error" or self.signature is not None
        nodes = self._nodes()
        indexed = [
            (self.trace_id, Q(trace_id=self.trace_id)),
            (failed, Q(outcome="error")),
            (self.alias, Q(alias=self.alias)),
            (self.provider, Q(provider=self.provider)),
            (len(nodes) == 1, Q(node_id=nodes[0] if nodes else None)),
            (self.node and not nodes, Q(pk__in=())),
            (self.outcome == "ok", Q(outcome="ok")),
        ]
        other = [(len(nodes) > 1, Q(node_id__in=nodes)), *self._others(), *self._numbers()]
        return keyset.narrow(_wanted(indexed), _wanted(other))

    @property
    def is_narrow(self) -> bool:
        """Whether anything is asked for that the list's short form has no field for."""
        texts = (self.capability, self.model, self.caller, self.served_by, self.skipped, self.alias)
        rest = (self.signature, self.duration_ms_min, self.duration_ms_max, self.ttft_ms_min, self.tokens_min)
        return any(texts) or any(each is not None for each in (*rest, self.since, self.until))

    def time(self) -> Q:
        """Return the condition on the time, which is one on the key."""
        since = Q(pk__gte=key_of(self.since)) if self.since else Q()
        return since & Q(pk__lt=key_of(self.until)) if self.until else since

    def _nodes(self) -> tuple[int, ...]:
        """Return the ids of the node, newest first: also of those that had the name before."""
        if not self.node or self.node_ids is not None:
            return self.node_ids or ()
        return tuple(Node.everyone.filter(name=self.node).order_by("-pk").values_list("pk", flat=True))

    def _others(self) -> list[tuple[object, Q]]:
        bit = 1 << SKIP_BITS[Reason(self.skipped)] if self.skipped else 0
        here = Q(routed_via="local", node__name=self.served_by)
        return [
            (self.code, Q(code=self.code)),
            (self.capability, Q(capability=self.capability)),
            (self.model, Q(model_asked=self.model) | Q(model_served=self.model)),
            (self.caller, Q(caller=self.caller)),
            (self.served_by, Q(routed_via=self.served_by) | here),
            (self.failed_over, Q(hops__gt=1)),
            (bit, _has_bit(bit)),
            (self.signature is not None, Q(error_signature_id=self.signature)),
        ]

    def _numbers(self) -> list[tuple[object, Q]]:
        least, most = self.duration_ms_min, self.duration_ms_max
        return [
            (least is not None, Q(duration_ms__gte=least)),
            (most is not None, Q(duration_ms__lte=most)),
            (self.ttft_ms_min is not None, Q(ttft_ms__gte=self.ttft_ms_min)),
            (self.tokens_min is not None, _tokens_from(self.tokens_min)),
        ]


def key_of(moment: datetime) -> int:
    """Return the lowest key that a trace of this moment can have."""
    return min(max(int(moment.timestamp() * 1000), 0) << ID_SHIFT, KEY_MAX)


def moment_of(trace_pk: int) -> datetime:
    """Return the time that a trace's key tells."""
    return datetime.fromtimestamp((trace_pk >> ID_SHIFT) / 1000, tz=UTC)


def _wanted(conditions: Sequence[tuple[object, Q]]) -> list[Q]:
    return [condition for wanted, condition in conditions if wanted]


def _has_bit(bit: int) -> Q:
    return Q(GreaterThan(F("skipped").bitand(bit), 0))


def _tokens_from(least: float | None) -> Q:
    both = Coalesce(F("tokens_in"), 0) + Coalesce(F("tokens_out"), 0)
    return Q(GreaterThanOrEqual(both, least))
