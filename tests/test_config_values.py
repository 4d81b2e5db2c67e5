"""Single values: what each kind takes, from TOML and from the environment."""

import enum
from typing import Any

import pytest

from meshcore.config_values import (
    Address,
    Choice,
    Flag,
    Kind,
    ListenOn,
    Number,
    Rejected,
    Text,
    Texts,
    Url,
    Whole,
    is_loopback,
    is_plain_beyond_loopback,
)


class Colour(enum.StrEnum):
    RED = "red"
    BLUE = "blue"


WORD = Text(r"[a-z]+", "a word")


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (Whole(1, 20), 20, 20),
        (Number(10), 10, 10.0),
        (Number(10, zero=True), 0, 0.0),
        (Flag(), False, False),
        (Choice(Colour), "red", Colour.RED),
        (WORD, "abc", "abc"),
        (Texts(WORD, 2), ["a", "b"], ("a", "b")),
        (Url(("http",)), "http://[::1]:80/v1/", "http://[::1]:80/v1"),
        (Url(("http",), optional=True), "", ""),
        (ListenOn(), "localhost:0", Address("localhost", 0)),
        (ListenOn(), "[::1]:65535", Address("::1", 65535)),
    ],
)
def test_a_kind_takes_what_it_allows(kind: Kind, value: object, meant: object) -> None:
    assert kind.read(value) == meant


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((Whole(1, 20), value) for value in (0, 21, 3.0, "3", True, None)),
        *((Number(10), value) for value in (0, -1, 10.5, float("inf"), float("nan"), "3", True)),
        *((Flag(), value) for value in (1, "true", None)),
        *((Choice(Colour), value) for value in ("green", 3, "RED")),
        *((WORD, value) for value in ("", "a1", "a\n", 3)),
        *((Texts(WORD, 2), value) for value in ("a", ["a", "b", "c"], ["a", 3])),
        *((Url(("http",)), value) for value in ("", "ftp://x", "http://", "http://a:99999", "http://a:0", 3)),
        *((Url(("http",)), value) for value in ("http://a b", "http://a#b", "http://a/\n", "http://[::1")),
        *((ListenOn(), value) for value in ("8101", "a:", "a:65536", "::1:80", "[::1]", "a b:1", 8101)),
    ],
)
def test_a_kind_rejects_everything_else(kind: Kind, value: object) -> None:
    with pytest.raises(Rejected):
        kind.read(value)


@pytest.mark.parametrize(
    ("kind", "text", "meant"),
    [
        (Whole(1, 20), "7", 7),
        (Number(10), "2.5", 2.5),
        (Flag(), "true", True),
        (Flag(), "false", False),
        (Choice(Colour), "blue", Colour.BLUE),
        (WORD, "abc", "abc"),
        (Texts(WORD, 2), "a, b,", ("a", "b")),
        (Texts(WORD, 2), "", ()),
        (Url(("http",)), "http://a", "http://a"),
        (ListenOn(), "127.0.0.1:1", Address("127.0.0.1", 1)),
    ],
)
def test_an_environment_variable_means_the_same(kind: Kind, text: str, meant: object) -> None:
    assert kind.parse(text) == meant


@pytest.mark.parametrize(
    ("kind", "text"),
    [(Whole(1, 20), "2.5"), (Whole(1, 20), "٣"), (Number(10), "fast"), (Number(10), "nan"), (Flag(), "1")],
)
def test_an_environment_variable_of_another_kind_is_rejected(kind: Kind, text: str) -> None:
    with pytest.raises(Rejected):
        kind.parse(text)


@pytest.mark.parametrize("url", ["http://alice:secret@host", "http://host/?key=secret"])
def test_an_address_with_credentials_is_not_to_be_repeated(url: str) -> None:
    with pytest.raises(Rejected) as rejection:
        Url(("http",)).read(url)

    assert rejection.value.secret


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Whole(1, 20), "an integer from 1 to 20"),
        (Number(600), "a number above 0 to 600"),
        (Number(86_400.0, zero=True), "a number from 0 to 86400"),
        (Flag(), "true or false"),
        (Choice(Colour), "one of red, blue"),
        (Texts(WORD, 2), "a list of at most 2 texts, each a word"),
        (Url(("ws", "wss")), "ws://HOST[:PORT][/PATH] or wss://HOST[:PORT][/PATH] without user name"),
    ],
)
def test_a_kind_says_what_it_allows(kind: Any, words: str) -> None:
    assert kind.allowed.startswith(words)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.8.8.8", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("a", False)],
)
def test_loopback_is_this_machine_itself(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
    assert Address(host, 1).loopback is loopback


def test_an_address_reads_as_it_was_written() -> None:
    assert [str(Address("::1", 80)), str(Address("127.0.0.1", 80))] == ["[::1]:80", "127.0.0.1:80"]


@pytest.mark.parametrize(
    ("url", "plain"),
    [("http://10.0.0.1", True), ("http://[::1]:1/x", False), ("https://10.0.0.1", False), ("", False)],
)
def test_plain_http_is_readable_on_its_way_beyond_loopback(url: str, plain: bool) -> None:
    assert is_plain_beyond_loopback(url) is plain
