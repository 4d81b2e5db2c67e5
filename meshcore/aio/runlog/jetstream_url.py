"""Where a log in JetStream is, by its URL: nats://host:port?prefix=mesh&replicas=1"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from meshcore.errors import ConfigError

PORT = 4222
REPLICAS_MAX = 5  # JetStream's own bound
_PREFIX = re.compile(r"[a-z][a-z0-9_-]{0,31}")
ALLOWED = (
    "nats://HOST:PORT, with ?prefix= (a letter, then letters, digits, _ and -; 32 at most) "
    f"and replicas= (1 to {REPLICAS_MAX}) if wanted"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A server, and the names that a log has on it."""

    host: str
    port: int = PORT
    prefix: str = "mesh"
    replicas: int = 1

    @classmethod
    def parse(cls, url: str) -> Self:
        """Return the place at `url`. Raises ConfigError."""
        try:
            parts = urlsplit(url)
            given = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
            port, replicas = parts.port or PORT, int(given.pop("replicas", "1"))
        except ValueError:
            raise _wrong(url) from None
        prefix = given.pop("prefix", "mesh")
        fits = parts.scheme == "nats" and parts.hostname and parts.path in ("", "/") and not given
        if not fits or not _PREFIX.fullmatch(prefix) or not 1 <= replicas <= REPLICAS_MAX:
            raise _wrong(url)
        return cls(host=parts.hostname or "", port=port, prefix=prefix, replicas=replicas)

    @property
    def server(self) -> str:
        """The server's address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nats://{host}:{self.port}"

    @property
    def runs(self) -> str:
        """Name of the stream of records."""
        return f"{self.prefix.upper()}_RUNS"

    @property
    def state(self) -> str:
        """Name of the stream of hints and beats."""
        return f"{self.prefix.upper()}_STATE"

    def subject(self, kind: str, name: str = "") -> str:
        """Return the subject of one thing of a kind."""
        return f"{self.prefix}.{kind}.{name}" if name else f"{self.prefix}.{kind}"


def _wrong(url: str) -> ConfigError:
    return ConfigError(f"runs.log={url!r}: expected {ALLOWED}")
