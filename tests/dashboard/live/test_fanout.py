"""Cells are rendered once for all who look, and only for who looks."""

import asyncio
import re

import pytest

from dashboard.live import fanout
from dashboard.live.fanout import Fanout, Full
from dashboard.live.viewer import ALL, Owed, Viewer
from dashboard.runtime import Runtime
from meshcore.testing import ManualClock
from tests.dashboard.live.printer import Printer

pytestmark = pytest.mark.django_db(transaction=True)


class Page:
    """An open page at a fan-out."""

    def __init__(self, hall: Fanout, name: str) -> None:
        self.hall = hall
        self.page = name
        self.woken = 0
        self.news = asyncio.Event()
        self.viewer = Viewer(clock=ManualClock())
        hall.sit(self)
        self.no = 1
        self.viewer.take(self.no)

    def wake(self) -> None:
        self.woken += 1
        self.news.set()

    async def is_woken(self) -> None:
        await asyncio.wait_for(self.news.wait(), 10)
        self.news.clear()

    async def read(self) -> str:
        owed = self.viewer.owed
        self.no += 1
        self.viewer.take(self.no)
        return await self.hall.message(self.page, self.no, owed)


@pytest.fixture
def printer() -> Printer:
    return Printer()


@pytest.fixture
def hall(rt: Runtime, printer: Printer) -> Fanout:
    return Fanout(rt, cells=printer, keys=printer, rest=0.0)


async def test_a_change_is_rendered_once_and_all_get_the_same(
    rt: Runtime, hall: Fanout, printer: Printer
) -> None:
    pages = [Page(hall, "fleet") for _ in range(3)]

    rt.announce([1], ["node:node-a"])
    texts = await asyncio.gather(*(page.read() for page in pages))

    assert printer.rendered == [("fleet", "node:node-a")]
    assert {text.partition("</div>")[2] for text in texts} == {"<span>fleet node:node-a 1</span>"}
    assert [page.woken for page in pages] == [1, 1, 1]


async def test_the_next_revision_is_rendered_again(rt: Runtime, hall: Fanout, printer: Printer) -> None:
    page = Page(hall, "fleet")
    for change in (1, 2):
        rt.announce([change], ["node:node-a"])
        text = await page.read()

    assert text.endswith("<span>fleet node:node-a 2</span>")


async def test_a_change_while_it_is_rendered_is_rendered_again(
    rt: Runtime, hall: Fanout, printer: Printer
) -> None:
    page = Page(hall, "fleet")
    printer.go.clear()
    rt.announce([1], ["node:node-a"])
    await page.is_woken()
    first = asyncio.create_task(page.read())
    await asyncio.sleep(0)

    rt.announce([2], ["node:node-a"])
    printer.go.set()

    await first
    await page.is_woken()
    assert (await page.read()).endswith("<span>fleet node:node-a 2</span>")


async def test_who_leaves_while_it_is_rendered_does_not_take_it_from_the_others(
    rt: Runtime, hall: Fanout, printer: Printer
) -> None:
    leaving, staying = Page(hall, "fleet"), Page(hall, "fleet")
    printer.go.clear()
    rt.announce([1], ["node:node-a"])
    tasks = [asyncio.create_task(page.read()) for page in (leaving, staying)]
    await asyncio.sleep(0)

    tasks[0].cancel()
    printer.go.set()

    assert (await tasks[1]).endswith("<span>fleet node:node-a 1</span>")
    assert printer.rendered == [("fleet", "node:node-a")]


async def test_everything_is_rendered_once_until_something_changes(
    rt: Runtime, hall: Fanout, printer: Printer
) -> None:
    Page(hall, "fleet")

    for no in (1, 2):
        await hall.message("fleet", no, Owed((ALL,), 0))
    assert printer.rendered == [("fleet", ALL)]

    rt.announce([1], ["nodes"])
    await hall.message("fleet", 3, Owed((ALL,), 0))
    assert printer.rendered == [("fleet", ALL)] * 2


async def test_a_page_is_woken_only_by_what_concerns_it(rt: Runtime, hall: Fanout) -> None:
    fleet, node_a, node_b = (Page(hall, name) for name in ("fleet", "node:node-a", "node:node-b"))

    rt.announce([1, 2], ["node:node-a", "tokens"])
    assert [page.woken for page in (fleet, node_a, node_b)] == [1, 1, 0]

    rt.announce([0], ["heard"])
    assert [page.woken for page in (fleet, node_a, node_b)] == [2, 2, 1]


async def test_runs_of_a_node_concern_every_page_of_a_run(rt: Runtime, hall: Fanout) -> None:
    pages = [Page(hall, name) for name in ("runs", "run:run_1", "run:run_2", "fleet")]

    rt.announce([1], ["runs:node-a"])
    rt.announce([2], ["run:run_2"])

    assert [page.woken for page in pages] == [1, 1, 2, 0]
    assert 'data-changed="0"' in await pages[1].read()
    assert 'data-changed="1"' in await pages[2].read()


async def test_changes_of_the_list_are_told_as_a_number(rt: Runtime, hall: Fanout) -> None:
    fleet, audit = Page(hall, "fleet"), Page(hall, "audit")

    rt.announce([1, 2, 3], ["nodes", "nodes", "audit"])

    assert 'data-changed="2"' in await fleet.read()
    assert 'data-changed="1"' in await audit.read()


async def test_a_message_begins_with_its_number_the_time_and_the_last_change(
    rt: Runtime, hall: Fanout
) -> None:
    page = Page(hall, "fleet")
    rt.cursor = 41

    text = await page.read()

    assert re.fullmatch(
        r'<div id="live-no" data-no="2" data-at="\d{4}-\S+\+00:00" data-cursor="41" data-changed="0"'
        r' data-health-seconds="1" hidden hx-swap-oob="true"></div>',
        text,
    )


async def test_cells_that_fail_to_render_are_logged_by_name(
    rt: Runtime, hall: Fanout, caplog: pytest.LogCaptureFixture
) -> None:
    page = Page(hall, "fleet")

    rt.announce([1, 2], ["node:node-a", "node:broken"])

    assert "<span>" not in await page.read()
    assert "cells of fleet for node:node-a, node:broken were not rendered" in caplog.text


async def test_what_changed_together_is_rendered_in_one_go(
    rt: Runtime, hall: Fanout, printer: Printer
) -> None:
    goes: list[list[str]] = []
    render = printer.render
    printer.render = lambda page, keys, now: (goes.append(list(keys)), render(page, keys, now))[1]  # type: ignore[method-assign]
    first, second = Page(hall, "fleet"), Page(hall, "fleet")

    rt.announce([1, 2], ["node:node-a", "node:node-b"])
    await asyncio.gather(first.read(), second.read())

    assert goes == [["node:node-a", "node:node-b"]]


async def test_a_page_rests_after_it_was_rendered_and_then_tells_everything_together(
    rt: Runtime, printer: Printer
) -> None:
    hall = Fanout(rt, cells=printer, keys=printer, rest=1e9)  # for as long as it may
    page = Page(hall, "fleet")
    rt.announce([1], ["node:node-a"])
    await page.is_woken()
    await page.read()

    rt.announce([2, 3], ["node:node-a", "nodes"])
    rt.announce([4], ["node:node-b"])

    assert page.woken == 1
    await page.is_woken()
    assert page.woken == 2
    text = await page.read()
    assert 'data-changed="1"' in text
    assert [key for _, key in printer.rendered[1:]] == ["node:node-a", "nodes", "node:node-b"]


async def test_news_does_not_wait_as_long_as_ages_and_takes_them_along(rt: Runtime, printer: Printer) -> None:
    hall = Fanout(rt, cells=printer, keys=printer, rest=1.0)
    page = Page(hall, "fleet")
    rt.announce([1], ["node:node-a"])
    await page.is_woken()
    await page.read()
    watched = hall._pages["fleet"]
    watched.cost_seconds = 1e-6

    watched.rendered_at += 1.0  # as if it had only just been rendered, and so rested
    rt.announce([0], ["heard"])
    dull_at = watched.round.when() if watched.round else 0.0
    rt.announce([2], ["node:node-b"])
    news_at = watched.round.when() if watched.round else 0.0

    assert watched.rendered_at < news_at < dull_at
    await page.is_woken()
    await page.read()
    assert [key for _, key in printer.rendered[1:]] == ["heard", "node:node-b"]
    assert not watched.news


async def test_a_page_that_is_left_while_it_rests_is_told_nothing(rt: Runtime, printer: Printer) -> None:
    hall = Fanout(rt, cells=printer, keys=printer, rest=1e9)
    page = Page(hall, "fleet")
    rt.announce([1], ["node:node-a"])
    await page.is_woken()
    await page.read()
    rt.announce([2], ["node:node-a"])

    hall.leave(page)

    assert hall.seats == 0


async def test_a_page_with_cells_that_fail_is_told_so_until_they_are_there(
    rt: Runtime, printer: Printer
) -> None:
    hall = Fanout(rt, cells=printer, keys=printer, retry_seconds=0.0, rest=0.0)
    page = Page(hall, "fleet")
    rt.announce([1], ["node:broken"])
    await page.is_woken()
    assert "data-failed" in await page.read()
    assert "data-failed" in await hall.message("fleet", 9, Owed((), 0))

    await page.is_woken()  # to try again
    text = await page.read()

    assert "data-failed" not in text
    assert text.endswith("<span>fleet * 2</span>")


async def test_what_fails_is_tried_again_and_again_but_not_for_nobody(rt: Runtime, printer: Printer) -> None:
    hall = Fanout(rt, cells=printer, keys=printer, retry_seconds=0.0, rest=0.0)
    page = Page(hall, "fleet")
    printer.broken.add(ALL)
    rt.announce([1], ["node:broken"])

    for _ in range(3):
        await page.is_woken()
        assert "data-failed" in await page.read()

    hall.leave(page)
    assert printer.rendered == [("fleet", "node:broken"), ("fleet", ALL), ("fleet", ALL)]


async def test_too_much_to_push_makes_the_page_fetch_its_rows(
    rt: Runtime, hall: Fanout, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "MAX_MESSAGE_CHARS", 10)
    page = Page(hall, "fleet")
    rt.announce([1], ["node:node-a"])

    text = await page.read()

    assert 'data-changed="1"' in text
    assert "<span>" not in text


async def test_one_page_too_many_is_refused_and_a_seat_is_given_again(rt: Runtime) -> None:
    hall = Fanout(rt, cells=Printer(), max_seats=2)
    page, _ = Page(hall, "fleet"), Page(hall, "audit")
    with pytest.raises(Full, match="2 pages are open"):
        Page(hall, "fleet")

    hall.leave(page)
    hall.leave(page)

    Page(hall, "fleet")
    assert rt.gauges["live_pages"]() == 2


async def test_a_page_that_nobody_watches_costs_nothing(rt: Runtime, hall: Fanout, printer: Printer) -> None:
    page = Page(hall, "fleet")
    rt.announce([1], ["node:node-a"])

    hall.leave(page)
    rt.announce([2], ["node:node-a"])

    assert hall.seats == 0
    assert page.woken == 1
    assert await hall.message("fleet", 2, Owed(("node:node-a",), 0)) == ""
    assert printer.rendered == []


async def test_a_runtime_has_one_fanout(rt: Runtime) -> None:
    first = fanout.of(rt)

    assert fanout.of(rt) is first
    assert fanout.of(Runtime()) is not first


async def test_a_page_rests_by_what_was_worked_for_it_and_not_by_what_it_waited_for(
    rt: Runtime, printer: Printer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fanout, "WAITED", 0.0)
    hall = Fanout(rt, cells=printer, keys=printer, rest=3.0)
    page = Page(hall, "fleet")
    printer.go.clear()
    rt.announce([1], ["node:node-a"])
    reading = asyncio.create_task(page.read())
    await asyncio.to_thread(printer.go.wait, 1.0)  # a busy machine: 3 s of rest if that counted

    printer.go.set()
    await reading
    rendered_at = asyncio.get_running_loop().time()

    assert hall._pages["fleet"].rests_until(3.0) < rendered_at + 1.0


async def test_news_of_what_a_page_does_not_show_is_no_news_there(rt: Runtime, printer: Printer) -> None:
    hall = Fanout(rt, cells=printer, keys=printer, rest=1e9)
    page = Page(hall, "fleet")
    rt.announce([1], ["node:node-a"])
    await page.is_woken()
    await page.read()

    rt.announce([2, 0], ["runs:node-a", "heard"])
    watched = hall._pages["fleet"]
    assert not watched.news
    rt.announce([3], ["nodes"])

    assert watched.news
