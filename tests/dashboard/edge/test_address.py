"""The client's address is what trusted proxies say, never what the client says."""

import ipaddress
from typing import Any

import pytest
from django.http import HttpRequest

from dashboard.edge.address import BehindProxies, client_address, is_local, of_login

TRUSTED = [ipaddress.ip_network("127.0.0.1"), ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        pytest.param("203.0.113.9", [], "203.0.113.9", id="no proxy"),
        pytest.param(
            "203.0.113.9", ["198.51.100.1"], "203.0.113.9", id="a stranger's word counts for nothing"
        ),
        pytest.param("127.0.0.1", ["198.51.100.1"], "198.51.100.1", id="one proxy"),
        pytest.param(
            "127.0.0.1", ["6.6.6.6, 198.51.100.1, 10.1.2.3"], "198.51.100.1", id="rightmost untrusted"
        ),
        pytest.param(
            "127.0.0.1", ["6.6.6.6, 198.51.100.1", "10.1.2.3"], "198.51.100.1", id="several headers"
        ),
        pytest.param("127.0.0.1", ["10.1.2.3, 10.1.2.4"], "10.1.2.3", id="all trusted: the farthest"),
        pytest.param("127.0.0.1", ["<script>, 10.1.2.4"], "10.1.2.4", id="garbage ends the search"),
        pytest.param("127.0.0.1", [""], "127.0.0.1", id="an empty header"),
        pytest.param("127.0.0.1", ["198.51.100.1:4711"], "198.51.100.1", id="with a port"),
        pytest.param("127.0.0.1", ["[2001:db8::7]:4711"], "2001:db8::7", id="IPv6 with a port"),
        pytest.param("127.0.0.1", ["fe80::1%25eth0"], "fe80::1", id="a zone is left out"),
        pytest.param("127.0.0.1", ["6.6.6.6, unknown"], "127.0.0.1", id="a proxy that doesn't know"),
        pytest.param("::ffff:127.0.0.1", ["198.51.100.1"], "198.51.100.1", id="IPv4 in IPv6 clothes"),
        pytest.param("", ["198.51.100.1"], "", id="a peer without an address"),
    ],
)
def test_the_client_is_the_rightmost_address_that_is_not_trusted(
    peer: str, forwarded: list[str], expected: str
) -> None:
    assert client_address(peer, forwarded, TRUSTED) == expected


def scope_of(peer: str, *headers: tuple[bytes, bytes], kind: str = "http") -> dict[str, Any]:
    return {"type": kind, "client": [peer, 4711], "headers": list(headers), "scheme": "http"}


async def seen_behind(scope: dict[str, Any]) -> dict[str, Any]:
    seen: dict[str, Any] = {}

    async def application(scope: dict[str, Any], receive: object, send: object) -> None:
        seen.update(scope)

    await BehindProxies(application, trusted=TRUSTED)(scope, None, None)
    return seen


async def test_everything_behind_sees_the_resolved_address() -> None:
    seen = await seen_behind(scope_of("127.0.0.1", (b"x-forwarded-for", b"198.51.100.1")))

    assert seen["client"] == ["198.51.100.1", 0]


async def test_without_a_proxy_address_and_port_stay() -> None:
    seen = await seen_behind(scope_of("203.0.113.9"))

    assert seen["client"] == ["203.0.113.9", 4711]


@pytest.mark.parametrize(
    ("peer", "kind", "scheme"),
    [
        ("127.0.0.1", "http", "https"),
        ("127.0.0.1", "websocket", "wss"),
        ("203.0.113.9", "http", "http"),
    ],
)
async def test_only_a_trusted_proxy_may_say_that_it_was_asked_by_https(
    peer: str, kind: str, scheme: str
) -> None:
    seen = await seen_behind(scope_of(peer, (b"x-forwarded-proto", b"https"), kind=kind))

    assert seen["scheme"] == scheme


async def test_a_connection_without_a_client_is_no_fault() -> None:
    seen = await seen_behind({"type": "http", "client": None, "headers": [], "scheme": "http"})

    assert seen["client"] == ["", 0]


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (scope_of("127.0.0.1"), True),
        (scope_of("::1"), True),
        (scope_of("203.0.113.9"), False),
        (scope_of("127.0.0.1", (b"x-forwarded-for", b"127.0.0.1")), False),
        (scope_of("127.0.0.1", (b"forwarded", b"for=127.0.0.1")), False),
        (scope_of("127.0.0.1", (b"x-forwarded-proto", b"https")), False),
        (scope_of("127.0.0.1", (b"via", b"1.1 proxy")), False),
        ({"client": None, "headers": []}, False),
    ],
)
def test_local_is_who_asks_from_this_machine_and_through_no_proxy(
    scope: dict[str, Any], expected: bool
) -> None:
    assert is_local(scope) is expected


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("198.51.100.1", "198.51.100.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("unix", None),
    ],
)
def test_wrong_passwords_are_counted_by_client(address: str, counted: str | None) -> None:
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = address

    assert of_login(request) == counted
