"""Opens the log that a URL names."""

from pathlib import Path

from meshcore.aio.runlog.base import RunLog
from meshcore.aio.runlog.memory import MemoryLog
from meshcore.aio.runlog.sqlite import SqliteLog
from meshcore.clock import UtcNow, utcnow
from meshcore.config_sections import Sync
from meshcore.errors import ConfigError

MEMORY = "memory:"
SQLITE = "sqlite:///"
NATS = "nats://"
ALLOWED = f"{MEMORY}, {SQLITE}relative/path, {SQLITE}/absolute/path or nats://host:port"


async def open_run_log(url: str, *, sync: Sync = Sync.PROCESS, now: UtcNow = utcnow) -> RunLog:
    """Return the log at `url`.

    Raises ConfigError for a URL of another form, EngineGone when it can't be opened.
    """
    if url == MEMORY:
        return MemoryLog(now=now)
    if url.startswith(NATS):
        from meshcore.aio.runlog.jetstream import JetStreamLog  # only who needs NATS loads its client

        return await JetStreamLog.open(url)
    path = url.removeprefix(SQLITE)
    if path not in (url, ""):
        return await SqliteLog.open(Path(path), sync=sync, now=now)
    raise ConfigError(f"runs.log={url!r}: expected {ALLOWED}")
