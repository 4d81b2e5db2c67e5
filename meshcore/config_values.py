"""What one value of a node's configuration may be, read from TOML or from an environment variable.

A kind says in words what it allows, which is how every complaint about a value ends. It rejects with
`Rejected`, which carries no sentence: that needs file and key, and only the reader of the file knows them.
"""

import enum
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit


class Rejected(Exception):
    """The value isn't one that its kind allows; `secret` values must not be repeated in the complaint."""

    def __init__(self, *, secret: bool = False) -> None:
        super().__init__()
        self.secret = secret


class Kind(Protocol):
    """What a setting may be."""

    @property
    def allowed(self) -> str:
        """Return the words that end "expected …"."""

    def read(self, value: object) -> Any:
        """Return the setting that a TOML value means; raises Rejected."""

    def parse(self, text: str) -> Any:
        """Return the setting that an environment variable means; raises Rejected."""


@dataclass(frozen=True, slots=True)
class Whole:
    """An integer from `low` to `high`."""

    low: int
    high: int

    @property
    def allowed(self) -> str:
        return f"an integer from {self.low} to {self.high}"

    def read(self, value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise Rejected
        return value

    def parse(self, text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,18}", text, re.ASCII):
            raise Rejected
        return self.read(int(text))


@dataclass(frozen=True, slots=True)
class Number:
    """A number above 0, or from 0 with `zero`, up to `high`; integers are taken, infinity and NaN are not."""

    high: float
    zero: bool = False

    @property
    def allowed(self) -> str:
        return f"a number {'from 0' if self.zero else 'above 0'} to {self.high:g}"

    def read(self, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise Rejected
        if not (0 < value <= self.high or (self.zero and value == 0)):
            raise Rejected
        return float(value)

    def parse(self, text: str) -> float:
        try:
            number = float(text)
        except ValueError as exc:
            raise Rejected from exc
        return self.read(number)


@dataclass(frozen=True, slots=True)
class Flag:
    """true or false."""

    allowed: str = "true or false"

    def read(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise Rejected
        return value

    def parse(self, text: str) -> bool:
        if text not in {"true", "false"}:
            raise Rejected
        return text == "true"


@dataclass(frozen=True, slots=True)
class Choice:
    """One member of a closed set, by its value."""

    members: type[enum.StrEnum]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(self.members)

    def read(self, value: object) -> enum.StrEnum:
        if not isinstance(value, str) or value not in set(self.members):
            raise Rejected
        return self.members(value)

    def parse(self, text: str) -> enum.StrEnum:
        return self.read(text)


@dataclass(frozen=True, slots=True)
class Text:
    """A text that matches `pattern`. `secret`: one that doesn't may be a secret in the wrong place."""

    pattern: str
    allowed: str
    secret: bool = False

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            raise Rejected(secret=self.secret)
        return value

    def parse(self, text: str) -> str:
        return self.read(text)


@dataclass(frozen=True, slots=True)
class Url:
    """An address SCHEME://HOST[:PORT][/PATH]; a password in it would be a secret in the open."""

    schemes: tuple[str, ...]
    optional: bool = False

    @property
    def allowed(self) -> str:
        forms = " or ".join(f"{scheme}://HOST[:PORT][/PATH]" for scheme in self.schemes)
        return f"{forms} without user name, password, query and fragment"

    def read(self, value: object) -> str:
        if not isinstance(value, str):
            raise Rejected
        if value == "" and self.optional:
            return value
        if "@" in value or "?" in value:
            raise Rejected(secret=True)
        if not self._is_address(value):
            raise Rejected
        return value.rstrip("/")

    def _is_address(self, value: str) -> bool:
        try:
            parts = urlsplit(value)
            return bool(
                parts.scheme in self.schemes
                and parts.hostname
                and parts.port != 0
                and not parts.fragment
                and value.isprintable()
                and " " not in value
            )
        except ValueError:  # a port that is no number, brackets that don't match
            return False

    def parse(self, text: str) -> str:
        return self.read(text)


@dataclass(frozen=True, slots=True)
class Texts:
    """A list of texts, each of which `item` allows; comma-separated in an environment variable."""

    item: Text
    max_items: int

    @property
    def allowed(self) -> str:
        return f"a list of at most {self.max_items} texts, each {self.item.allowed}"

    def read(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or len(value) > self.max_items:
            raise Rejected
        return tuple(self.item.read(each) for each in value)

    def parse(self, text: str) -> tuple[str, ...]:
        return self.read([part.strip() for part in text.split(",") if part.strip()])


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen: HOST:PORT, an IPv6 host in brackets, port 0 for any free one."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class ListenOn:
    """HOST:PORT as an `Address`."""

    allowed: str = "HOST:PORT with a port from 0 to 65535, an IPv6 host in brackets"

    def read(self, value: object) -> Address:
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9.-]+)):([0-9]{1,5})", str(value))
        if not isinstance(value, str) or match is None or int(match[3]) > 65535:
            raise Rejected
        return Address(match[1] or match[2], int(match[3]))

    def parse(self, text: str) -> Address:
        return self.read(text)


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine itself."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_plain_beyond_loopback(url: str) -> bool:
    """Return whether what is said to an address can be read on the way there."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")
