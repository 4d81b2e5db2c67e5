"""Who runs a management command."""

import getpass
import os

from dashboard.services import actor
from dashboard.services.actor import Actor


def whoever_runs_this() -> Actor:
    """Return the account on this machine as actor; by number where it has no name, as in many containers."""
    try:
        login = getpass.getuser()
    except (KeyError, OSError):
        login = str(os.getuid())
    return actor.of_shell(login)
