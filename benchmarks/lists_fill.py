"""Fills a database with calls by statements of its own engine: hundreds of thousands a second.

One thing is odd on purpose: the provider `retired` has answered most calls of the first half and none since,
so whoever looks for its newest by way of time walks through half of the table.
"""

from django.db import connection

from dashboard.models import Node, Trace, TraceDetail
from meshcore.clock import utcnow

PIECE = 100_000  # calls of one statement
NODES = 20
FIRST_MS = 1_767_225_600_000  # 2026-01-01
EVERY_MS = 25  # from call to call: 40 a second
DETAILED_EVERY = 10  # only each tenth has its story, which lists don't read; it fills the disk, not the index

SERIES = {
    "postgresql": "SELECT n::bigint AS n FROM generate_series(%s, %s) AS n",
    "sqlite": (
        "WITH RECURSIVE series(n) AS (SELECT %s UNION ALL SELECT n + 1 FROM series WHERE n < %s)"
        " SELECT n FROM series"
    ),
}
MOMENT = {
    "postgresql": "to_timestamp({ms} / 1000.0)",
    "sqlite": "strftime('%%Y-%%m-%%d %%H:%%M:%%f', {ms} / 1000.0, 'unixepoch')",
}


def fill(calls: int) -> None:
    """Store so many calls of `NODES` nodes in an empty database, and let it gather statistics."""
    now = utcnow()
    Node.objects.bulk_create(Node(name=f"node-{n:02}", created_at=now) for n in range(NODES))
    first_node = min(Node.objects.values_list("pk", flat=True))
    for first in range(0, calls, PIECE):
        bounds = [first, min(first + PIECE, calls) - 1]
        with connection.cursor() as cursor:
            cursor.execute(_traces(first_node, half=calls // 2), bounds)
            cursor.execute(_details(), bounds)
    with connection.cursor() as cursor:  # as autovacuum does in time; nobody does it on SQLite
        if connection.vendor == "postgresql":
            cursor.execute("VACUUM (ANALYZE)")


def key_of(n: int) -> int:
    """Return the key of call `n`."""
    return (FIRST_MS + n * EVERY_MS) << 20


def _traces(first_node: int, *, half: int) -> str:
    ms = f"({FIRST_MS} + n * {EVERY_MS})"
    at = MOMENT[connection.vendor].format(ms=ms)
    failed = "n %% 50 = 7"
    columns = {
        "id": f"{ms} * 1048576",
        "trace_id": "'trace-' || n",
        "node_id": f"{first_node} + n %% {NODES}",
        "started_at": at,
        "received_at": at,
        "capability": "'llm.chat'",
        "caller": "'app-' || n %% 7",
        "run_id": "''",
        "alias": "CASE WHEN n %% 3 = 0 THEN 'mesh/fast' ELSE '' END",
        "model_asked": "'llama-' || n %% 11",
        "model_served": "'llama-' || n %% 11",
        "provider": f"CASE WHEN n < {half} AND n %% 10 > 0 THEN 'retired' ELSE 'provider-' || n %% 13 END",
        "routed_via": "'local'",
        "why": "'local'",
        "hops": "CASE WHEN n %% 40 = 3 THEN 2 ELSE 1 END",
        "stream": "n %% 2 = 0",
        "outcome": f"CASE WHEN {failed} THEN 'error' ELSE 'ok' END",
        "code": f"CASE WHEN {failed} THEN 'timeout' ELSE '' END",
        "skipped": "CASE WHEN n %% 17 = 0 THEN 256 ELSE 0 END",
        "duration_ms": "20.0 + n %% 997",
        "ttft_ms": "10.0 + n %% 83",
        "tokens_in": "n %% 400",
        "tokens_out": "n %% 900",
    }
    into = f"INSERT INTO {Trace._meta.db_table} ({', '.join(columns)})"
    return f"{into} SELECT {', '.join(columns.values())} FROM ({SERIES[connection.vendor]}) AS numbers"  # noqa: S608 - our own


def _details() -> str:
    story = '[{"n": 1, "node": "node-00", "provider": "ollama", "outcome": "ok", "ms": 120.5}]'
    into = f"INSERT INTO {TraceDetail._meta.db_table}"
    columns = "(trace_id, candidates, attempts, splices, alias_skips, message)"
    values = f"({FIRST_MS} + n * {EVERY_MS}) * 1048576, '[]', '{story}', '[]', '[]', ''"
    which = f"FROM ({SERIES[connection.vendor]}) AS numbers WHERE n %% {DETAILED_EVERY} = 0"
    return f"{into} {columns} SELECT {values} {which}"
