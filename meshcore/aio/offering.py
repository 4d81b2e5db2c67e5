"""What can be registered with a bus: services, plain handlers, providers; and how each serves an entry."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any, Protocol

import msgspec

from meshcore.capability import CallInfo, CapabilityDescriptor, RouteRequest
from meshcore.openai_wire import Chunk
from meshcore.registry import Handler, Registry, StreamHandler

AnyHandler = Callable[..., Awaitable[dict[str, Any]]]
"""`handler(request)` or `handler(request, call)` -> result."""

AnyStreamHandler = Callable[..., AsyncIterator[Chunk]]


class Service(Protocol):
    """Offers capabilities as (descriptor, handler[, params_compatible]); a handler may have `.stream`."""

    def capabilities(self) -> Iterable[tuple[Any, ...]]:
        """Return what it offers."""


class Provider(Protocol):
    """What the bus asks of a provider; `name` is the key of its breaker, only CallError leaves it."""

    name: str
    on_change: Callable[[], None] | None

    def descriptors(self) -> list[CapabilityDescriptor]:
        """Return what it can do now; `on_change` is called when that changes."""

    async def call(self, capability: str, body: dict[str, Any], call: CallInfo) -> dict[str, Any]:
        """Return the whole answer."""

    def stream(self, capability: str, body: dict[str, Any], call: CallInfo) -> AsyncIterator[Chunk]:
        """Yield the answer as it comes."""


def takes_call_info(handler: Callable[..., Any]) -> bool:
    """Return whether a handler wants to know of its attempt (time, model) beside the request."""
    kinds = [parameter.kind for parameter in inspect.signature(handler).parameters.values()]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return inspect.Parameter.VAR_POSITIONAL in kinds or sum(kind in positional for kind in kinds) > 1


def adapt(handler: AnyHandler) -> Handler:
    """Return a handler of a service as an entry's."""
    if takes_call_info(handler):
        return handler
    return lambda request, _: handler(request)


def adapt_stream(handler: AnyStreamHandler | None) -> StreamHandler | None:
    """Return a streaming handler of a service as an entry's."""
    if handler is None or takes_call_info(handler):
        return handler
    return lambda request, _: handler(request)


def handlers_of(provider: Provider) -> tuple[Handler, StreamHandler]:
    """Return what serves a provider's capabilities."""

    def serve(request: RouteRequest, call: CallInfo) -> Awaitable[dict[str, Any]]:
        return provider.call(request.capability, request.body, call)

    def stream(request: RouteRequest, call: CallInfo) -> AsyncIterator[Chunk]:
        return provider.stream(request.capability, request.body, call)

    return serve, stream


def offer(provider: Provider, registry: Registry) -> None:
    """Let a registry offer what a provider can do now, and nothing else of that provider."""
    serve, stream = handlers_of(provider)
    offered = []
    for descriptor in provider.descriptors():
        named = msgspec.structs.replace(descriptor, provider=provider.name)
        offered.append(registry.register_local(named, serve, stream=stream).key)
    for entry in registry.all_local():
        if entry.descriptor.provider == provider.name and entry.key not in offered:
            registry.deregister_local(entry.key)
