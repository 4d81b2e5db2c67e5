"""Heads of requests, without a parser."""

import pytest

from meshcore.aio.gateway.head import HEADER_MAX_BYTES, HEADERS_MAX, ONCE, Head


@pytest.fixture
def head() -> Head:
    return Head()


def test_of_several_headers_alike_the_first_is_kept(head: Head) -> None:
    head.add_field(b"Accept", b"a")
    head.add_field(b"accept", b"b")

    assert head.fields == {b"accept": b"a"}


@pytest.mark.parametrize("name", sorted(ONCE))
def test_what_others_may_read_differently_comes_once(head: Head, name: bytes) -> None:
    head.add_field(name, b"1")

    with pytest.raises(ValueError, match="twice"):
        head.add_field(name.upper(), b"1")


def test_headers_are_counted_also_such_as_are_alike(head: Head) -> None:
    for _ in range(HEADERS_MAX):
        head.add_field(b"x", b"")

    with pytest.raises(ValueError, match="too many"):
        head.add_field(b"x", b"")


def test_a_header_and_a_target_have_a_bound(head: Head) -> None:
    head.add_field(b"x", b"y" * (HEADER_MAX_BYTES - 1))
    with pytest.raises(ValueError, match="too long"):
        head.add_field(b"x", b"y" * HEADER_MAX_BYTES)

    for _ in range(HEADER_MAX_BYTES):
        head.add_target(b"/")
    with pytest.raises(ValueError, match="too long"):
        head.add_target(b"/")


@pytest.mark.parametrize(
    ("version", "name", "value"),
    [
        ("1.1", b"transfer-encoding", b"Chunked "),
        ("1.1", b"content-length", b"5"),
        ("1.0", b"content-length", b"0" * 19),
    ],
)
def test_a_body_may_end_where_all_see_its_end(head: Head, version: str, name: bytes, value: bytes) -> None:
    head.add_field(name, value)

    head.check_framing(version)

    assert head.has_body


@pytest.mark.parametrize(
    ("version", "name", "value"),
    [
        ("2.0", b"x", b""),
        ("0.9", b"x", b""),
        ("1.0", b"transfer-encoding", b"chunked"),
        ("1.1", b"transfer-encoding", b"gzip, chunked"),
        ("1.1", b"transfer-encoding", b"identity"),
        ("1.1", b"content-length", b"0" * 20),
    ],
)
def test_what_ends_nobody_knows_where_is_refused(head: Head, version: str, name: bytes, value: bytes) -> None:
    head.add_field(name, value)

    with pytest.raises(ValueError, match=r"nobody here|too long"):
        head.check_framing(version)


@pytest.mark.parametrize(("value", "asks"), [(b"100-Continue ", True), (b"200-ok", False)])
def test_a_client_may_ask_before_it_sends(head: Head, value: bytes, asks: bool) -> None:
    head.add_field(b"Expect", value)

    assert head.asks_first is asks
    assert not head.has_body


@pytest.mark.parametrize(("name", "value"), [(b"Content-Length", b"7"), (b"Transfer-Encoding", b"chunked")])
def test_a_head_can_be_told_again_without_its_offer(head: Head, name: bytes, value: bytes) -> None:
    head.add_field(b"Upgrade", b"h2c")
    head.add_field(name, value)

    told = head.without_offer()

    assert b"\r\n%b: %b\r\n" % (name, value) in told
    assert told.endswith(b"\r\n\r\n")
    assert b"Upgrade" not in told
