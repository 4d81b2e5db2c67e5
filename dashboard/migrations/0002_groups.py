"""The four groups of people; what each may is in `services.rights`."""

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

GROUPS = ("viewer", "operator", "auditor", "admin")


def make_groups(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make those that aren't there."""
    group = apps.get_model("auth", "Group")
    for name in GROUPS:
        group.objects.using(schema_editor.connection.alias).get_or_create(name=name)


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0001_first"), ("auth", "0012_alter_user_first_name_max_length")]

    # Going back leaves them: people may be in them.
    operations = [migrations.RunPython(make_groups, migrations.RunPython.noop)]
