"""What every `migrate` puts in place: audit triggers, and what each group may look at in the admin."""

from typing import Any

from django.apps import AppConfig
from django.contrib.auth.models import Group, Permission
from django.db import connections

from dashboard.models import AuditEntry
from dashboard.services import audit_triggers
from dashboard.services.rights import OF_GROUP, GroupName, Right

TABLES_OF_RIGHT = {  # the other tables are open to everybody who may read
    Right.AUDIT_READ: ("auditentry", "controlhead"),
    Right.ADMIN: ("token", "onetimepassword"),
}
PEOPLE = (
    "add_user",
    "change_user",
    "view_user",
    "view_group",
)  # whoever leaves is made inactive, not deleted


def after_migrate(sender: AppConfig, using: str, **_: Any) -> None:
    """Put all of it in place; does nothing where it is. Connected to `post_migrate` of the dashboard."""
    connection = connections[using]
    if AuditEntry._meta.db_table not in connection.introspection.table_names():
        return  # migrated back to nothing
    audit_triggers.install(connection)
    for name in GroupName:
        group = Group.objects.using(using).filter(name=name.value).first()
        if group is not None:
            group.permissions.add(*_permissions_of(name, using))


def _permissions_of(name: GroupName, using: str) -> list[Permission]:
    rights = OF_GROUP[name]
    hidden = {table for right, tables in TABLES_OF_RIGHT.items() if right not in rights for table in tables}
    permissions = Permission.objects.using(using).select_related("content_type")
    seen = permissions.filter(content_type__app_label="dashboard", codename__startswith="view_")
    wanted = [permission for permission in seen if permission.content_type.model not in hidden]
    if Right.ADMIN in rights:
        wanted += permissions.filter(content_type__app_label="auth", codename__in=PEOPLE)
    return wanted
