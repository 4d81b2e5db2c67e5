"""Every list goes along the index that its name promises, on this engine, with many rows and statistics.

The rows are those of `script/bench lists`: one provider was the most frequent and is no longer, which leads
a planner that trusts its statistics through half of the table.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection

from benchmarks import lists_fill
from dashboard.models import Node
from dashboard.selectors import audit, changes, drain_list, fleet_traffic, keyset, providers, spans, traces
from dashboard.selectors.audit import AuditFilter
from dashboard.selectors.drain_list import DrainFilter
from dashboard.selectors.keyset import Cursor
from dashboard.selectors.traces import TraceFilter
from dashboard.services import hours, retention
from meshcore.clock import utcnow

CALLS = 40_000
TABLE = "dashboard_trace"
Statement = tuple[str, Any]


@contextmanager
def listening() -> Iterator[list[Statement]]:
    """Collect what is asked of the database."""
    asked: list[Statement] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        yield asked


def plans(look: Callable[[], object], table: str = TABLE) -> list[str]:
    """Return the plan of each query of one table."""
    with listening() as asked:
        look()
    explain = "EXPLAIN " if connection.vendor == "postgresql" else "EXPLAIN QUERY PLAN "
    found = []
    with connection.cursor() as cursor:
        for sql, params in asked:
            if f'FROM "{table}"' in sql and sql.startswith("SELECT"):
                cursor.execute(explain + sql, params)
                found.append("\n".join(str(row[-1]) for row in cursor.fetchall()))
    return found


def page(cursor: Cursor | None = None, **wanted: Any) -> keyset.Page[Any]:
    return traces.page(wanted=TraceFilter(**wanted), cursor=cursor or Cursor())


def is_walked_whole(plan: str) -> bool:
    """Whether a plan reads the table from end to end, or sorts what it found there."""
    if connection.vendor == "postgresql":
        return f"Seq Scan on {TABLE}" in plan
    lines = plan.splitlines()
    scanned = any(line.startswith(f"SCAN {TABLE}") for line in lines)
    return scanned and any("TEMP B-TREE" in line for line in lines)


@pytest.mark.django_db(transaction=True)
def test_lists_of_traces_go_along_their_indexes() -> None:
    lists_fill.fill(CALLS)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    first = min(Node.objects.values_list("pk", flat=True))
    middle = Cursor(before=lists_fill.key_of(CALLS // 2))
    primary = "dashboard_trace_pkey" if connection.vendor == "postgresql" else ""
    expected: list[tuple[dict[str, Any], str]] = [
        ({}, primary),
        ({"provider": "retired"}, "trace_by_provider"),
        ({"provider": "provider-3"}, "trace_by_provider"),
        ({"outcome": "ok"}, "trace_by_outcome"),
        ({"outcome": "error"}, "trace_by_outcome"),
        ({"alias": "mesh/fast"}, "trace_by_alias"),
        ({"node": "node-03", "node_ids": (first + 3,)}, "trace_by_node"),
        ({"trace_id": "trace-77"}, "trace_by_trace_id"),
    ]
    others: list[dict[str, Any]] = [
        *({"code": "none"}, {"model": "none"}, {"served_by": "none"}, {"skipped": "capacity"}),
        *({"duration_ms_min": 1e6}, {"ttft_ms_min": 1e6}, {"tokens_min": 1e6}, {"caller": "none"}),
        {"provider": "retired", "failed_over": True, "code": "none"},
    ]

    for wanted, index in expected:
        for cursor_ in (Cursor(), middle, Cursor(after=middle.before)):
            found = plans(lambda w=wanted, c=cursor_: page(c, **w))
            assert len(found) == 1
            assert index in found[0], (wanted, found)
            assert not is_walked_whole(found[0]), (wanted, found)
    for wanted in others:
        found = plans(lambda w=wanted: page(middle, **w))
        assert 2 <= len(found) <= 3
        assert not any(map(is_walked_whole, found)), (wanted, found)
    for step in (retention.sweep_traces, lambda now: traces.newest_called(trace_id="trace-77")):
        assert not any(map(is_walked_whole, plans(lambda s=step: s(now=utcnow()))))


@pytest.mark.django_db
def test_other_lists_have_an_index_that_serves_them(node: Node) -> None:
    now = utcnow()
    named = connection.vendor == "postgresql"  # SQLite has its own names for what makes a row unique
    unique = "one_row_per_minute_and_slot" if named else "autoindex"
    unique_of_node = "one_row_per_node_minute" if named else "autoindex"
    lists: list[tuple[Callable[[], object], str, str]] = [
        (lambda: audit.page(wanted=AuditFilter(actor="a"), cursor=Cursor()), "auditentry", "audit_by_actor"),
        (
            lambda: audit.page(wanted=AuditFilter(action="a"), cursor=Cursor()),
            "auditentry",
            "audit_by_action",
        ),
        (
            lambda: audit.page(wanted=AuditFilter(target="a"), cursor=Cursor()),
            "auditentry",
            "audit_by_target",
        ),
        (
            lambda: audit.page(wanted=AuditFilter(outcome="a"), cursor=Cursor()),
            "auditentry",
            "audit_by_outcome",
        ),
        (lambda: drain_list.page(wanted=DrainFilter(), cursor=Cursor(), now=now), "drain", "drain"),
        (lambda: providers.history(node=node), "transition", "transition_by_node"),
        (lambda: providers.last_changes(keys=["a"], since=now), "transition", "transition_by_time"),
        (lambda: changes.after(0, limit=9), "change", "change"),
        (lambda: fleet_traffic.read(now=now, nodes=[node.pk]), "meshminute", unique),
        (lambda: fleet_traffic.read(now=now, nodes=[node.pk]), "nodeminute", unique_of_node),
        (lambda: spans.read(since=now - timedelta(hours=30), until=now), "hourrollup", "rollup_by_hour"),
        (lambda: spans.read(since=now - timedelta(hours=30), until=now), "hourmark", "hour_is_dirty"),
        (lambda: hours.seal(now=now), "hourmark", "hour_is_made"),
        (lambda: retention.trim_hours(now=now), "hourrollup", "rollup_by_hour"),
        (lambda: retention.trim_transitions(now=now), "transition", "transition_by_time"),
        (lambda: retention.trim_outbox(now=now), "outboxrow", "outbox_by_"),
    ]
    if connection.vendor == "postgresql":
        with (
            connection.cursor() as cursor
        ):  # these tables are empty here: to read all and sort it is the best plan
            cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off")

    for look, table, index in lists:
        found = plans(look, f"dashboard_{table}")
        assert found and any(index in plan for plan in found), (table, index, found)
        assert not any("TEMP B-TREE" in plan for plan in found), found
