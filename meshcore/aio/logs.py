"""How a process of ours logs: one event a line on standard error, for people on a terminal, else as JSON."""

import logging
import sys
from typing import TextIO

import structlog
from structlog.typing import Processor


def set_up_logs(stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
    """Send everything that is logged from `level` up to `stream` (default: standard error)."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.stdlib.ExtraAdder(),
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *_rendering(stream.isatty()),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)


def _rendering(for_people: bool) -> list[Processor]:
    if for_people:
        return [structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
