"""What the bus asks of a provider."""

from collections.abc import Callable
from typing import Any, Protocol

from meshcore.aio.chunk_stream import Chunks
from meshcore.capability import CallInfo, CapabilityDescriptor


class Provider(Protocol):
    """Something that answers calls: a server that speaks the OpenAI wire, or a stand-in for one.

    Whatever library is behind it, only CallError leaves it, with the library's error as its cause.
    """

    name: str
    on_change: Callable[[], None] | None
    """Called when `descriptors` answers otherwise than before; set by whoever registered the provider."""

    def descriptors(self) -> list[CapabilityDescriptor]:
        """Return what it can do now."""

    async def call(self, capability: str, body: dict[str, Any], call: CallInfo) -> dict[str, Any]:
        """Return the whole answer as a bus result. Cancelling it closes what was opened for it."""

    def stream(self, capability: str, body: dict[str, Any], call: CallInfo) -> Chunks:
        """Return the answer's chunks as they come; an async generator will do."""

    async def probe(self) -> bool:
        """Return whether it is alive; an error that is raised says more than False."""

    async def start(self) -> None:
        """Open what is kept open between calls; a provider that can't be reached yet is no error."""

    async def close(self) -> None:
        """Close it."""
