"""The websocket of an open page, spoken over ASGI."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session

from dashboard.asgi import application
from dashboard.live import browser, fanout, recheck
from dashboard.live.entry import Close
from dashboard.models import Node
from dashboard.runtime import Runtime
from dashboard.services import accounts
from dashboard.services.actor import SYSTEM

pytestmark = pytest.mark.django_db(transaction=True)

SECONDS = 10.0  # no answer takes this long, however busy the machine
OURS = b"http://127.0.0.1:8000"


class OpenPage:
    """A browser's end of the socket."""

    def __init__(self, page: str, cookie: bytes, origin: bytes = OURS) -> None:
        headers = [(b"cookie", cookie), (b"origin", origin), (b"host", b"127.0.0.1:8000")]
        self.wire = WebsocketCommunicator(application, f"/live?page={page}", headers=headers)

    async def open(self) -> "OpenPage":
        accepted, _ = await self.wire.connect(SECONDS)
        assert accepted
        return self

    async def read(self) -> str:
        """The next message, acknowledged."""
        text = str(await self.wire.receive_from(SECONDS))
        await self.say({"ack": number_of(text)})
        return text

    async def say(self, said: object) -> None:
        await self.wire.send_json_to(said)

    async def closed_with(self) -> int:
        """The code of the close, whatever messages come before it."""
        while (output := await self.wire.receive_output(SECONDS))["type"] != "websocket.close":
            assert output["type"] == "websocket.send"
        return int(output["code"])


def number_of(text: str) -> int:
    found = re.match(r'<div id="live-no" data-no="(\d+)"', text)
    assert found is not None
    return int(found[1])


OpenPages = Callable[..., Any]


@pytest.fixture
async def open_page(rt: Runtime) -> AsyncIterator[OpenPages]:
    """Opens pages, and closes them behind the test."""
    pages: list[OpenPage] = []

    async def open_(page: str, cookie: bytes) -> OpenPage:
        pages.append(await OpenPage(page, cookie).open())
        return pages[-1]

    yield open_
    for page in pages:
        await page.wire.disconnect(timeout=SECONDS)


@pytest.fixture
def bobs(bob: User, cookie_of: Callable[[User], bytes]) -> bytes:
    """The cookie of somebody who may look."""
    return cookie_of(bob)


async def test_a_page_gets_every_cell_first_and_then_what_changed(
    node: Node, bobs: bytes, rt: Runtime, open_page: OpenPages
) -> None:
    page = await open_page("fleet", bobs)

    first = await page.read()
    assert number_of(first) == 1
    assert 'id="c-state-node-a"' in first
    assert 'id="c-verdict"' in first

    rt.announce([1], ["node:node-a"])
    second = await page.read()
    assert number_of(second) == 2
    assert 'id="c-state-node-a"' in second


async def test_the_page_of_a_node_gets_its_cells(node: Node, bobs: bytes, open_page: OpenPages) -> None:
    page = await open_page("node:node-a", bobs)

    assert 'id="c-breakers-node-a"' in await page.read()


async def test_the_providers_page_gets_cells_and_hears_that_its_rows_changed(
    node: Node, bobs: bytes, rt: Runtime, open_page: OpenPages
) -> None:
    page = await open_page("providers", bobs)
    assert 'id="c-tally"' in await page.read()

    rt.announce([1, 2], ["providers:node-a", "providers"])

    second = await page.read()
    assert 'id="c-verdict"' in second
    assert 'data-changed="1"' in second


async def test_nothing_more_is_sent_before_the_acknowledgement(
    node: Node, bobs: bytes, rt: Runtime, open_page: OpenPages
) -> None:
    page = await open_page("fleet", bobs)
    text = await page.wire.receive_from(SECONDS)

    rt.announce([1], ["node:node-a"])
    assert await page.wire.receive_nothing(timeout=0.5)

    await page.say({"ack": number_of(text)})
    assert number_of(await page.read()) == 2


async def test_a_page_that_wants_it_gets_every_cell_again(
    node: Node, bobs: bytes, open_page: OpenPages
) -> None:
    page = await open_page("fleet", bobs)
    await page.read()

    await page.say({"all": True})

    assert 'id="c-verdict"' in await page.read()


async def test_a_page_that_is_back_hears_that_its_list_changed_meanwhile(
    node: Node, bobs: bytes, rt: Runtime, open_page: OpenPages
) -> None:
    page = await open_page("fleet&since=0", bobs)  # adding the node was a change

    assert 'data-changed="1"' in await page.read()


async def test_a_socket_from_a_foreign_page_is_not_accepted(rt: Runtime, bobs: bytes) -> None:
    page = OpenPage("fleet", bobs, origin=b"https://evil.example")

    accepted, _ = await page.wire.connect(SECONDS)

    assert not accepted
    await page.wire.wait(SECONDS)


@pytest.mark.parametrize(
    ("page", "cookie", "code"),
    [
        ("fleet", b"", Close.SIGNED_OUT),
        ("fleet", b"meshboard_session=forged", Close.SIGNED_OUT),
    ],
)
async def test_who_is_not_signed_in_is_told_so(rt: Runtime, page: str, cookie: bytes, code: Close) -> None:
    opened = await OpenPage(page, cookie).open()

    assert await opened.closed_with() == code
    await opened.wire.wait(SECONDS)


async def test_a_page_that_is_not_there_is_told_so(rt: Runtime, bobs: bytes) -> None:
    page = await OpenPage("node:node-z", bobs).open()

    assert await page.closed_with() == Close.UNKNOWN_PAGE
    await page.wire.wait(SECONDS)


@pytest.mark.parametrize("said", ["", "nonsense", "[]", '{"ack": "1"}', '{"ack": 7}', '{"ack": 0}'])
async def test_what_no_page_of_ours_says_ends_the_socket(rt: Runtime, bobs: bytes, said: str) -> None:
    page = await OpenPage("fleet", bobs).open()
    await page.wire.receive_from(SECONDS)

    await page.wire.send_input({"type": "websocket.receive", "text": said})

    assert await page.closed_with() == Close.BAD_MESSAGE
    await page.wire.wait(SECONDS)


async def test_bytes_end_the_socket(rt: Runtime, bobs: bytes) -> None:
    page = await OpenPage("fleet", bobs).open()

    await page.wire.send_input({"type": "websocket.receive", "bytes": b"\x00"})

    assert await page.closed_with() == Close.BAD_MESSAGE
    await page.wire.wait(SECONDS)


async def test_a_page_that_acknowledges_nothing_is_asked_to_come_again(
    rt: Runtime, bobs: bytes, monkeypatch: pytest.MonkeyPatch, open_page: OpenPages
) -> None:
    quick = browser.ViewerPolicy(gap_seconds=0.01, quiet_seconds=0.02, ack_seconds=0.05)
    monkeypatch.setattr(browser, "POLICY", quick)

    page = await open_page("fleet", bobs)

    assert await page.closed_with() == Close.TRY_LATER


async def test_a_page_too_many_is_asked_to_come_again(
    rt: Runtime, bobs: bytes, monkeypatch: pytest.MonkeyPatch, open_page: OpenPages
) -> None:
    monkeypatch.setattr(fanout.of(rt), "_max_seats", 1)
    page = await open_page("fleet", bobs)
    await page.read()

    second = await open_page("fleet", bobs)

    assert await second.closed_with() == Close.TRY_LATER


async def test_whoever_is_signed_out_meanwhile_is_told_within_a_minute(
    rt: Runtime, bobs: bytes, monkeypatch: pytest.MonkeyPatch, open_page: OpenPages
) -> None:
    monkeypatch.setattr(recheck, "RECHECK_SECONDS", 0.05)
    page = await open_page("fleet", bobs)
    await page.read()

    await rt.in_control(Session.objects.all().delete)

    assert await page.closed_with() == Close.SIGNED_OUT


async def test_whoever_signs_out_elsewhere_is_told_at_once(
    rt: Runtime, bobs: bytes, open_page: OpenPages
) -> None:
    page = await open_page("fleet", bobs)
    await page.read()

    await rt.in_control(Session.objects.all().delete)
    rt.announce([1], ["people"])

    assert await page.closed_with() == Close.SIGNED_OUT


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(
            lambda bob: accounts.deactivate(user=bob, actor=SYSTEM, reason="left"), id="deactivated"
        ),
        pytest.param(lambda bob: accounts.set_groups(user=bob, groups=[], actor=SYSTEM), id="in no group"),
        pytest.param(lambda bob: accounts.new_password(user=bob, actor=SYSTEM), id="a new password"),
    ],
)
async def test_whoever_may_look_no_more_is_told_at_once(
    change: Callable[[User], object], rt: Runtime, bob: User, bobs: bytes, open_page: OpenPages
) -> None:
    page = await open_page("fleet", bobs)
    await page.read()

    await rt.in_control(change, bob)

    assert await page.closed_with() == Close.SIGNED_OUT


async def test_whoever_is_still_signed_in_stays_when_others_go(
    rt: Runtime, node: Node, bobs: bytes, open_page: OpenPages
) -> None:
    page = await open_page("fleet", bobs)
    await page.read()

    rt.announce([1, 2], ["people", "node:node-a"])

    assert 'id="c-state-node-a"' in await page.read()


async def test_a_fault_of_ours_ends_the_socket_and_is_logged(
    rt: Runtime,
    bobs: bytes,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    open_page: OpenPages,
) -> None:
    monkeypatch.setattr(browser.entry, "missed_list_changes", lambda wish: 1 / 0)

    page = await open_page("fleet", bobs)

    assert await page.closed_with() == Close.INTERNAL_ERROR
    assert "a live page failed" in caplog.text


async def test_a_page_that_leaves_gives_its_seat_back(rt: Runtime, bobs: bytes) -> None:
    page = await OpenPage("fleet", bobs).open()
    await page.read()
    assert fanout.of(rt).seats == 1

    await page.wire.disconnect(timeout=SECONDS)

    assert fanout.of(rt).seats == 0


async def test_a_page_whose_application_is_cancelled_gives_its_seat_back(rt: Runtime, bobs: bytes) -> None:
    page = await OpenPage("fleet", bobs).open()
    await page.read()

    page.wire.future.cancel()
    await asyncio.gather(page.wire.future, return_exceptions=True)

    assert fanout.of(rt).seats == 0
