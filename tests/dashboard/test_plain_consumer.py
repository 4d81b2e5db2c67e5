"""Messages one after the other, until one ends it."""

import asyncio
from typing import Any

from channels.exceptions import StopConsumer

from dashboard.plain_consumer import PlainConsumer


class Echo(PlainConsumer):
    """Says what it hears; the first message takes its time."""

    async def websocket_receive(self, message: dict[str, Any]) -> None:
        if message["text"] == "slow":
            await asyncio.sleep(0)
        await self.base_send(message["text"])

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        raise StopConsumer


async def test_messages_are_handled_in_order_until_the_socket_ends() -> None:
    came: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said: list[str] = []

    async def send(text: str) -> None:
        said.append(text)

    for text in ("slow", "quick"):
        came.put_nowait({"type": "websocket.receive", "text": text})
    came.put_nowait({"type": "websocket.disconnect"})
    came.put_nowait({"type": "websocket.receive", "text": "too late"})

    await Echo()({"type": "websocket"}, came.get, send)

    assert said == ["slow", "quick"]
