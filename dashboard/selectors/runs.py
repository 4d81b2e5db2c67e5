"""Runs as a list and one by one."""

from dashboard.models import Run


def named(*, run_id: str) -> Run | None:
    """Return one run, or None; one query."""
    return Run.objects.filter(run_id=run_id).first()
