"""How long history is kept: `MESH_RETENTION_…`, read strictly.

    MESH_RETENTION_TRACE_DAYS        7        traces of calls that went well at the first attempt
    MESH_RETENTION_FAILURE_DAYS      30       traces of failed calls and of those that failed over
    MESH_RETENTION_TRACES            5000000  traces in all; beyond, the oldest go early, the dull ones first
    MESH_RETENTION_TRANSITION_DAYS   30       changes of breakers
    MESH_RETENTION_HOUR_DAYS         400      hour rows of calls; minute rows are kept 48 h
    MESH_RETENTION_OUTBOX_DAYS       7        orders that have ended

Audit and drains are kept for ever, the change feed for an hour. What is misspelt stops the process.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured

PREFIX = "MESH_RETENTION_"
DAYS_MAX = 3660
TRACES_MIN, TRACES_MAX = 10_000, 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Days, 1 to 3 660, and a number of traces, 10 000 to a billion; raises ImproperlyConfigured."""

    trace_days: int = 7
    failure_days: int = 30
    traces: int = 5_000_000  # 3 GiB with their details
    transition_days: int = 30
    hour_days: int = 400
    outbox_days: int = 7

    def __post_init__(self) -> None:
        if self.failure_days < self.trace_days:
            least = f"{PREFIX}TRACE_DAYS={self.trace_days}"
            raise ImproperlyConfigured(f"{PREFIX}FAILURE_DAYS={self.failure_days}: expected at least {least}")


NAMES = {PREFIX + name.upper(): name for name in Retention.__slots__}


def parse(environment: Mapping[str, str]) -> Retention:
    """Return what the environment asks for; raises ImproperlyConfigured, also for a name that is none."""
    unknown = sorted(key for key in environment if key.startswith(PREFIX) and key not in NAMES)
    if unknown:
        raise ImproperlyConfigured(f"{unknown[0]}: unknown, expected one of {', '.join(sorted(NAMES))}")
    return Retention(
        **{name: _number(key, environment[key]) for key, name in NAMES.items() if key in environment}
    )


def _number(key: str, text: str) -> int:
    least, most = (TRACES_MIN, TRACES_MAX) if key == f"{PREFIX}TRACES" else (1, DAYS_MAX)
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
        raise ImproperlyConfigured(f"{key}={text[:20]!r}: expected a number from {least} to {most}")
    return int(text)
