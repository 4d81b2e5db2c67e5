"""`manage.py serve`: the dashboard's web server."""

import gc
import logging
import socket
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from channels.routing import get_default_application
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection

from dashboard import runtime
from dashboard.management import descriptors, migrations
from dashboard.services import ballast
from dashboard.services.housekeeping import JOBS, Job
from dashboard.serving import company, listening
from dashboard.serving.alone import AlreadyServed
from dashboard.serving.limits import Limits
from dashboard.serving.server import MeshServer

logger = logging.getLogger(__name__)

COLLECT_AFTER = (10_000, 10, 10)  # objects, collections of the youngest, of those (Python's own: 700, 10, 10)


class Command(BaseCommand):
    """Serve pages, API and links until SIGTERM or Ctrl-C; prints "ready URL" when it does."""

    help = "Serve the dashboard: pages, API and the links to nodes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to listen."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="0 is any free one (default: %(default)s)")
        parser.add_argument("--fd", type=int, help="file descriptor of a listening TCP socket, instead")
        parser.add_argument(
            "--lifeline",
            action="store_true",
            help="stop when standard input ends: for supervisors that must not leave a server behind",
        )
        parser.add_argument(
            "--no-worker",
            action="store_false",
            dest="worker",
            help="leave the housekeeping to a `manage.py worker`",
        )

    def handle(
        self, *, host: str, port: int, fd: int | None, lifeline: bool, worker: bool, **options: Any
    ) -> None:
        """Check, bind, serve."""
        migrations.refuse_pending()
        if not worker and not company.hears_others():
            raise CommandError(
                "--no-worker needs a worker that pages hear of: set CHANNEL_LAYER_URL to redis://…"
            )
        jobs = [job for job in JOBS if worker or job.of_process]
        try:
            with _listener(host, port, fd) as listener, company.in_company(), _ballast():
                _serve(listener, jobs, lifeline=lifeline)
        except (AlreadyServed, listening.CannotListen) as exc:
            raise CommandError(str(exc)) from exc


def _listener(host: str, port: int, fd: int | None) -> socket.socket:
    if fd is None:
        return listening.open_socket(host, port, mesh_url=settings.MESH_URL)
    return listening.adopt_socket(fd, mesh_url=settings.MESH_URL)


def _ballast() -> AbstractContextManager[object]:
    if connection.vendor != "sqlite":
        return nullcontext()
    return ballast.beside(Path(str(connection.settings_dict["NAME"])))


def _serve(listener: socket.socket, jobs: Sequence[Job], *, lifeline: bool) -> None:
    limits = Limits()
    if (fit := descriptors.allow(limits.connections)) < limits.connections:
        logger.warning("the limit of open files allows %d of %d connections", fit, limits.connections)
        limits = replace(limits, connections=max(fit, 1))
    url = listening.url_of(listener)
    MeshServer(
        get_default_application(),
        listener=listener,
        limits=limits,
        lifetime=partial(runtime.running, jobs=jobs),
        on_ready=lambda: _ready(url),
        lifeline=sys.stdin.fileno() if lifeline else None,
    ).run()


def _ready(url: str) -> None:
    """Say that it serves. What is there by now stays: collections, which stop every thread, pass over it.

    They come more rarely, too: with a thousand links much lives long, and nearly all that doesn't is freed
    without them.
    """
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    print(f"ready {url}", flush=True)
