"""Which engines the dashboard runs on: `DATABASE_URL` and `CHANNEL_LAYER_URL`, read strictly.

    nothing, sqlite:////ABSOLUTE/PATH, sqlite:///PATH below MESH_VAR     one process on one machine
    postgres://USER:PASSWORD@HOST:PORT/NAME?pool_max=16&sslmode=require  any number of processes
    nothing, memory://                                                   hints stay in one process
    redis://USER:PASSWORD@HOST:PORT/NUMBER?prefix=meshboard, rediss://   hints reach all processes

What is misspelt stops the process at its start. A password is never part of a message.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

MEMORY_LAYER = "channels.layers.InMemoryChannelLayer"
REDIS_LAYER = (
    "channels_redis.pubsub.RedisPubSubChannelLayer"  # the other one keeps queues, which drop when full
)
SQLITE = "django.db.backends.sqlite3"
POSTGRESQL = "django.db.backends.postgresql"

CONNECT_SECONDS = 5
SILENT_SECONDS = 20  # then the network is asked whether the server is still there
RECONNECT_SECONDS = (
    2.0  # the pool tries that long, then when somebody asks: after an outage nobody waits for it
)
CONNECTION_WAIT_SECONDS = 5.0  # for a connection of the pool; then the request is a 500, and nothing piles up
LOCK_SECONDS = 5  # as on SQLite; every lock here is held for milliseconds
STATEMENT_SECONDS = 30  # the slowest page takes 0.1; `migrate` on a large database wants 0: none
IDLE_TRANSACTION_SECONDS = 15  # a process that stands still in a transaction loses its locks
POOL_MAX = 16  # connections of a process: 5 for its own threads, the others for requests
POOL_MIN_ALLOWED, POOL_MAX_ALLOWED = 8, 100  # below, a burst of requests starves links and pages
SECONDS_ALLOWED = 3600
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
REDIS_SECONDS = 2.0  # to connect and for an answer; the change feed is read once a second anyway
REDIS_PREFIX = "meshboard"
REDIS_DATABASES = 1024

Option = Callable[["Url", str, str], Any]


class Url:
    """An engine's address from the setting `name`, taken apart; `wrong` makes the error that stops us."""

    def __init__(self, name: str, text: str) -> None:
        self.name = name
        self.text = text
        try:
            self.parts: SplitResult = urlsplit(text)
            self.port = self.parts.port
        except ValueError:  # its text may hold a password that was taken for a port
            raise self.wrong("expected a port from 0 to 65535, and IPv6 addresses in brackets") from None
        if "#" in text:
            raise self.wrong("'#' has no meaning here; in a password it is %23")
        if any(character.isspace() for character in text):
            raise self.wrong("expected no spaces; in a password one is %20")

    @property
    def scheme(self) -> str:
        """What comes before `://`."""
        return self.parts.scheme

    @property
    def path(self) -> str:
        """What comes behind the first `/` behind the host, decoded."""
        return unquote(self.parts.path.removeprefix("/"))

    def options(self, allowed: Mapping[str, Option]) -> dict[str, Any]:
        """Return the options behind `?`, each read by the function that is `allowed` for it."""
        found: dict[str, Any] = {}
        for key, text in parse_qsl(self.parts.query, keep_blank_values=True):
            if key not in allowed:
                raise self.wrong(f"unknown option {key!r}, expected {', '.join(sorted(allowed))}")
            if key in found:
                raise self.wrong(f"the option {key} is there twice")
            found[key] = allowed[key](self, key, text)
        return found

    def wrong(self, expected: str) -> ImproperlyConfigured:
        """Return the error; it shows the address without user, password and options."""
        return ImproperlyConfigured(f"{self.name}={_shown(self.text)!r}: {expected}")


def _shown(text: str) -> str:
    """Return an address without what may be a secret: all before an @ or behind a ?, and a strange port."""
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        return "…"
    _, at, host = rest.rpartition("@")
    place = re.sub(r":(?!\d{1,5}(/|$))[^/]*", ":***", re.split(r"[?#]", host)[0])
    return f"{scheme}://{'***@' if at else ''}{place}"


def database(text: str, *, folder: Path) -> dict[str, Any]:
    """Return Django's settings of the database that `DATABASE_URL` names; relative files are in `folder`.

    Raises ImproperlyConfigured.
    """
    url = Url("DATABASE_URL", text or "sqlite:///meshboard.sqlite3")
    if url.scheme == "sqlite":
        return _sqlite(url, folder)
    if url.scheme in ("postgres", "postgresql"):
        return _postgresql(url)
    raise url.wrong("expected sqlite:///PATH or postgres://USER:PASSWORD@HOST:PORT/NAME")


def channel_layer(text: str) -> dict[str, Any]:
    """Return Channels' settings of the layer that `CHANNEL_LAYER_URL` names; raises ImproperlyConfigured."""
    url = Url("CHANNEL_LAYER_URL", text or "memory://")
    if url.scheme == "memory":
        if url.parts.netloc or url.parts.path or url.parts.query:
            raise url.wrong("expected nothing behind memory://")
        return {"BACKEND": MEMORY_LAYER}
    if url.scheme in ("redis", "rediss"):
        return _redis(url)
    raise url.wrong("expected memory:// or redis://HOST:PORT/NUMBER")


def _sqlite(url: Url, folder: Path) -> dict[str, Any]:
    if (
        url.parts.netloc
        or url.parts.query
        or not url.path
        or url.path.endswith("/")
        or ":memory:" in url.path
    ):
        raise url.wrong("expected sqlite:////ABSOLUTE/PATH or sqlite:///PATH in the folder MESH_VAR")
    return {
        "ENGINE": SQLITE,
        "NAME": folder / url.path,
        "TEST": {"NAME": folder / "test.sqlite3"},  # a file: threads of a test share no database in memory
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": LOCK_SECONDS,  # to wait for the write lock; every write here is far shorter
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
                f" PRAGMA busy_timeout={LOCK_SECONDS * 1000};"
            ),
        },
    }


def _postgresql(url: Url) -> dict[str, Any]:
    if not url.path or "/" in url.path:
        raise url.wrong("expected the name of a database behind the host: postgres://USER@HOST:PORT/NAME")
    chosen = url.options(POSTGRESQL_OPTIONS)
    timeouts = {
        "statement_timeout": chosen.pop("statement_seconds", STATEMENT_SECONDS),
        "lock_timeout": chosen.pop("lock_seconds", LOCK_SECONDS),
        "idle_in_transaction_session_timeout": IDLE_TRANSACTION_SECONDS,
    }
    pool = {
        "min_size": 1,
        "max_size": chosen.pop("pool_max", POOL_MAX),
        "timeout": CONNECTION_WAIT_SECONDS,
        "reconnect_timeout": RECONNECT_SECONDS,
    }
    return {
        "ENGINE": POSTGRESQL,
        "NAME": url.path,
        "USER": unquote(url.parts.username or ""),
        "PASSWORD": unquote(url.parts.password or ""),
        "HOST": chosen.pop("host", "") or unquote(url.parts.hostname or ""),
        "PORT": str(url.port or ""),
        "CONN_MAX_AGE": 0,  # the pool keeps connections
        "CONN_HEALTH_CHECKS": True,  # one that died with a restart of the server is not given out
        "OPTIONS": {
            "pool": pool,
            "application_name": "meshboard",
            "connect_timeout": CONNECT_SECONDS,
            "keepalives_idle": SILENT_SECONDS,
            "tcp_user_timeout": SILENT_SECONDS * 1000,
            "options": " ".join(f"-c {name}={seconds}s" for name, seconds in timeouts.items()),
            **chosen,
        },
    }


def _redis(url: Url) -> dict[str, Any]:
    from redis.asyncio.retry import Retry  # 0.1 s that a process without Redis saves
    from redis.backoff import NoBackoff

    if not url.parts.hostname:
        raise url.wrong("expected a host: redis://HOST:PORT/NUMBER")
    if url.path and not (url.path.isascii() and url.path.isdigit() and int(url.path) < REDIS_DATABASES):
        raise url.wrong(f"expected a database number from 0 to {REDIS_DATABASES - 1} behind the host")
    prefix = url.options({"prefix": _prefix}).get("prefix", REDIS_PREFIX)
    host = {
        "address": url.parts._replace(query="").geturl(),
        "socket_connect_timeout": REDIS_SECONDS,
        "socket_timeout": REDIS_SECONDS,
        "health_check_interval": SILENT_SECONDS,
        "retry": Retry(NoBackoff(), 1),  # once, on a new connection: whoever waits for it holds up all others
    }
    return {"BACKEND": REDIS_LAYER, "CONFIG": {"hosts": [host], "prefix": prefix}}


def _number(least: int, most: int) -> Option:
    def read(url: Url, key: str, text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise url.wrong(f"{key}={text[:20]!r}: expected a number from {least} to {most}")
        return int(text)

    return read


def _ssl_mode(url: Url, key: str, text: str) -> str:
    if text not in SSL_MODES:
        raise url.wrong(f"{key}={text[:20]!r}: expected {', '.join(SSL_MODES)}")
    return text


def _file(url: Url, key: str, text: str) -> str:
    if not text.startswith("/"):
        raise url.wrong(f"{key}={text[:80]!r}: expected an absolute path")
    return text


def _prefix(url: Url, key: str, text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,40}", text):
        raise url.wrong(f"{key}={text[:40]!r}: expected 1 to 40 letters, digits, or _ . -")
    return text


POSTGRESQL_OPTIONS: Mapping[str, Option] = {
    "host": _file,  # the folder of the server's socket
    "lock_seconds": _number(1, SECONDS_ALLOWED),
    "pool_max": _number(POOL_MIN_ALLOWED, POOL_MAX_ALLOWED),
    "sslmode": _ssl_mode,
    "sslrootcert": _file,
    "statement_seconds": _number(0, SECONDS_ALLOWED),
}
