"""One turn of Phoenix, run by its own Python.

    python -m benchmarks.phoenix_turn PORT DATABASE SECONDS

Sends calls with two attempts as OTLP, three spans each, and prints how many more its database has.
"""

import json
import os
import sqlite3
import sys
import time
import urllib.request

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

SPANS = 3  # of a call with two attempts
CALLS = 25  # in a request
AHEAD = 500  # calls that it has taken and not stored yet, at most: then it is waited for
ASK_SECONDS = 30.0
LOOK_SECONDS = 0.05


def _span(name: str, trace: bytes, parent: bytes = b"", **attributes: str) -> Span:
    now = time.time_ns()
    said = [
        KeyValue(key=key.replace("__", "."), value=AnyValue(string_value=text))
        for key, text in attributes.items()
    ]
    return Span(
        trace_id=trace,
        span_id=os.urandom(8),
        parent_span_id=parent,
        name=name,
        start_time_unix_nano=now - 812_000_000,
        end_time_unix_nano=now,
        attributes=said,
    )


def _call() -> list[Span]:
    trace = os.urandom(16)
    call = _span(
        "llm.chat", trace, gen_ai__request__model="mesh/fast", mesh__why="failover", mesh__caller="shop"
    )
    attempts = [("local", "timeout"), ("groq", "")]
    return [
        call,
        *(
            _span(
                "attempt",
                trace,
                call.span_id,
                gen_ai__system=name,
                error__type=error,
                mesh__model="llama-3.1-8b",
            )
            for name, error in attempts
        ),
    ]


def _post(port: str) -> None:
    spans = [span for _ in range(CALLS) for span in _call()]
    body = ExportTraceServiceRequest(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])])
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/traces",
        data=body.SerializeToString(),
        headers={"Content-Type": "application/x-protobuf"},
    )
    with urllib.request.urlopen(request, timeout=ASK_SECONDS) as answer:  # noqa: S310 - loopback
        answer.read()


def _stored(database: str) -> int:
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=ASK_SECONDS) as connection:
        return int(connection.execute("SELECT count(*) FROM spans").fetchone()[0])


def turn(port: str, database: str, seconds: float) -> tuple[int, float]:
    """Send for so long; return how many calls were stored, and in how many seconds."""
    before, sent, begin = _stored(database), 0, time.perf_counter()
    while (passed := time.perf_counter() - begin) < seconds:
        if sent - (_stored(database) - before) // SPANS < AHEAD:
            _post(port)
            sent += CALLS
        else:
            time.sleep(LOOK_SECONDS)
    return (_stored(database) - before) // SPANS, passed


if __name__ == "__main__":
    print(json.dumps(turn(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
