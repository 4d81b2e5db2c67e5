"""A request to stop that a signal's handler may make at any moment.

`threading.Event` takes a lock that its own waiter may hold just then, in the very thread that the handler
interrupts: Ctrl-C would hang it for ever. Writing to a pipe takes none.
"""

import contextlib
import os
import select


class StopRequest:
    """Is set once, and stays set."""

    def __init__(self) -> None:
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._writing, False)

    def set(self) -> None:
        """Ask to stop; again changes nothing."""
        with contextlib.suppress(BlockingIOError):  # the pipe is full of requests
            os.write(self._writing, b"!")

    def is_set(self) -> bool:
        """Whether somebody asked."""
        return self.wait(0)

    def wait(self, seconds: float) -> bool:
        """Wait until somebody asks, at most `seconds`; whether somebody did."""
        readable, _, _ = select.select([self._reading], [], [], seconds)
        return bool(readable)
