"""`{home}/peers.json`: the peers that a dashboard named last, for a start at which it is away."""

import logging
from pathlib import Path

from meshcore.aio.atomic_file import replace_file
from meshcore.errors import FrameError
from meshcore.peers import KnownPeer, decode_known, encode_known

logger = logging.getLogger(__name__)

FILE_MAX_BYTES = 1 << 18  # 128 peers are below 150 KB; a longer file isn't ours


class PeersFile:
    """The remembered peers of the node whose files are in `home`."""

    def __init__(self, home: Path) -> None:
        self.path = home / "peers.json"

    def load(self) -> tuple[KnownPeer, ...]:
        """Return what was remembered; nothing, and an error in the log, when it can't be read."""
        try:
            with self.path.open("rb") as file:
                return decode_known(file.read(FILE_MAX_BYTES))
        except FileNotFoundError:
            return ()
        except (OSError, FrameError) as exc:
            logger.error(
                "starting without the peers in %s, which can't be read (%s):"
                " the dashboard's next word replaces it",
                self.path,
                exc,
            )
            return ()

    def store(self, peers: tuple[KnownPeer, ...]) -> None:
        """Remember these, durably when this returns; raises OSError and keeps the former ones then."""
        replace_file(self.path, encode_known(peers))
