"""A provider that is there and never answers: for tests and demos of what a mesh does about it."""

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Any, NoReturn

from meshcore.capability import CallInfo, CapabilityDescriptor
from meshcore.errors import CallError, Code
from meshcore.openai_wire import Chunk, Operation


class UnavailableProvider:
    """Offers everything, fails with `unavailable`."""

    def __init__(self, name: str, models: Sequence[str] = (), *, max_concurrent: int = 64) -> None:
        self.name = name
        self.on_change: Callable[[], None] | None = None
        self._models = tuple(models)
        self._max_concurrent = max_concurrent

    def descriptors(self) -> list[CapabilityDescriptor]:
        """Return every operation; without models it offers any."""
        params = {"model": self._models[0], "models": list(self._models)} if self._models else {}
        return [
            CapabilityDescriptor(
                name=operation, provider=self.name, params=params, max_concurrent=self._max_concurrent
            )
            for operation in Operation
        ]

    async def call(self, capability: str, body: dict[str, Any], call: CallInfo) -> dict[str, Any]:
        """Raise CallError(unavailable)."""
        self._fail()

    async def stream(
        self, capability: str, body: dict[str, Any], call: CallInfo
    ) -> AsyncGenerator[Chunk, None]:
        """Raise CallError(unavailable) before the first chunk."""
        self._fail()
        yield  # type: ignore[unreachable]  # makes it the generator that the bus expects

    async def probe(self) -> bool:
        """Return False."""
        return False

    async def start(self) -> None:
        """Open nothing."""

    async def close(self) -> None:
        """Close nothing."""

    def _fail(self) -> NoReturn:
        raise CallError(Code.UNAVAILABLE, f"provider {self.name} is unavailable")
