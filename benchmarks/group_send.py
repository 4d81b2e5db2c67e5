"""The limit of `live`: sockets in one group of the in-memory channel layer, one of which sends to all.

    python -m benchmarks.group_send PORT

What a socket says is sent to every one, as it is, behind a filling as long as what a page gets.
"""

import sys
from typing import Any

from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer
from daphne.server import Server
from django.conf import settings

GROUP = "bench"
FILLING = "." * 4000  # about what one node's cells and those of the whole mesh are


class Socket(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """One socket."""

    async def websocket_connect(self, message: dict[str, Any]) -> None:
        """Join the group."""
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.send({"type": "websocket.accept"})

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        """Send what was said to all."""
        await self.channel_layer.group_send(GROUP, {"type": "tell", "text": FILLING + message["text"]})

    async def tell(self, message: dict[str, Any]) -> None:
        """Pass on what somebody said."""
        await self.send({"type": "websocket.send", "text": message["text"]})

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        """Leave."""
        await self.channel_layer.group_discard(GROUP, self.channel_name)
        raise StopConsumer


def main(port: str) -> None:
    """Serve until killed."""
    layer = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
    settings.configure(CHANNEL_LAYERS=layer)
    Server(Socket.as_asgi(), endpoints=[f"tcp:port={port}:interface=127.0.0.1"], signal_handlers=True).run()


if __name__ == "__main__":
    main(sys.argv[1])
