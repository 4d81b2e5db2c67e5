"""Only our own pages get in, signed in, and only to what they may see."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User

from dashboard.live.entry import Close, Wish, comes_from_us, missed_list_changes, refusal
from dashboard.models import Change, Node
from tests.dashboard.web.factory import run

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def scope_of(query: bytes = b"page=fleet", **headers: str) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"type": "websocket", "query_string": query, "headers": pairs}


@pytest.mark.parametrize(
    ("query", "page", "since"),
    [
        (b"page=fleet", "fleet", None),
        (b"page=node%3Anode-a&since=17", "node:node-a", 17),
        (b"", "", None),
        (b"page=fleet&since=-1", "fleet", None),
        (b"page=fleet&since=%C2%B2", "fleet", None),
        (b"page=fleet&since=99999999999999999999", "fleet", None),
    ],
)
def test_a_wish_is_read_from_the_address(query: bytes, page: str, since: int | None) -> None:
    wish = Wish.of(scope_of(query))

    assert (wish.page, wish.since, wish.session_key) == (page, since, "")


@pytest.mark.parametrize(
    ("origin", "host", "ours"),
    [
        pytest.param("http://127.0.0.1:8000", "127.0.0.1:8000", True, id="the same"),
        pytest.param("http://localhost:8001", "localhost:8001", True, id="another name and port of ours"),
        pytest.param("http://127.0.0.1:8000", "inside:80", True, id="our public address, behind a proxy"),
        pytest.param("http://127.0.0.1:8002", "127.0.0.1:8001", False, id="another port"),
        pytest.param("https://evil.example", "127.0.0.1:8000", False, id="a foreign page"),
        pytest.param("http://evil.example", "evil.example", False, id="a foreign name that resolves to us"),
        pytest.param("null", "127.0.0.1:8000", False, id="a sandboxed page"),
        pytest.param("", "127.0.0.1:8000", False, id="no origin"),
        pytest.param("", "", False, id="nothing"),
        pytest.param("file://127.0.0.1:8000", "127.0.0.1:8000", False, id="a file"),
    ],
)
def test_only_pages_of_ours_get_in(origin: str, host: str, ours: bool) -> None:
    assert comes_from_us(scope_of(origin=origin, host=host)) is ours


def test_a_socket_without_headers_is_not_ours() -> None:
    assert comes_from_us(scope_of()) is False


def wish_of(page: str, cookie: bytes = b"") -> Wish:
    return Wish.of(scope_of(f"page={page}".encode(), cookie=cookie.decode()))


@pytest.mark.django_db
def test_a_viewer_sees_all_but_the_audit(bob: User, node: Node, cookie_of: Callable[[User], bytes]) -> None:
    cookie = cookie_of(bob)

    run("run_k3v9x2_1", at=NOW)
    open_to_all = ("fleet", "providers", "traces", "drains", "runs", "node:node-a", "run:run_k3v9x2_1")
    answers = {page: refusal(wish_of(page, cookie)) for page in (*open_to_all, "audit")}

    assert answers == {**dict.fromkeys(open_to_all), "audit": Close.UNKNOWN_PAGE}


@pytest.mark.django_db
def test_an_operator_sees_the_audit(alice: User, cookie_of: Callable[[User], bytes]) -> None:
    assert refusal(wish_of("audit", cookie_of(alice))) is None


@pytest.mark.django_db
@pytest.mark.parametrize("page", ["", "nowhere", "node:", "node:node-z", "run:", "run:run_9", "FLEET"])
def test_a_page_that_is_not_there_is_refused(
    alice: User, node: Node, cookie_of: Callable[[User], bytes], page: str
) -> None:
    assert refusal(wish_of(page, cookie_of(alice))) is Close.UNKNOWN_PAGE


@pytest.mark.django_db
def test_who_is_not_signed_in_or_may_not_look_is_signed_out(
    charlie: User, cookie_of: Callable[[User], bytes]
) -> None:
    assert refusal(wish_of("fleet")) is Close.SIGNED_OUT
    assert refusal(wish_of("fleet", b"meshboard_session=forged")) is Close.SIGNED_OUT
    assert refusal(wish_of("fleet", cookie_of(charlie))) is Close.SIGNED_OUT


@pytest.mark.django_db
def test_who_is_deactivated_or_has_a_new_password_is_signed_out(
    alice: User, bob: User, cookie_of: Callable[[User], bytes]
) -> None:
    cookies = cookie_of(alice), cookie_of(bob)

    User.objects.filter(pk=alice.pk).update(is_active=False)
    bob.set_password("another way to get in")
    bob.save()

    assert [refusal(wish_of("fleet", cookie)) for cookie in cookies] == [Close.SIGNED_OUT] * 2


@pytest.mark.django_db
def test_what_a_page_missed_is_counted_only_if_it_says_what_it_knew() -> None:
    first = Change.objects.create(key="nodes", at=NOW).id
    Change.objects.create(key="nodes", at=NOW)

    assert missed_list_changes(Wish("fleet", "", since=first)) == 1
    assert missed_list_changes(Wish("fleet", "", since=None)) == 0
