"""Traffic of whole nodes by the minute."""

from django.db import migrations, models
from django.db.models import CASCADE


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0009_one_index_of_traces_less")]

    operations = [
        migrations.CreateModel(
            name="NodeMinute",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("minute", models.DateTimeField()),
                ("calls", models.PositiveBigIntegerField(default=0)),
                ("errors", models.PositiveBigIntegerField(default=0)),
                ("failovers", models.PositiveBigIntegerField(default=0)),
                ("counts", models.JSONField(default=dict)),
                ("node", models.ForeignKey("dashboard.node", on_delete=CASCADE, related_name="all_minutes")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("node", "minute"), name="one_row_per_node_minute")
                ],
                "indexes": [models.Index(fields=["minute"], name="node_minute_by_time")],
            },
        ),
    ]
