"""The process behind `benchmarks.lists`: it has one database open, and reads pages when it is asked to.

python -m benchmarks.lists_turn serve          orders come as JSON on standard input, a line each
python -m benchmarks.lists_turn fill CALLS     fills the database of DATABASE_URL
"""

import json
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any

NEVER = "MESH_BENCH_NEVER"  # fits no call, so that a filter looks through all it may
PAGES = (
    *("newest", "provider, gone quiet", "outcome error", "alias", "node", "deep down", "without an index"),
    "one call",
)
RAW = "raw index scan"
ROWS = 51
COLUMNS_SQL = "SELECT * FROM dashboard_trace WHERE outcome = 'error' ORDER BY id DESC LIMIT %s"
SEED = 7


class Reader:
    """Somebody who is signed in and reads pages."""

    def __init__(self) -> None:
        from django.contrib.auth.models import Group, User
        from django.db import connection
        from django.test import Client

        from dashboard.models import Trace

        user, _ = User.objects.get_or_create(username="bench")
        user.groups.add(Group.objects.get(name="viewer"))
        self._client = Client()
        self._client.force_login(user)
        self._connection = connection
        ends = Trace.objects.order_by("pk"), Trace.objects.order_by("-pk")
        self._first, self._last = (rows.values_list("pk", flat=True)[0] for rows in ends)
        self._chance = random.Random(SEED)  # noqa: S311 - the same in every run

    def read(self, what: str) -> None:
        """Read one page."""
        if what == RAW:
            with self._connection.cursor() as cursor:
                cursor.execute(COLUMNS_SQL, [ROWS])
                cursor.fetchall()
            return
        answer = self._client.get(self._address(what))
        assert answer.status_code == 200, answer.content[:200]  # noqa: S101 - else nothing was measured

    def _address(self, what: str) -> str:
        somewhere = self._chance.randrange(self._first, self._last)
        queries = {
            "newest": "",
            "provider, gone quiet": "provider=retired",
            "outcome error": "outcome=error",
            "alias": "alias=mesh/fast",
            "node": "node=node-07",
            "deep down": f"before={somewhere}",
            "without an index": f"caller={NEVER}&before={somewhere}",
        }
        if what in queries:
            return f"/traces/?{queries[what]}"
        return f"/traces/{self._call_near(somewhere)}/"

    def _call_near(self, key: int) -> int:
        from dashboard.models import Trace

        return int(Trace.objects.filter(pk__gte=key).order_by("pk").values_list("pk", flat=True)[0])


def turn(read: Callable[[str], None], what: str, seconds: float) -> dict[str, float]:
    """Read for `seconds`, at least once after a first time that isn't counted; return how it went."""
    from benchmarks.load import in_ms

    read(what)
    taken: list[float] = []
    begin, cpu_begin = time.perf_counter(), time.process_time()
    while not taken or time.perf_counter() - begin < seconds:
        one = time.perf_counter()
        read(what)
        taken.append(time.perf_counter() - one)
    passed, cpu_passed = time.perf_counter() - begin, time.process_time() - cpu_begin
    p50_ms, p99_ms = in_ms(taken)
    return {
        "count": len(taken),
        "seconds": passed,
        "cpu_seconds": cpu_passed,
        "p50_ms": p50_ms,
        "p99_ms": p99_ms,
    }


def fill(calls: int) -> None:
    """Make the tables and fill them."""
    from django.core.management import call_command

    from benchmarks import lists_fill

    call_command("migrate", verbosity=0)
    lists_fill.fill(calls)


def serve() -> None:
    """Obey until standard input ends."""
    reader: Reader | None = None
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if order["what"] == "fill":
            fill(order["calls"])
            told: dict[str, float] = {}
        else:
            reader = reader or Reader()
            told = turn(reader.read, order["what"], order["seconds"])
        print(json.dumps(told), flush=True)


def main(command: str, *arguments: str) -> None:
    """Run `serve` or `fill`."""
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "dashboard.settings"
    django.setup()
    from django.conf import settings

    settings.ALLOWED_HOSTS = [*settings.ALLOWED_HOSTS, "testserver"]
    if command == "fill":
        fill(int(arguments[0]))
    else:
        serve()


if __name__ == "__main__":
    main(*sys.argv[1:])
