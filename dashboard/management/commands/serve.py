"""`manage.py serve`: the dashboard's web server."""

import socket
import sys
from argparse import ArgumentParser
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from channels.routing import get_default_application
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from dashboard import runtime
from dashboard.serving import listening
from dashboard.serving.alone import AlreadyServed, alone
from dashboard.serving.server import MeshServer


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

    def handle(self, *, host: str, port: int, fd: int | None, lifeline: bool, **options: Any) -> None:
        """Check, bind, serve."""
        _refuse_pending_migrations()
        try:
            with _listener(host, port, fd) as listener, _alone():
                _serve(listener, lifeline=lifeline)
        except (AlreadyServed, listening.CannotListen) as exc:
            raise CommandError(str(exc)) from exc


def _alone() -> AbstractContextManager[None]:
    """Keep a second server away from the database file while this one serves it."""
    file = Path(str(settings.DATABASES["default"]["NAME"]))
    return alone(file.with_name(f"{file.name}.lock"))


def _listener(host: str, port: int, fd: int | None) -> socket.socket:
    if fd is None:
        return listening.open_socket(host, port, mesh_url=settings.MESH_URL)
    return listening.adopt_socket(fd, mesh_url=settings.MESH_URL)


def _serve(listener: socket.socket, *, lifeline: bool) -> None:
    url = listening.url_of(listener)
    MeshServer(
        get_default_application(),
        listener=listener,
        lifetime=runtime.running,
        on_ready=lambda: print(f"ready {url}", flush=True),
        lifeline=sys.stdin.fileno() if lifeline else None,
    ).run()


def _refuse_pending_migrations() -> None:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    connection.close()  # the server's threads have their own
    if pending:
        raise CommandError(f"{len(pending)} migrations are not applied: run `python manage.py migrate` first")
