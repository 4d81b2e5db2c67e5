"""One turn of the limit, with the dashboard's environment (see ingest.py).

python -m benchmarks.ingest_raw SECONDS
"""

import json
import os
import sys
import time
import uuid
from dataclasses import asdict
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
django.setup()

import msgspec  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.models import Max  # noqa: E402

from benchmarks.ingest_items import items  # noqa: E402
from benchmarks.rounds import Sample  # noqa: E402
from dashboard.models import Trace  # noqa: E402
from dashboard.services import ingest_items, nodes, trace_ids  # noqa: E402
from dashboard.services.actor import SYSTEM  # noqa: E402
from dashboard.services.bulk_insert import Table  # noqa: E402
from meshcore.clock import utcnow  # noqa: E402
from meshcore.frames import Telemetry  # noqa: E402

ROWS = 2000  # in a transaction
TABLES = ((ingest_items.TRACES, "dashboard_trace"), (ingest_items.DETAILS, "dashboard_tracedetail"))

Rows = list[tuple[Any, ...]]


def rows(count: int) -> tuple[Rows, Rows]:
    """Return rows of both tables with rising ids, as ingest makes them."""
    node, _ = nodes.add(name=f"raw-{uuid.uuid4().hex[:8]}", actor=SYSTEM)
    highest = Trace.objects.aggregate(highest=Max("id"))["highest"] or 0
    ids = iter(trace_ids.allocate(count, now=utcnow(), highest=highest))
    made: tuple[Rows, Rows] = ([], [])
    for after in range(0, count, 500):
        raws = tuple(msgspec.Raw(item.encode()) for item in items(after, node=node.pk, count=500))
        telemetry = Telemetry(after=after, to=after + 500, items=raws)
        for kept in ingest_items.sort_out(telemetry, node_id=node.pk, now=utcnow()).kept:
            id_ = next(ids)
            trace, detail, _ = kept.trace or ((), (), "")
            made[0].append((id_, None, *trace))
            made[1].append((id_, *detail))
    return made


def insert(traces: Rows, details: Rows) -> None:
    """Store rows in one transaction, by the driver alone."""
    driver = connection.connection
    if connection.vendor == "postgresql":
        with driver.cursor() as cursor:
            for (table, name), part in zip(TABLES, (traces, details), strict=True):
                with cursor.copy(f"COPY {name} ({', '.join(table.columns)}) FROM STDIN") as stream:
                    for row in part:
                        stream.write_row(row)
        driver.commit()
    else:
        driver.execute("BEGIN IMMEDIATE")
        for (table, name), part in zip(TABLES, (traces, details), strict=True):
            driver.executemany(_insert(table, name), part)
        driver.execute("COMMIT")


def _insert(table: Table, name: str) -> str:
    places = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {name} ({', '.join(table.columns)}) VALUES ({places})"  # noqa: S608 - our names


def turn(seconds: float) -> Sample:
    """Store for so long; making the rows doesn't count."""
    count, passed, cpu = 0, 0.0, 0.0
    connection.ensure_connection()
    while passed < seconds:
        traces, details = rows(10 * ROWS)
        if connection.vendor == "postgresql":
            connection.connection.autocommit = False
        begin, cpu_begin = time.perf_counter(), time.process_time()
        for first in range(0, len(traces), ROWS):
            insert(traces[first : first + ROWS], details[first : first + ROWS])
            count += ROWS
            if passed + time.perf_counter() - begin >= seconds:
                break
        passed += time.perf_counter() - begin
        cpu += time.process_time() - cpu_begin
        if connection.vendor == "postgresql":
            connection.connection.autocommit = True
    return Sample(count=count, seconds=passed, cpu_seconds=cpu)


if __name__ == "__main__":
    print(json.dumps(asdict(turn(float(sys.argv[1])))))
