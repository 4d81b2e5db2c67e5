"""Every minute that is there already belongs to an hour that is still to be made."""

from typing import Any

from django.db import migrations
from django.db.models.functions import TruncHour


def mark_hours(apps: Any, schema_editor: Any) -> None:
    minutes = apps.get_model("dashboard", "MinuteRollup").objects
    mark = apps.get_model("dashboard", "HourMark")
    hours = minutes.annotate(hour=TruncHour("minute")).values_list("node_id", "hour").distinct()
    mark.objects.bulk_create(
        (mark(node_id=node_id, hour=hour) for node_id, hour in hours.order_by().iterator()),
        batch_size=300,
        ignore_conflicts=True,
    )


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0008_storage")]

    operations = [migrations.RunPython(mark_hours, migrations.RunPython.noop)]
