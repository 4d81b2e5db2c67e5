"""System checks: the audit trail is guarded by the database, and no setting opens a door by accident."""

import stat
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, register
from django.core.checks import Warning as CheckWarning
from django.db import connections

from dashboard.models import AuditEntry
from dashboard.secrets import OTHERS
from dashboard.services import audit_triggers


@register(Tags.database)
def check_audit_triggers(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """Fail where entries could be changed; silent before the first migration."""
    return [message for alias in databases or () for message in _triggers_of(alias)]


@register(Tags.security)
def check_settings(**_: Any) -> list[CheckMessage]:
    """Warn of settings that are fine for trying things out and for nothing else."""
    found: list[CheckMessage] = []
    if settings.DEBUG:
        found.append(Error("DEBUG is on: its error pages show settings and data.", id="meshboard.E002"))
    if not settings.MESH_URL.secure and not settings.MESH_URL.loopback:
        found.append(
            CheckWarning(
                "Passwords and tokens cross the network in the clear (MESH_ALLOW_PLAIN_HTTP).",
                hint="Put TLS in front and set MESH_URL to its https:// address.",
                id="meshboard.W001",
            )
        )
    return found


@register(Tags.security, deploy=True)
def check_deployment(**_: Any) -> list[CheckMessage]:
    """Say what an installation that others reach should have besides."""
    found: list[CheckMessage] = []
    if stat.S_IMODE(settings.VAR_DIR.stat().st_mode) & OTHERS:
        found.append(
            CheckWarning(
                f"Others on this machine can read {settings.VAR_DIR}: its database holds sessions.",
                hint=f"Run `chmod 700 {settings.VAR_DIR}`.",
                id="meshboard.W002",
            )
        )
    if settings.MESH_URL.secure and not settings.MESH_TRUSTED_PROXIES:
        found.append(
            Info(
                "No proxy is trusted, so everybody has the address of the one that speaks https for us: "
                "in the audit, for the login throttle, for the networks of tokens.",
                hint="Set MESH_TRUSTED_PROXIES to its address, as 127.0.0.1 or 10.0.0.0/8.",
                id="meshboard.I001",
            )
        )
    return found


def _triggers_of(alias: str) -> list[CheckMessage]:
    connection = connections[alias]
    if AuditEntry._meta.db_table not in connection.introspection.table_names():
        return []
    missing = audit_triggers.missing(connection)
    if not missing:
        return []
    return [
        Error(
            f"The database lets audit entries be changed: {', '.join(missing)} missing or changed.",
            hint="Run `manage.py verify_audit`, then `manage.py migrate --skip-checks`: it installs them.",
            id="meshboard.E001",
        )
    ]
