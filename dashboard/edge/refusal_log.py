"""Log lines about whom the edge refuses: strangers come as often as they like, and must not fill a disk."""

import logging

from meshcore.clock import Clock, monotonic

LINES = 20  # a minute; the audit trail has the rest, counted
WINDOW_SECONDS = 60.0


class RefusalLog:
    """Writes at most `lines` warnings in a window, then the number of those that it kept to itself.

    The number comes with the first refusal behind the window.
    """

    def __init__(self, logger: logging.Logger, *, clock: Clock = monotonic, lines: int = LINES) -> None:
        self._logger = logger
        self._clock = clock
        self._lines = lines
        self._since = clock()
        self._refused = 0  # in this window

    def warn(self, text: str, *values: object) -> None:
        """Write a line, or count it."""
        now = self._clock()
        if now - self._since >= WINDOW_SECONDS:
            self._say_how_many_more()
            self._since, self._refused = now, 0
        self._refused += 1
        if self._refused <= self._lines:
            self._logger.warning(text, *values)

    def _say_how_many_more(self) -> None:
        if self._refused > self._lines:
            self._logger.warning("%d more were refused and not logged", self._refused - self._lines)
