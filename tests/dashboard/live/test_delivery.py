"""One message for all that are owed the same, whatever becomes of one of them."""

import asyncio

import pytest

from dashboard.live import delivery as module
from dashboard.live.delivery import Delivery
from dashboard.live.entry import Close
from dashboard.live.viewer import ViewerPolicy
from dashboard.runtime import Runtime
from tests.dashboard.live.open_pages import SECONDS, OpenPage
from tests.dashboard.live.printer import Printer

pytestmark = pytest.mark.django_db(transaction=True)


async def test_all_that_are_owed_the_same_get_the_very_same_text(
    rt: Runtime, printer: Printer, open_page: OpenPage
) -> None:
    pages = [open_page() for _ in range(3)]
    for page in pages:
        await page.read()

    rt.announce([1], ["node:node-a"])
    texts = [await page.read() for page in pages]

    assert texts[0].endswith("<span>fleet node:node-a 2</span>")
    assert all(text is texts[0] for text in texts)
    assert printer.rendered == [("fleet", "*"), ("fleet", "node:node-a")]


async def test_who_comes_meanwhile_gets_everything_and_the_others_what_changed(
    rt: Runtime, open_page: OpenPage
) -> None:
    old = open_page()
    await old.read()

    new = open_page()
    rt.announce([1], ["node:node-a"])

    assert "<span>fleet *" in await new.read()
    assert "<span>fleet node:node-a" in await old.read()


async def test_pages_that_differ_get_messages_of_their_own(rt: Runtime, open_page: OpenPage) -> None:
    fleet, node = open_page("fleet"), open_page("node:node-a")
    await fleet.read()
    await node.read()

    rt.announce([1], ["node:node-a"])

    assert "<span>fleet node:node-a" in await fleet.read()
    assert "<span>node:node-a node:node-a" in await node.read()


async def test_what_changes_before_the_acknowledgement_is_sent_behind_it(
    rt: Runtime, open_page: OpenPage
) -> None:
    page = open_page()
    first = await asyncio.wait_for(page.came.get(), SECONDS)
    rt.announce([1], ["node:node-a"])
    await asyncio.sleep(0)
    assert page.came.empty()

    page.came.put_nowait(first)
    await page.read()

    assert "node:node-a" in await page.read()


async def test_one_that_acknowledges_nothing_is_given_up_and_the_others_are_not(
    open_page: OpenPage,
) -> None:
    quick = ViewerPolicy(gap_seconds=0.01, quiet_seconds=0.02, ack_seconds=0.05)
    deaf, reading = (
        open_page(policy=quick),
        open_page(policy=ViewerPolicy(quiet_seconds=1.0, ack_seconds=60.0)),
    )
    await reading.read()

    assert await deaf.close_code() is Close.TRY_LATER
    assert await reading.read()
    assert not reading.closed.done()


async def test_one_that_cannot_be_sent_to_is_closed_and_the_others_get_theirs(
    open_page: OpenPage, caplog: pytest.LogCaptureFixture, delivery: Delivery
) -> None:
    broken, whole = open_page(), open_page()
    broken.breaks = OSError("no more")

    assert await whole.read()
    assert await broken.close_code() is Close.INTERNAL_ERROR
    assert "a live page failed" in caplog.text
    assert list(delivery.visitors) == [whole.visitor]


async def test_a_message_that_cannot_be_made_closes_those_it_is_for(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch, delivery: Delivery, caplog: pytest.LogCaptureFixture
) -> None:
    page = open_page()
    await page.read()
    monkeypatch.setattr(delivery.hall, "message", lambda page, no, owed: 1 / 0)

    unlucky = open_page()

    assert await unlucky.close_code() is Close.INTERNAL_ERROR
    assert "a message to 1 live pages failed" in caplog.text
    assert not page.closed.done()


async def test_who_leaves_while_it_is_rendered_is_sent_nothing(
    printer: Printer, delivery: Delivery, open_page: OpenPage
) -> None:
    printer.go.clear()
    leaving, staying = open_page(), open_page()
    await asyncio.sleep(0)

    delivery.leave(leaving.visitor)
    printer.go.set()

    assert await staying.read()
    assert leaving.came.empty()
    leaving.visitor.wake()  # what it said last comes late
    assert list(delivery.visitors) == [staying.visitor]


async def test_others_have_their_turn_while_many_are_sent_to(
    open_page: OpenPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SLICE_SECONDS", 0.0)
    first, *_, last = [open_page() for _ in range(5)]

    await first.read()

    assert last.came.empty()
    assert await last.read()
