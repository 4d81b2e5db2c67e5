"""Whether those who watch still may: asked of all together, now and then, and when rights change."""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress

from dashboard.live import entry, fanout
from dashboard.live.delivery import Delivery, Visitor
from dashboard.live.entry import Close, Wish
from dashboard.runtime import Runtime

logger = logging.getLogger(__name__)

RECHECK_SECONDS = 60.0  # a session that ran out ends its sockets this much later; one that was ended, at once
WISHES = 20  # asked at once: 3 queries each, so some 30 ms of a thread that renders, too


class Recheck:
    """See the module; pages of one kind that are open in one session are asked for once."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._runtime = delivery.hall.runtime

    async def run(self) -> None:
        """Ask again and again, until cancelled."""
        changed = (
            asyncio.Event()
        )  # somebody signed out, or may more or less than before: perhaps one of these
        unsubscribe = self._runtime.on_change("people", lambda ids, keys: changed.set())
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(RECHECK_SECONDS):
                        await changed.wait()
                changed.clear()
                await self._ask_of_all()
        finally:
            unsubscribe()

    async def _ask_of_all(self) -> None:
        asking: dict[Wish, list[Visitor]] = {}
        for visitor in self._delivery.visitors:
            asking.setdefault(visitor.wish, []).append(visitor)
        wishes = list(asking)
        for begin in range(0, len(wishes), WISHES):
            some = wishes[begin : begin + WISHES]
            for wish, refusal in zip(some, await self._refusals(some), strict=True):
                if refusal is not None:
                    for visitor in asking[wish]:
                        await self._delivery.close(visitor, refusal)

    async def _refusals(self, wishes: Sequence[Wish]) -> Sequence[Close | None]:
        try:
            return await self._runtime.in_render(_all_refusals, wishes)
        except Exception:
            logger.exception("%d live pages can't be rechecked, and are closed", len(wishes))
            return [Close.INTERNAL_ERROR] * len(wishes)


def _all_refusals(wishes: Sequence[Wish]) -> list[Close | None]:
    return [entry.refusal(wish) for wish in wishes]


_delivery: Delivery | None = None


def of(runtime: Runtime) -> Delivery:
    """Return the delivery of a runtime, made with its recheck when the first page opens."""
    global _delivery
    if _delivery is None or _delivery.hall.runtime is not runtime:
        _delivery = Delivery(fanout.of(runtime))
        runtime.along(Recheck(_delivery).run())
    return _delivery
