"""`manage.py serve`: the dashboard's web server."""

from argparse import ArgumentParser
from typing import Any

from channels.routing import get_default_application
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from dashboard import runtime
from dashboard.serving import listening
from dashboard.serving.server import MeshServer


class Command(BaseCommand):
    """Serve pages, API and links until SIGTERM or Ctrl-C; prints "ready URL" when it does."""

    help = "Serve the dashboard: pages, API and the links to nodes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Where to listen."""
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="0 is any free one (default: %(default)s)")
        parser.add_argument("--fd", type=int, help="file descriptor of a listening TCP socket, instead")

    def handle(self, *, host: str, port: int, fd: int | None, **options: Any) -> None:
        """Check, bind, serve."""
        _refuse_pending_migrations()
        try:
            listener = (
                listening.open_socket(host, port, mesh_url=settings.MESH_URL)
                if fd is None
                else listening.adopt_socket(fd, mesh_url=settings.MESH_URL)
            )
        except listening.CannotListen as exc:
            raise CommandError(str(exc)) from exc
        url = listening.url_of(listener)
        MeshServer(
            get_default_application(),
            listener=listener,
            lifetime=runtime.running,
            on_ready=lambda: print(f"ready {url}", flush=True),
        ).run()


def _refuse_pending_migrations() -> None:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    connection.close()  # the server's threads have their own
    if pending:
        raise CommandError(f"{len(pending)} migrations are not applied: run `python manage.py migrate` first")
