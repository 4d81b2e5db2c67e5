"""A consumer that takes one message after the other, where Channels starts two tasks for each.

It needs no channel: whoever uses it hears of changes from the runtime.
"""

from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer


class PlainConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """Serves one socket; a method for each type of message, as for any consumer."""

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Serve a socket to its end."""
        self.scope, self.base_send = scope, send
        try:
            while True:
                await self.dispatch(await receive())
        except StopConsumer:
            return

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Handle a message here and now; Channels' own dispatch first hops into the shared thread."""
        await getattr(self, get_handler_name(message))(message)
