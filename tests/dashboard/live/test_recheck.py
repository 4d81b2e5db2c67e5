"""Those who watch are asked for together, and those who may no more are closed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from dashboard.live import recheck
from dashboard.live.delivery import Delivery
from dashboard.live.entry import Close, Wish
from dashboard.live.recheck import Recheck
from dashboard.runtime import Runtime
from tests.dashboard.live.open_pages import OpenPage

pytestmark = pytest.mark.django_db(transaction=True)

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
