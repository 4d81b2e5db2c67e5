"""Which boot of which machine, or which life of a container, this process belongs to."""

from pathlib import Path

PROC = Path("/proc")
START_TIME_FIELD = 22  # of /proc/PID/stat, counted from 1: clock ticks after boot
FIELDS_BEFORE_STATE = 2  # pid and name; the name may hold spaces, so counting begins behind its bracket


def boot_epoch(proc: Path = PROC) -> str:
    """Return `<boot id>:<start time of pid 1>`, or "" when that can't be read.

    It is the same after a restart of this process, and another one after a reboot or in a new container.
    """
    try:
        boot_id = (proc / "sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        behind_name = (proc / "1/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return f"{boot_id}:{behind_name[START_TIME_FIELD - FIELDS_BEFORE_STATE - 1]}"
    except (OSError, UnicodeDecodeError, IndexError):
        return ""
