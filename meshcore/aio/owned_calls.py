"""Calls for runs that this node owns: they pass its own gate, and may ask for the rest of an answer."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from meshcore.aio.bus_stream import BusStream
from meshcore.aio.dispatch import Dispatcher
from meshcore.aio.exchange import Exchange
from meshcore.capability import RouteRequest
from meshcore.clock import Clock
from meshcore.errors import CallError
from meshcore.journey import Journey
from meshcore.splice import Begun


class Resumption(NamedTuple):
    """An answer that `node` began with `model`, and that somebody is to go on with."""

    begun: Begun
    model: str
    node: str


class CarryOut(Protocol):
    """Makes a call, from its first attempt to its result."""

    async def __call__(self, journey: Journey, *, draining: bool) -> dict[str, Any]: ...


class OwnedCalls:
    """See the module; one bus has one of it."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        exchange: Exchange,
        *,
        begin: Callable[[RouteRequest], Journey],
        carry_out: CarryOut,
        finished: Callable[[Journey, CallError | None], object],
        clock: Clock,
    ) -> None:
        self._dispatcher = dispatcher
        self._exchange = exchange
        self._begin = begin
        self._carry_out = carry_out
        self._finished = finished
        self._clock = clock

    def obstacle(self, request: RouteRequest, resumption: Resumption | None = None) -> CallError | None:
        """Return why nobody could serve a call now, None when somebody could."""
        journey = self._journey(request, resumption)
        choice = self._dispatcher.choose(journey, self._clock(), draining=False)
        if choice.ordered:
            return None
        journey.saw(choice)
        return journey.surfaced(journey.question(draining=False))

    def stream(
        self, request: RouteRequest, resumption: Resumption | None = None, *, continues: bool
    ) -> BusStream:
        """Return the chunks of an answer, or of its rest; `continues`: others may go on where one breaks."""
        return BusStream(
            self._journey(request, resumption),
            self._dispatcher,
            self._exchange,
            clock=self._clock,
            draining=False,
            refusal=None,
            finished=self._finished,
            continues=continues,
            begun=resumption.begun if resumption else None,
        )

    async def call(self, request: RouteRequest) -> dict[str, Any]:
        """Return the result of a call that isn't streamed, an error result included."""
        return await self._carry_out(self._journey(request, None), draining=False)

    def _journey(self, request: RouteRequest, resumption: Resumption | None) -> Journey:
        journey = self._begin(request)
        if resumption is not None:
            journey.resumes(resumption.begun, model=resumption.model, node=resumption.node)
        return journey
