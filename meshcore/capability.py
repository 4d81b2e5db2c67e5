"""What a node can do, and what a call asks for (bus-and-breaker §1).

Matching has one rule for local and remote providers: majors equal and the offered minor not lower; params
key by key, where None and "" ask nothing, `model` must be offered, `provider` pins one provider by name,
and any other key refuses only when it is offered with another value.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from meshcore.errors import FrameError

Version = tuple[int, int]
"""(major, minor)."""

CAPABILITIES_MAX = (
    1000  # in one manifest; a catalogue of models is one capability, so real ones have a handful
)
HOPS_MAX = 4  # nodes on a call's path
_VERSION = re.compile(r"(0|[1-9]\d{0,5})\.(0|[1-9]\d{0,5})", re.ASCII)


class CapabilityDescriptor(msgspec.Struct, frozen=True, kw_only=True):
    """One capability of one provider: `params` say which models and limits; times in seconds."""

    name: str
    version: Version = (1, 0)
    provider: str = ""
    params: dict[str, Any] = {}
    max_concurrent: int = 1
    timeout_seconds: float = 60.0
    restartable: bool = True


class RouteRequest(msgspec.Struct, frozen=True):
    """A call on its way. `deadline_ms` is absolute, in this process's monotonic milliseconds; 0 = the bus's
    default.

    `caller` is the calling node between nodes, else the name of the client's key; `path` are the nodes that
    the call has left, oldest first.
    """

    capability: str
    version_req: Version
    body: dict[str, Any]
    caller: str = ""
    trace_id: str = ""
    session_id: str | None = None
    deadline_ms: float = 0.0
    stream: bool = False
    path: tuple[str, ...] = ()
    traceparent: str = ""
    run_id: str = ""  # of the run that it executes; stays on this node

    def params(self) -> dict[str, Any]:
        """Return what the body asks of a provider; {} when it asks nothing."""
        params = self.body.get("params")
        return params if isinstance(params, dict) else {}


class CallInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is told of the attempt that it serves."""

    trace_id: str
    capability: str
    caller: str
    deadline: float  # of the whole call, monotonic seconds by the node's clock
    timeout_seconds: float  # of this attempt; of a stream until its first token
    model: str = ""  # "": the provider's default
    stream: bool = False
    traceparent: str = ""


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


def parse_version(text: str) -> Version:
    """Return "major.minor" as a pair; raises FrameError for anything else."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise FrameError(f"version={text!r}: expected major.minor, like 1.0")
    return int(match[1]), int(match[2])


def version_serves(offered: Version, requested: Version) -> bool:
    """Return whether an offered version serves a requested one."""
    return offered[0] == requested[0] and offered[1] >= requested[1]


def offered_models(params: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the models that offered params name, the default first."""
    default = params.get("model")
    catalogue = tuple(params.get("models") or ())
    if not default:
        return catalogue
    return (default, *(model for model in catalogue if model != default))


def asked_model(params: Mapping[str, Any]) -> str:
    """Return the model that requested params name, or ""."""
    model = params.get("model")
    return model if isinstance(model, str) else ""


def params_match(offered: CapabilityDescriptor, requested: Mapping[str, Any]) -> bool:
    """Return whether a capability can do what the requested params ask."""
    for key, value in requested.items():
        if value is None or value == "":
            continue
        if key == "model":
            if value != offered.params.get("model") and value not in (offered.params.get("models") or ()):
                return False
        elif key == "provider":
            if value != offered.provider:
                return False
        elif key in offered.params and offered.params[key] != value:
            return False
    return True


def parse_manifest(raw: bytes | Mapping[str, Any] | Manifest) -> Manifest:
    """Return a manifest that is right as a whole, or raise FrameError that names what is wrong.

    A mapping may leave out `node_id` when its sender is known otherwise.
    """
    manifest = raw if isinstance(raw, Manifest) else _decode_manifest(raw)
    if len(manifest.capabilities) > CAPABILITIES_MAX:
        raise FrameError(f"capabilities: {len(manifest.capabilities)}, expected at most {CAPABILITIES_MAX}")
    for place, offer in enumerate(manifest.capabilities):
        try:
            _check_offer(offer)
        except FrameError as exc:
            raise FrameError(f"capabilities[{place}].{exc}") from exc
    return manifest


def describe(offer: Offer) -> CapabilityDescriptor:
    """Return the descriptor of a peer's offer."""
    return CapabilityDescriptor(
        name=offer.name,
        version=parse_version(offer.version),
        provider=offer.provider,
        params=offer.params,
        max_concurrent=offer.max_concurrent,
    )


def _decode_manifest(raw: bytes | Mapping[str, Any]) -> Manifest:
    try:
        if isinstance(raw, bytes):
            return msgspec.json.decode(raw, type=Manifest)
        return msgspec.convert({"node_id": "", **raw}, Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise FrameError(f"manifest: {exc}") from exc


def _check_offer(offer: Offer) -> None:
    parse_version(offer.version)
    if not 1 <= len(offer.name) <= 100:
        raise FrameError(f"name={offer.name[:100]!r}: expected 1 to 100 characters")
    if offer.max_concurrent < 1:
        raise FrameError(f"max_concurrent={offer.max_concurrent!r}: expected at least 1")
    model, models = offer.params.get("model"), offer.params.get("models")
    if model is not None and not isinstance(model, str):
        raise FrameError(f"params.model={str(model)[:100]!r}: expected a text")
    if models is not None and not (isinstance(models, list) and all(isinstance(m, str) for m in models)):
        raise FrameError("params.models: expected a list of strings")
