"""Traffic of the whole mesh by the minute."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0010_node_minutes")]

    operations = [
        migrations.CreateModel(
            name="MeshMinute",
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
                ("slot", models.PositiveSmallIntegerField()),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("minute", "slot"), name="one_row_per_minute_and_slot")
                ],
            },
        ),
    ]
