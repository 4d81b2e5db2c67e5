"""The local marker file: `{home}/.drain_request.json`, whose presence asks a node to drain (§1).

Anybody on the machine may write it; no dashboard is needed, and the link never touches it. What it means is
in `drain_request`.
"""

import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

from meshcore import drain_request
from meshcore.aio.atomic_file import replace_file
from meshcore.aio.boot import boot_epoch
from meshcore.clock import utcnow
from meshcore.drain_request import Witness

logger = logging.getLogger(__name__)


def drain_request_path(home: Path | str) -> Path:
    """Return where the marker of the node with this home is."""
    return Path(home) / ".drain_request.json"


def write_drain_request(
    home: Path | str,
    principal: str = "drain-control",
    reason: str = "",
    sticky: bool = False,
    instance_id: str = "",
) -> dict[str, Any]:
    """Ask the node to drain and return the marker's content; writing it again keeps it from growing stale.

    A sticky marker outlives reboots and never grows old; `instance_id` binds one to a single process. Raises
    OSError.
    """
    content = drain_request.payload(
        principal=principal,
        reason=reason,
        sticky=sticky,
        instance_id=instance_id,
        boot_epoch=boot_epoch(),
        now=utcnow(),
    )
    replace_file(drain_request_path(home), drain_request.encode(content))
    return content


def clear_drain_request(home: Path | str) -> bool:
    """Remove the marker; False when there was none. Never raises."""
    try:
        drain_request_path(home).unlink()
    except FileNotFoundError:
        return False
    except OSError as exc:
        logger.error("the drain marker can't be removed: %s", exc)
        return False
    return True


def read_drain_request(home: Path | str) -> dict[str, Any] | None:
    """Return the marker's content, `{}` when it is no JSON object, None without a marker. Never raises."""
    try:
        return look(home)
    except OSError as exc:
        logger.error("the drain marker can't be read: %s", exc)
        return None


def drain_requested(home: Path | str) -> bool:
    """Return whether the marker asks for a drain now: it is there and not stale. Never raises."""
    content = read_drain_request(home)
    return content is not None and not is_stale(home, content, Witness(boot_epoch(), "", utcnow()))


def look(home: Path | str) -> dict[str, Any] | None:
    """Return as `read_drain_request` does; raises OSError when nobody can know whether it is there."""
    try:
        with drain_request_path(home).open("rb") as file:
            return drain_request.decode(file.read(drain_request.MAX_BYTES + 1))
    except FileNotFoundError:
        return None


def is_stale(home: Path | str, content: dict[str, Any], witness: Witness) -> bool:
    """Return whether a marker no longer counts, and say so once."""
    why = drain_request.why_stale(content, witness)
    if why:
        _warn_of_stale(drain_request_path(home), str(content.get("requested_at")), why)
    return bool(why)


@lru_cache(maxsize=16)
def _warn_of_stale(path: Path, requested_at: str, why: str) -> None:
    # Cached, so that a marker that lies about is said once and not with every look at it.
    logger.warning("ignoring the drain marker %s of %s: %s", path, requested_at, why)
