"""`manage.py worker`: the housekeeping in a process of its own, beside `serve --no-worker`."""

import asyncio
import signal
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from dashboard import runtime
from dashboard.management import migrations
from dashboard.serving import company


class Command(BaseCommand):
    """End what is over and delete what is old until SIGTERM or Ctrl-C; prints "ready" when it does."""

    help = "Do the housekeeping that else each `serve` does: end what is over, delete what is old."

    def handle(self, **options: Any) -> None:
        """Check, then work."""
        migrations.refuse_pending()
        if not company.hears_others():
            raise CommandError(
                "beside an in-memory channel layer a worker changes what no page hears of: set "
                "CHANNEL_LAYER_URL to redis://…, or leave the work to `serve`"
            )
        asyncio.run(_work())


async def _work() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with runtime.running(serving=False):
        print("ready", flush=True)
        await stop.wait()
