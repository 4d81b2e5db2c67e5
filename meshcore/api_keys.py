"""Client API keys of a node: who is calling, without a word about which keys exist."""

import hashlib
import hmac
from collections.abc import Iterable

from meshcore.errors import ConfigError

ANONYMOUS = "anonymous"  # the caller where no keys are asked for
_SCHEME = "bearer "


class ApiKeys:
    """The keys that a node takes, from entries `NAME:KEY`, or a bare `KEY` whose name is its place: key-1, …

    Only hashes are kept. Without entries every caller is welcome and anonymous. Raises ConfigError for an
    entry with an empty part, without showing it.
    """

    def __init__(self, entries: Iterable[str] = ()) -> None:
        self._names: list[tuple[bytes, str]] = []
        for place, entry in enumerate(entries, 1):
            name, colon, key = entry.partition(":")
            if not colon:
                name, key = f"key-{place}", entry
            if not name or not key:
                raise ConfigError(f"API key {place}: expected KEY or NAME:KEY, neither part empty")
            self._names.append((_digest(key), name))

    def __bool__(self) -> bool:
        return bool(self._names)

    def caller(self, authorization: str) -> str | None:
        """Return the name behind an Authorization header, None when it holds no key that is known.

        Takes the same time whichever key it is: every hash is compared, each in constant time.
        """
        if not self._names:
            return ANONYMOUS
        given = _digest(authorization[len(_SCHEME) :].strip())
        if authorization[: len(_SCHEME)].lower() != _SCHEME:
            return None
        found = None
        for digest, name in self._names:
            if hmac.compare_digest(digest, given):
                found = name
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
