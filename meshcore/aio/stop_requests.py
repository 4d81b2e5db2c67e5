"""How a process is told to stop: by a signal, by a second one that won't wait, by the end of its lifeline.

And how it is told to read its aliases again: by SIGHUP.
"""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
READ_BYTES = 4096


class StopRequests:
    """`stop` is set by the first request, `hurry` by the second one: then nothing in flight is waited for.

    `hangup` is set by SIGHUP, and cleared by whoever does what it asks.
    """

    def __init__(self) -> None:
        self.stop = asyncio.Event()
        self.hurry = asyncio.Event()
        self.hangup = asyncio.Event()

    def request(self, why: str) -> None:
        """Take a request."""
        logger.info("stopping: %s", why)
        (self.hurry if self.stop.is_set() else self.stop).set()

    @contextmanager
    def listening(self, *, lifeline: bool = False) -> Iterator[None]:
        """Take signals while the context lasts, with `lifeline` the end of standard input too.

        Raises OSError when that input is no pipe.
        """
        loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            loop.add_signal_handler(number, self.request, number.name)
        loop.add_signal_handler(signal.SIGHUP, self._hang_up)
        try:
            if lifeline:
                self._hold_lifeline(sys.stdin.fileno())
            yield
        finally:
            for number in (*STOP_SIGNALS, signal.SIGHUP):
                loop.remove_signal_handler(number)
            if lifeline:
                loop.remove_reader(sys.stdin.fileno())

    def _hang_up(self) -> None:
        logger.info("SIGHUP: the aliases are read again")
        self.hangup.set()

    def _hold_lifeline(self, descriptor: int) -> None:
        try:
            asyncio.get_running_loop().add_reader(descriptor, self._read_lifeline, descriptor)
        except PermissionError as exc:  # epoll's word for a file that is always ready
            raise OSError("lifeline: expected standard input to be a pipe") from exc

    def _read_lifeline(self, descriptor: int) -> None:
        if not os.read(descriptor, READ_BYTES):
            asyncio.get_running_loop().remove_reader(descriptor)
            self.request("the supervisor has gone")
