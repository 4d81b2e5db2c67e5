"""Asks several providers the same thing at once (bus-and-breaker §1, "call_all").

Each provider's answer is a call of its own in traces and numbers; those of one scatter share their trace id.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from meshcore.aio.dispatch import Dispatcher
from meshcore.aio.exchange import Exchange
from meshcore.clock import Clock
from meshcore.errors import CallError
from meshcore.journey import Journey
from meshcore.openai_wire import usage_of
from meshcore.routing import Ranked
from meshcore.trace import RoutingTrace

PROVIDERS_MAX = 8  # the best of more

Answer = tuple[str, dict[str, Any]]
"""Node id and result."""


class Scatter:
    """Sends calls of a node side by side; `finished` takes the end of each."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        exchange: Exchange,
        *,
        clock: Clock,
        finished: Callable[[Journey, CallError | None], RoutingTrace],
    ) -> None:
        self._dispatcher = dispatcher
        self._exchange = exchange
        self._clock = clock
        self._finished = finished

    async def call(self, begin: Callable[[], Journey], *, draining: bool) -> list[Answer]:
        """Return the answers of all that gave one, the best candidate's first; `begin` begins a call.

        Nobody to ask is no answer, and no error.
        """
        choice = self._dispatcher.choose(begin(), self._clock(), draining=draining)
        asked = choice.ordered[:PROVIDERS_MAX]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._ask(begin(), ranked)) for ranked in asked]
        return [answer for task in tasks if (answer := task.result()) is not None]

    async def _ask(self, journey: Journey, ranked: Ranked) -> Answer | None:
        lease = self._dispatcher.take(journey, ranked, self._clock())
        if lease is None:
            return None  # its trial went to another call in between
        try:
            result = await self._exchange.call(lease, journey)
        except CallError as exc:
            self._dispatcher.failed(lease, journey, exc)
            self._finished(journey, journey.broken(exc))
            return None
        except asyncio.CancelledError:
            self._dispatcher.abandoned(lease, journey, journey.cancelled())
            self._finished(journey, journey.cancelled())
            raise
        self._dispatcher.succeeded(lease, journey)
        journey.answered(result.get("model"), usage_of(result))
        trace = self._finished(journey, None)
        stamp = {"_routed_via": trace.routed_via, "_trace_id": trace.trace_id}
        return ranked.entry.node_id, {**result, **stamp}
