"""A node's spool and `manage.py serve`, each the real thing, through what goes wrong with either."""

import asyncio
import re
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from meshcore.aio.spool_file import SpoolFile
from meshcore.aio.testing import wait_until
from meshcore.breaker import BreakerState
from meshcore.clock import utcnow
from meshcore.frames import TransitionItem
from tests.dashboard.edge.test_link_over_the_wire import PATIENCE_SECONDS, Present, ask, client, trace
from tests.dashboard.served import environment, manage, serving

pytestmark = pytest.mark.e2e

ENROL = """
from django.core.management import call_command
call_command("migrate", verbosity=0)
call_command("add_node", "node-a")
"""


class Place(NamedTuple):
    """A dashboard that serves, and the token of node-a."""

    var: Path
    port: int
    secret: str

    def numbers(self, first: int, last: int) -> Counter[int]:
        """Which of these traces are stored, and how often."""
        found = ask(self.var, "SELECT trace_id FROM dashboard_trace")
        return Counter(n for text in found if first <= (n := int(text[1:])) <= last)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One dashboard for all stories; each has a spool of its own."""
    var = tmp_path_factory.mktemp("var")
    made = manage("shell", "--no-imports", "-c", ENROL, env=environment(var))
    found = re.search(r"msh_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", made.stdout)
    assert found, made.stderr
    with serving(var) as served:
        yield Place(var, served.port, found[0])


async def until_there(place: Place, first: int, last: int) -> None:
    wanted = set(range(first, last + 1))
    await wait_until(lambda: set(place.numbers(first, last)) == wanted, seconds=PATIENCE_SECONDS)


async def test_a_disk_set_back_repeats_nothing_and_loses_nothing_that_comes_after(
    place: Place, tmp_path: Path
) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    async with SpoolFile.open(home) as spool:
        for n in range(100, 110):
            spool.append("trace", trace(n))
        await spool.flush()
        shutil.copytree(home, copy)
    async with SpoolFile.open(home) as spool, client(place.port, place.secret, spool, Present()):
        spool.append("trace", trace(110))
        await until_there(place, 100, 110)

    shutil.rmtree(home)
    copy.rename(home)
    async with SpoolFile.open(home) as spool:
        for n in range(111, 120):
            spool.append("trace", trace(n))
        async with client(place.port, place.secret, spool, Present()):
            await until_there(place, 100, 119)
            await wait_until(lambda: spool.report().size == 0, seconds=PATIENCE_SECONDS)

    assert place.numbers(100, 119) == Counter(range(100, 120))


async def test_a_disk_set_back_under_a_clock_set_back_takes_a_new_name_that_is_shown(
    place: Place, tmp_path: Path
) -> None:
    home, copy = tmp_path / "home", tmp_path / "copy"
    async with SpoolFile.open(home) as spool:
        spool.append("trace", trace(200))
        await spool.flush()
        shutil.copytree(home, copy)
    async with SpoolFile.open(home) as spool, client(place.port, place.secret, spool, Present()):
        before = spool.spool_id
        spool.append("trace", trace(201))
        await until_there(place, 200, 201)

    shutil.rmtree(home)
    copy.rename(home)
    async with SpoolFile.open(home, utcnow=lambda: utcnow() - timedelta(hours=1)) as spool:
        spool.append("trace", trace(202))
        present = Present()
        async with client(
            place.port,
            place.secret,
            spool,
            lambda: msgspec.structs.replace(present(), spool=spool.report()),  # type: ignore[arg-type]
        ):
            await until_there(place, 202, 202)
            shown = "SELECT json_extract(spool, '$.reset_at') FROM dashboard_node"
            await wait_until(lambda: ask(place.var, shown) != [None], seconds=PATIENCE_SECONDS)

    assert spool.spool_id != before
    assert place.numbers(200, 202) == Counter(range(200, 203))


async def test_a_commit_that_fails_in_the_middle_stores_nothing_twice_and_loses_nothing(
    place: Place, tmp_path: Path
) -> None:
    async with (
        SpoolFile.open(tmp_path / "home") as spool,
        client(place.port, place.secret, spool, Present()),
    ):
        spool.append("trace", trace(1000))
        await until_there(place, 1000, 1000)
        refusals = _refusals(place)
        change(place, "ALTER TABLE dashboard_tracedetail RENAME TO elsewhere")
        for n in range(1001, 2001):
            spool.append("trace", trace(n))
        await wait_until(lambda: _refusals(place) > refusals, seconds=PATIENCE_SECONDS)
        change(place, "ALTER TABLE elsewhere RENAME TO dashboard_tracedetail")
        await until_there(place, 1000, 2000)

    assert place.numbers(1000, 2000) == Counter(range(1000, 2001))
    details = ask(place.var, "SELECT count(*) FROM dashboard_tracedetail")
    assert details == ask(place.var, "SELECT count(*) FROM dashboard_trace")


def change(place: Place, sql: str) -> None:
    with closing(sqlite3.connect(place.var / "meshboard.sqlite3", timeout=PATIENCE_SECONDS)) as database:
        database.execute(sql)
        database.commit()


def _refusals(place: Place) -> int:
    return (place.var / "stderr").read_text().count("the connection is closed")


async def test_a_poison_item_is_refused_by_number_and_the_others_are_there(
    place: Place, tmp_path: Path
) -> None:
    poison = trace(301)
    poison = msgspec.structs.replace(poison, trace=msgspec.structs.replace(poison.trace, outcome="who knows"))
    async with (
        SpoolFile.open(tmp_path / "home") as spool,
        client(place.port, place.secret, spool, Present()),
    ):
        for item in (trace(300), poison, trace(302)):
            spool.append("trace", item)
        await wait_until(lambda: set(place.numbers(300, 302)) == {300, 302}, seconds=PATIENCE_SECONDS)
        await wait_until(lambda: spool.report().size == 0, seconds=PATIENCE_SECONDS)

    refused = f"SELECT refused FROM dashboard_spoolmark WHERE spool_id = '{spool.spool_id}'"
    assert ask(place.var, refused) == [1]


async def test_an_hour_of_a_flapping_breaker_is_history_and_never_the_present(
    place: Place, tmp_path: Path
) -> None:
    began = utcnow() - timedelta(hours=1)
    stamps = [began + timedelta(minutes=3 * n) for n in range(20)]
    states = [BreakerState.CLOSED, BreakerState.OPEN] * 10 + [BreakerState.CLOSED]
    seen: set[str] = set()

    async with SpoolFile.open(tmp_path / "home") as spool:
        for n, (at, before, after) in enumerate(zip(stamps, states, states[1:], strict=False)):
            item = TransitionItem(seq=0, at=at, key="flapping", from_state=before, to_state=after)
            spool.append("transition", item)
            spool.append("trace", trace(400 + n))
            await spool.flush()
        replayed = asyncio.Event()
        async with client(place.port, place.secret, spool, Present()):
            while not replayed.is_set():
                seen |= set(ask(place.var, "SELECT key || ' ' || state FROM dashboard_providerhealth"))
                if len(place.numbers(400, 419)) == 20 and seen:
                    replayed.set()
                await asyncio.sleep(0.01)

    assert seen == {"alpha closed"}
    stored = ask(place.var, "SELECT at FROM dashboard_transition WHERE key = 'flapping' ORDER BY id")
    assert [datetime.fromisoformat(f"{at}+00:00") for at in stored] == stamps
    since = ask(place.var, "SELECT since FROM dashboard_providerhealth WHERE key = 'alpha'")
    assert since == [None]
