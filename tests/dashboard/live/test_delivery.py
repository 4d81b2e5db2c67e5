"""One message for all that are owed the same, whatever becomes of one of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dashboard.live import delivery as module
from dashboard.live import recheck
from dashboard.live.delivery import Delivery, Visitor
from dashboard.live.entry import Close, Wish
from dashboard.live.fanout import Fanout
from dashboard.live.recheck import Recheck
from dashboard.live.viewer import Viewer, ViewerPolicy
from dashboard.runtime import Runtime
from tests.dashboard.live.printer import Printer

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 10.0  # nothing takes this long, however busy the machine


class Page:
    """An open page: what it got, and what it was closed with."""

    def __init__(self, delivery: Delivery, page: str, session: str, policy: ViewerPolicy | None) -> None:
        self.came: asyncio.Queue[str] = asyncio.Queue()
        self.closed: asyncio.Future[Close] = asyncio.get_running_loop().create_future()
        self.breaks: Exception | None = None
        viewer = Viewer(clock=asyncio.get_running_loop().time, policy=policy)
        wish = Wish(page, session, None)
        self.visitor = Visitor(page, wish, viewer, self._send, self._close, delivery)
        delivery.enter(self.visitor)
        self.visitor.wake()

    async def _send(self, text: str) -> None:
        if self.breaks is not None:
            raise self.breaks
        self.came.put_nowait(text)

    async def _close(self, code: Close) -> None:
        self.closed.set_result(code)

    async def read(self) -> str:
        """The next message, acknowledged."""
        text = await asyncio.wait_for(self.came.get(), SECONDS)
        self.visitor.viewer.acknowledged(int(text.partition('data-no="')[2].partition('"')[0]))
        self.visitor.wake()
        return text

    async def close_code(self) -> Close:
        return await asyncio.wait_for(asyncio.shield(self.closed), SECONDS)


@pytest.fixture
def printer() -> Printer:
    return Printer()


@pytest.fixture
async def delivery(rt: Runtime, printer: Printer) -> Delivery:
    return Delivery(Fanout(rt, cells=printer, rest=0.0))


OpenPage = Callable[..., Page]


@pytest.fixture
async def open_page(delivery: Delivery) -> AsyncIterator[OpenPage]:
    """Opens pages, and closes them behind the test."""
    pages: list[Page] = []

    def open_(page: str = "fleet", *, session: str = "s", policy: ViewerPolicy | None = None) -> Page:
        pages.append(Page(delivery, page, session, policy))
        return pages[-1]

    yield open_
    for page in pages:
        delivery.leave(page.visitor)


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


Ask = Callable[[Wish], Close | None]


@pytest.fixture
async def rechecking(
    rt: Runtime, delivery: Delivery, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Callable[[Ask], None]]:
    """Begins to ask of all pages with what is given."""

    def begin(ask: Ask) -> None:
        monkeypatch.setattr(recheck.entry, "refusal", ask)
        rt.along(Recheck(delivery).run())

    yield begin


async def test_a_session_is_asked_for_once_however_many_pages_it_has_open(
    rt: Runtime, open_page: OpenPage, rechecking: Callable[[Ask], None]
) -> None:
    asked: list[Wish] = []
    pages = [open_page(session="bob") for _ in range(3)]
    other = open_page(session="charlie")
    rechecking(
        lambda wish: (asked.append(wish), Close.SIGNED_OUT if wish.session_key == "charlie" else None)[1]
    )
    await asyncio.sleep(0)

    rt.announce([1], ["people"])

    assert await other.close_code() is Close.SIGNED_OUT
    assert [wish.session_key for wish in asked] == ["bob", "charlie"]
    assert not any(page.closed.done() for page in pages)


async def test_pages_that_cannot_be_rechecked_are_closed(
    rt: Runtime, open_page: OpenPage, rechecking: Callable[[Ask], None], caplog: pytest.LogCaptureFixture
) -> None:
    page = open_page()

    def fails(wish: Wish) -> Any:
        raise OSError("the database is away")

    rechecking(fails)
    await asyncio.sleep(0)

    rt.announce([1], ["people"])

    assert await page.close_code() is Close.INTERNAL_ERROR
    assert "1 live pages can't be rechecked" in caplog.text


async def test_many_sessions_are_asked_for_in_pieces_and_all_of_them(
    rt: Runtime, open_page: OpenPage, rechecking: Callable[[Ask], None]
) -> None:
    pages = [open_page(session=str(number)) for number in range(recheck.WISHES + 1)]
    rechecking(lambda wish: Close.SIGNED_OUT)
    await asyncio.sleep(0)

    rt.announce([1], ["people"])

    assert {await page.close_code() for page in pages} == {Close.SIGNED_OUT}
