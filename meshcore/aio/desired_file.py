"""`{home}/desired.json`: the dashboard's last order, kept where process and dashboard can't lose it."""

import logging
from pathlib import Path

from meshcore import desired
from meshcore.aio.atomic_file import replace_file
from meshcore.errors import FrameError
from meshcore.frames import Desired

logger = logging.getLogger(__name__)


class DesiredFile:
    """The stored desired state of the node whose files are in `home`."""

    def __init__(self, home: Path) -> None:
        self.path = home / "desired.json"

    def load(self) -> Desired:
        """Return what was stored last; generation 0 when nothing ever was.

        What can't be read is `desired.UNREADABLE`, which keeps the node out of service, and an error in
        the log.
        """
        try:
            return desired.decode(self.path.read_bytes())
        except FileNotFoundError:
            return Desired(generation=0)
        except (OSError, FrameError) as exc:
            logger.error(
                "draining, because %s can't be read (%s): the dashboard's next order replaces it;"
                " without a dashboard remove the file and restart the node",
                self.path,
                exc,
            )
            return desired.UNREADABLE

    def store(self, order: Desired) -> None:
        """Keep `order`, durably when this returns; raises OSError and keeps the former one then."""
        replace_file(self.path, desired.encode(order))
