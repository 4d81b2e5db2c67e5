"""Time comes from here, by injection; the only file of the pure ring that reads the computer's clocks.

Monotonic seconds measure durations and deadlines and never leave the process. What is stored or sent is an
aware UTC `datetime`.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial

Clock = Callable[[], float]
"""Returns monotonic seconds; only differences mean anything."""

UtcNow = Callable[[], datetime]
"""Returns the present as an aware UTC datetime."""

monotonic: Clock = time.monotonic


utcnow: UtcNow = partial(datetime.now, UTC)
