"""System checks: they fail where a guard is missing."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection
from django.db.backends.base.introspection import BaseDatabaseIntrospection

from dashboard import checks
from dashboard.services import audit_triggers


@pytest.mark.django_db
def test_a_guarded_database_passes() -> None:
    call_command("check", databases=["default"])


@pytest.mark.django_db
def test_a_database_without_triggers_fails_and_says_what_to_do() -> None:
    audit_triggers.remove(connection)

    with pytest.raises(SystemCheckError, match=r"audit_refuses_delete(.|\n)*migrate --skip-checks"):
        call_command("check", databases=["default"])


@pytest.mark.django_db
def test_a_database_before_its_first_migration_is_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseDatabaseIntrospection, "table_names", lambda *_: [])

    assert checks.check_audit_triggers(databases=["default"]) == []


def test_a_check_without_a_database_looks_at_none() -> None:
    assert checks.check_audit_triggers(databases=None) == []


@pytest.mark.parametrize(
    ("secure", "loopback", "found"),
    [(True, False, []), (False, True, []), (False, False, ["meshboard.W001"])],
)
def test_plain_http_beyond_loopback_is_warned_of(
    secure: bool, loopback: bool, found: list[str], settings: Any
) -> None:
    settings.MESH_URL = SimpleNamespace(secure=secure, loopback=loopback)

    assert [message.id for message in checks.check_settings()] == found


def test_debug_is_an_error(settings: Any) -> None:
    settings.DEBUG = True

    assert [message.id for message in checks.check_settings()] == ["meshboard.E002"]


@pytest.mark.parametrize(
    ("mode", "secure", "proxies", "found"),
    [
        (0o700, False, (), []),
        (0o700, True, ("127.0.0.1/32",), []),
        (0o700, True, (), ["meshboard.I001"]),
        (0o755, False, (), ["meshboard.W002"]),
    ],
)
def test_a_deployment_is_told_what_it_lacks(
    mode: int, secure: bool, proxies: tuple[str, ...], found: list[str], settings: Any, tmp_path: Path
) -> None:
    tmp_path.chmod(mode)
    settings.VAR_DIR = tmp_path
    settings.MESH_URL = SimpleNamespace(secure=secure)
    settings.MESH_TRUSTED_PROXIES = proxies

    assert [message.id for message in checks.check_deployment()] == found
