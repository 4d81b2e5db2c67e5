"""The local marker's content: what it says, and when it no longer counts (drain-and-control §1).

Presence means drain. A marker that can't be understood drains, too; only what is surely left over is stale.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from meshcore.drain import DrainInfo, DrainSource

MAX_AGE_SECONDS = 3600.0  # rewriting is a keep-alive; whoever stopped doing so has gone
MAX_BYTES = 64 << 10  # a marker has some hundred; what is longer isn't one, and drains like any garbled one


@dataclass(frozen=True, slots=True)
class Witness:
    """Who looks at a marker: this boot of the machine, this process, and when; "" is unknown."""

    boot_epoch: str
    instance_id: str
    now: datetime


def payload(
    *, principal: str, reason: str, sticky: bool, instance_id: str, boot_epoch: str, now: datetime
) -> dict[str, Any]:
    """Return the content of a new marker; `instance_id` binds it to one process, "" to none."""
    content: dict[str, Any] = {
        "action": "drain",
        "principal": principal,
        "reason": reason,
        "sticky": sticky,
        "requested_at": now.isoformat(),
        "boot_epoch": boot_epoch,
    }
    if instance_id:
        content["instance_id"] = instance_id
    return content


def encode(content: Mapping[str, Any]) -> bytes:
    """Return the bytes of a marker file."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def decode(data: bytes) -> dict[str, Any]:
    """Return the content of a marker file; `{}` for everything that is no JSON object of a marker's size."""
    if len(data) > MAX_BYTES:
        return {}
    try:
        return msgspec.json.decode(data, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}


def why_stale(content: Mapping[str, Any], witness: Witness) -> str:
    """Return why the marker no longer counts, or "" when it does."""
    bound_to = _text(content, "instance_id")
    if bound_to and witness.instance_id and bound_to != witness.instance_id:
        return "made for another process of this node"
    if content.get("sticky") is True:
        return ""
    epoch = _text(content, "boot_epoch")
    if epoch and witness.boot_epoch and epoch != witness.boot_epoch:
        return "made before the machine was started anew"
    asked = requested_at(content)
    if asked is not None and (witness.now - asked).total_seconds() > MAX_AGE_SECONDS:
        return f"older than {MAX_AGE_SECONDS:g} s"
    return ""


def requested_at(content: Mapping[str, Any]) -> datetime | None:
    """Return when the marker was written, or None when that is missing or garbled; a naive time is UTC."""
    try:
        moment = datetime.fromisoformat(_text(content, "requested_at"))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def drain_info(content: Mapping[str, Any]) -> DrainInfo:
    """Return how the readout names the drain that this marker asks for."""
    return DrainInfo(
        source=DrainSource.LOCAL,
        since=requested_at(content),
        by=_text(content, "principal")[:200],
        reason=_text(content, "reason")[:1000] if content else "the marker can't be read as JSON",
        sticky=content.get("sticky") is True,
    )


def _text(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    return value if isinstance(value, str) else ""
