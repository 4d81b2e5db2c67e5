"""The state of the schema, for commands that would fail on an old one in the middle of their work."""

from django.core.management.base import CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor


def refuse_pending() -> None:
    """Raise CommandError when the database isn't at the newest migration."""
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    connection.close()  # the threads of what follows have their own
    if pending:
        raise CommandError(f"{len(pending)} migrations are not applied: run `python manage.py migrate` first")
