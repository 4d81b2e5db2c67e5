"""What a machine must present again lives in files only its owner can read; and how the public URL decides
on safety.
"""

import ipaddress
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured


def read_or_make(folder: Path, name: str, *, random_bytes: int = 48) -> str:
    """Return the secret kept in `folder/name` (0600, folder 0700); made at random when there is none yet.

    Two processes that start at once get the same secret: whoever links the finished file first has made it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / name
    if not path.exists():
        _publish(path, secrets.token_urlsafe(random_bytes))
    return path.read_text().strip()


def _publish(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text + "\n")
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # the other process won; its secret counts
    finally:
        draft.unlink()


def secret_key(folder: Path) -> str:
    """Return Django's SECRET_KEY, from the environment (`MESH_SECRET_KEY`) or the file."""
    return os.environ.get("MESH_SECRET_KEY") or read_or_make(folder, "secret_key")


@dataclass(frozen=True, slots=True)
class MeshUrl:
    """The address people and nodes use, and what follows from it."""

    origin: str
    secure: bool
    loopback: bool
    host: str

    @classmethod
    def parse(cls, text: str, *, allow_plain_http: bool) -> "MeshUrl":
        """Return what `MESH_URL` says; raises ImproperlyConfigured where it would be unsafe."""
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/"):
            raise ImproperlyConfigured(
                f"MESH_URL={text!r}: expected http://HOST[:PORT] or https://HOST[:PORT]"
            )
        loopback = is_loopback(parts.hostname)
        if parts.scheme == "http" and not loopback and not allow_plain_http:
            raise ImproperlyConfigured(
                f"MESH_URL={text!r}: plain http beyond loopback sends passwords and tokens in the clear; "
                "use https:// or set MESH_ALLOW_PLAIN_HTTP=1"
            )
        return cls(f"{parts.scheme}://{parts.netloc}", parts.scheme == "https", loopback, parts.hostname)

    @property
    def allowed_hosts(self) -> list[str]:
        """Host names that requests may be addressed to."""
        return sorted({self.host, "127.0.0.1", "localhost", "[::1]"})


def networks(name: str, text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Return the networks that the setting `name` lists, comma-separated; raises ImproperlyConfigured."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        try:
            found.append(ipaddress.ip_network(entry))
        except ValueError as exc:
            raise ImproperlyConfigured(
                f"{name}: {exc}; expected addresses or networks like 127.0.0.1, 10.0.0.0/8"
            ) from exc
    return tuple(found)


def is_loopback(host: str) -> bool:
    """Return whether `host` names this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
