"""What the address of the traces' list asks for."""

from collections.abc import Mapping

from dashboard.selectors.traces import TraceFilter
from dashboard.web import asked
from meshcore.errors import Code
from meshcore.trace import Reason

OUTCOMES = ("ok", "error")
CODES = tuple(sorted(code.value for code in Code))
REASONS = tuple(reason.value for reason in Reason)
TEXTS = {"provider": 100, "trace_id": 64, "alias": 100, "capability": 100, "model": 200, "caller": 100}
NUMBER_MAX = 1e9  # milliseconds and tokens alike


def wanted(query: Mapping[str, str], nodes: Mapping[str, tuple[int, ...]]) -> TraceFilter:
    """Return the filter; `nodes` are the names that can be chosen, with their ids. Raises BadQuery."""
    node = asked.choice(query, "node", nodes)
    return TraceFilter(
        node=node,
        node_ids=nodes.get(node),
        outcome=asked.choice(query, "outcome", OUTCOMES),
        code=asked.choice(query, "code", CODES),
        skipped=asked.choice(query, "skipped", REASONS),
        served_by=asked.text(query, "served_by", at_most=63),
        failed_over=query.get("failed_over", "") == "1",
        signature=asked.key(query, "signature"),
        duration_ms_min=asked.number(query, "duration_ms_min", at_most=NUMBER_MAX),
        duration_ms_max=asked.number(query, "duration_ms_max", at_most=NUMBER_MAX),
        ttft_ms_min=asked.number(query, "ttft_ms_min", at_most=NUMBER_MAX),
        tokens_min=asked.number(query, "tokens_min", at_most=NUMBER_MAX),
        since=asked.moment(query, "from"),
        until=asked.moment(query, "to"),
        **{name: asked.text(query, name, at_most=most) for name, most in TEXTS.items()},
    )
