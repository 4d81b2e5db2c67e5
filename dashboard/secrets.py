"""What a machine must present again lives in files only its owner can read; and how the public URL decides
on safety. What is unsafe is refused at the start, in a sentence.
"""

import ipaddress
import math
import os
import secrets
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from django.core.exceptions import ImproperlyConfigured

OTHERS = 0o077  # the mode bits of everybody but the owner
MIN_CHARACTERS = 43  # of a secret: 256 random bits in base64
MIN_DISTINCT = 16
MIN_BITS = 128.0  # by Shannon's measure over the whole text
DEFAULT_PORTS = {"http": 80, "https": 443}


def read_or_make(folder: Path, name: str, *, random_bytes: int = 48) -> str:
    """Return the secret kept in `folder/name` (0600, folder 0700); made at random when there is none yet.

    Two processes that start at once get the same secret: whoever links the finished file first has made it.
    Raises ImproperlyConfigured when others could read the file, or its text is no secret.
    """
    path = folder / name
    try:
        for each in (folder.parent, folder):  # beside the secrets lies the database, with its sessions
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _publish(path, secrets.token_urlsafe(random_bytes))
        _refuse_open(folder, 0o700)
        _refuse_open(path, 0o600)
        secret = path.read_text().strip()
    except OSError as exc:
        raise ImproperlyConfigured(f"can't keep secrets in {folder}: {exc.strerror}") from exc
    if weakness := weakness_of(secret):
        raise ImproperlyConfigured(f"{path} holds no secret: {weakness}; remove it, and one is made")
    return secret


def refuse_open_files(folder: Path) -> None:
    """Raise ImproperlyConfigured when anybody but their owner could read the secrets kept in `folder`."""
    if not folder.exists():
        return
    _refuse_open(folder, 0o700)
    for path in sorted(folder.iterdir()):
        _refuse_open(path, 0o600)


def weakness_of(secret: str) -> str:
    """Return why a text can't be a secret, "" when it can: people choose what others guess."""
    if len(secret) < MIN_CHARACTERS:
        return f"{len(secret)} characters, expected at least {MIN_CHARACTERS}"
    counts = Counter(secret).values()
    if len(counts) < MIN_DISTINCT:
        return f"{len(counts)} different characters, expected at least {MIN_DISTINCT}"
    bits = -sum(count * math.log2(count / len(secret)) for count in counts)
    return f"{bits:.0f} bits, expected at least {MIN_BITS:.0f}" if bits < MIN_BITS else ""


def _refuse_open(path: Path, expected: int) -> None:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return  # another process replaced or removed it
    if mode & OTHERS:
        raise ImproperlyConfigured(
            f"{path} has mode {mode:04o}, so others on this machine can reach its secrets: expected "
            f"{expected:04o}; run `chmod {expected:o} {path}`, and replace what others may have read"
        )


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
    """Return Django's SECRET_KEY, from the environment (`MESH_SECRET_KEY`) or the file.

    Raises ImproperlyConfigured when it is weak, or anything in `folder` can be read by others.
    """
    refuse_open_files(folder)
    given = os.environ.get("MESH_SECRET_KEY", "")
    if given and (weakness := weakness_of(given)):
        raise ImproperlyConfigured(
            f"MESH_SECRET_KEY is no secret: {weakness}; leave it out, and one is made at random"
        )
    return given or read_or_make(folder, "secret_key")


@dataclass(frozen=True, slots=True)
class MeshUrl:
    """The address people and nodes use, and what follows from it."""

    origin: str  # as browsers write it: lower case, without the scheme's own port
    secure: bool
    loopback: bool
    host: str

    @classmethod
    def parse(cls, text: str, *, allow_plain_http: bool) -> "MeshUrl":
        """Return what `MESH_URL` says; raises ImproperlyConfigured where it would be unsafe."""
        parts = _split(text)
        if parts is None:
            raise ImproperlyConfigured(
                f"MESH_URL={text!r}: expected http://HOST[:PORT] or https://HOST[:PORT]"
            )
        host = parts.hostname or ""
        loopback = is_loopback(host)
        if parts.scheme == "http" and not loopback and not allow_plain_http:
            raise ImproperlyConfigured(
                f"MESH_URL={text!r}: plain http beyond loopback sends passwords and tokens in the clear; "
                "use https:// or set MESH_ALLOW_PLAIN_HTTP=1"
            )
        return cls(_origin(parts.scheme, host, parts.port), parts.scheme == "https", loopback, host)

    @property
    def allowed_hosts(self) -> list[str]:
        """Host names that requests may be addressed to."""
        return sorted({_bracketed(self.host), "127.0.0.1", "localhost", "[::1]"})


def _split(text: str) -> SplitResult | None:
    """Return the parts of a URL that is scheme, host and port alone, or None."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:  # half an IPv6 address, or a port beyond 65535
        return None
    is_plain = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    usable = parts.scheme in DEFAULT_PORTS and parts.hostname and port != 0 and is_plain
    return parts if usable else None


def _origin(scheme: str, host: str, port: int | None) -> str:
    name = f"{scheme}://{_bracketed(host)}"
    return name if port in (None, DEFAULT_PORTS[scheme]) else f"{name}:{port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


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
