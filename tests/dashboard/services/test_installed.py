"""What migrations leave in place: the groups with what each may look at."""

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.base.introspection import BaseDatabaseIntrospection

from dashboard.services import installed

pytestmark = pytest.mark.django_db


def may(group: str) -> set[str]:
    """Return what a group may do in the admin."""
    return set(Group.objects.get(name=group).permissions.values_list("codename", flat=True))


def test_viewers_look_at_all_but_audit_and_tokens() -> None:
    assert {"view_node", "view_drain", "view_trace"} <= may("viewer")
    assert not {"view_auditentry", "view_controlhead", "view_token", "view_user"} & may("viewer")


@pytest.mark.parametrize("group", ["operator", "auditor"])
def test_operators_and_auditors_look_at_the_audit_too(group: str) -> None:
    assert "view_auditentry" in may(group)
    assert "view_token" not in may(group)


def test_admins_look_at_everything_and_keep_users() -> None:
    assert {"view_auditentry", "view_token", "add_user", "change_user", "view_user", "view_group"} <= may(
        "admin"
    )


@pytest.mark.parametrize("group", ["viewer", "operator", "auditor", "admin"])
def test_nobody_may_change_our_tables(group: str) -> None:
    users_alone = {"add_user", "change_user"}

    assert all(codename.startswith("view_") for codename in may(group) - users_alone)


def test_it_may_run_again_and_without_the_groups() -> None:
    config = apps.get_app_config("dashboard")
    Group.objects.get(name="auditor").delete()

    installed.after_migrate(config, DEFAULT_DB_ALIAS)

    assert "view_node" in may("viewer")
    assert not Group.objects.filter(name="auditor").exists()


def test_without_its_tables_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BaseDatabaseIntrospection, "table_names", lambda *_: [])

    installed.after_migrate(apps.get_app_config("dashboard"), DEFAULT_DB_ALIAS)
