"""What a node can do, and what a call asks for (bus-and-breaker §1)."""

from typing import Any

import msgspec

Version = tuple[int, int]
"""(major, minor)."""


class CapabilityDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    """One capability of one provider: `params` say which models and limits; times in seconds."""

    name: str
    version: Version = (1, 0)
    provider: str = ""
    params: dict[str, Any] = {}
    max_concurrent: int = 1
    timeout_seconds: float = 60.0
    restartable: bool = True


class Offer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A capability as a manifest lists it; `version` is "major.minor"."""

    name: str
    version: str = "1.0"
    provider: str = ""
    params: dict[str, Any] = {}
    max_concurrent: int = 1
    available: bool = True  # False while the offering node's own breaker refuses it


class Manifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a node says of itself to peers and dashboard; `url` is where peers reach it."""

    node_id: str
    community: str = "default"
    url: str = ""
    log_id: str = ""
    version: str = ""  # of the software
    draining: bool = False
    capabilities: tuple[Offer, ...] = ()
