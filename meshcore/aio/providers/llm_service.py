"""The smallest service that offers chat: an echo when its model is named like one, else unavailable."""

from collections.abc import Iterator
from typing import Any

from meshcore.aio.chunk_stream import Chunks
from meshcore.aio.providers.base import Provider
from meshcore.aio.providers.echo import EchoProvider
from meshcore.aio.providers.unavailable import UnavailableProvider
from meshcore.capability import CallInfo, CapabilityDescriptor, RouteRequest
from meshcore.openai_wire import Operation

ECHO_PREFIXES = ("echo", "demo-")


class ChatHandler:
    """Hands calls of the bus to a provider; `stream` is the same for streamed answers."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider

    async def __call__(self, request: RouteRequest, call: CallInfo) -> dict[str, Any]:
        return await self._provider.call(request.capability, request.body, call)

    def stream(self, request: RouteRequest, call: CallInfo) -> Chunks:
        """Return the answer's chunks as they come."""
        return self._provider.stream(request.capability, request.body, call)


class LlmService:
    """Offers `llm.chat`. Without a model nothing answers: calls fail with `unavailable`."""

    def __init__(self, model: str = "", *, name: str = "llm") -> None:
        if model.startswith(ECHO_PREFIXES):
            self.provider: Provider = EchoProvider(name, (model,))
        else:
            self.provider = UnavailableProvider(name, (model,) if model else ())

    def capabilities(self) -> Iterator[tuple[CapabilityDescriptor, ChatHandler]]:
        """Yield what `CapabilityBus.register_service` registers."""
        handler = ChatHandler(self.provider)
        for descriptor in self.provider.descriptors():
            if descriptor.name == Operation.CHAT:
                yield descriptor, handler
