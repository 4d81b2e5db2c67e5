"""Who is asking: the client's address behind the proxies that the operator trusts, and only those.

Every proxy appends to X-Forwarded-For the address it was called from. So the list is read from the right,
and the first entry that is no trusted proxy is the client; whatever stands left of it is the client's own
word. Resolved once, here, in front of everything: HTTP, websockets, login throttling, audit and token
networks all read the result (`scope["client"]`, which Django shows as REMOTE_ADDR).
"""

import ipaddress
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from django.http import HttpRequest

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Scope = dict[str, Any]
Application = Callable[[Scope, Any, Any], Awaitable[None]]

FORWARDED_HEADERS = frozenset(  # of which a proxy sets at least one, however it is set up
    {b"forwarded", b"via", b"x-real-ip", *(b"x-forwarded-" + what for what in (b"for", b"host", b"proto"))}
)
IPV6_CLIENT_BITS = 64


class BehindProxies:
    """An ASGI application whose clients are who they really are, as far as `trusted` proxies say so."""

    def __init__(self, application: Application, *, trusted: Sequence[Network]) -> None:
        self._application = application
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Pass the connection on with the address resolved."""
        peer, port = scope.get("client") or ("", 0)
        address = client_address(peer, values(scope, b"x-forwarded-for"), self._trusted)
        resolved = {**scope, "client": [address, port if address == peer else 0]}
        if self._says_https(peer, scope):
            resolved["scheme"] = "wss" if scope["type"] == "websocket" else "https"
        await self._application(resolved, receive, send)

    def _says_https(self, peer: str, scope: Scope) -> bool:
        said = values(scope, b"x-forwarded-proto")[-1:]
        return said == ["https"] and _is_trusted(_parse(peer), self._trusted)


def client_address(peer: str, forwarded: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the address of the client that `peer` speaks for: the rightmost that isn't trusted.

    `forwarded` are the values of X-Forwarded-For, in order. An entry that is no address ends the search:
    the last proxy that is known then counts as the client.
    """
    found = _parse(peer)
    if found is None:
        return peer
    for entry in _from_the_right(forwarded):
        if not _is_trusted(found, trusted):
            break
        before = _parse(entry)
        if before is None:
            break
        found = before
    return str(found)


def is_local(scope: Scope) -> bool:
    """Return whether a program on this machine asks, for itself: nothing came through a proxy."""
    names = {name for name, _ in scope["headers"]}
    address = _parse((scope.get("client") or ("", 0))[0])
    return address is not None and address.is_loopback and not names & FORWARDED_HEADERS


def of_login(request: HttpRequest) -> str | None:
    """Return under which address wrong passwords are counted; the login throttle (django-axes) asks here.

    Of IPv6 it is the network of 64 bits: a single client has all of its addresses. None where there is none.
    """
    address = _parse(str(request.META.get("REMOTE_ADDR", "")))
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, IPV6_CLIENT_BITS), strict=False).network_address)
    return str(address) if address is not None else None


def _from_the_right(forwarded: Sequence[str]) -> Iterator[str]:
    for value in reversed(forwarded):
        yield from reversed(value.split(","))


def values(scope: Scope, name: bytes) -> list[str]:
    """Return the values of the header `name` (lower case) in order; a client may send it several times."""
    return [value.decode("latin-1").strip() for key, value in scope["headers"] if key == name]


def _parse(text: str) -> Address | None:
    """Return the address in `text`, which may carry a port; IPv4 in IPv6 clothes is that IPv4 address.

    The zone of a link-local address says something on one machine alone, and is left out.
    """
    text = text.strip()
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: Address | None, trusted: Sequence[Network]) -> bool:
    return address is not None and any(address in network for network in trusted)
