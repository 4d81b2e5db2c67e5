"""Hour rows and marks; signatures of errors and reasons of refusals on thin rows; progress of removals."""

from django.db import migrations, models
from django.db.models import CASCADE, PROTECT, Q

HISTORY = ("traces", "transitions", "hours", "outbox")


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0007_runs")]

    operations = [
        migrations.CreateModel(
            name="ErrorSignature",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("text", models.CharField(max_length=200, unique=True)),
            ],
        ),
        migrations.CreateModel(
            name="Removal",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(choices=[(kind, kind) for kind in HISTORY], max_length=16, unique=True),
                ),
                ("removed", models.PositiveBigIntegerField(default=0)),
                ("early", models.PositiveBigIntegerField(default=0)),
                ("removed_at", models.DateTimeField(null=True)),
                ("swept_to", models.BigIntegerField(default=0)),
                ("counted_to", models.BigIntegerField(default=0)),
                ("counted", models.PositiveBigIntegerField(default=0)),
            ],
        ),
        migrations.AddField("node", "lost_items", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("node", "lost_at", models.DateTimeField(null=True)),
        # Both may be null, so that SQLite needn't write millions of rows anew.
        migrations.AddField("trace", "skipped", models.BigIntegerField(null=True)),
        migrations.AddField(
            "trace",
            "error_signature",
            models.ForeignKey(
                "dashboard.errorsignature",
                db_index=False,
                null=True,
                on_delete=PROTECT,
                related_name="traces",
            ),
        ),
        migrations.CreateModel(
            name="HourMark",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("hour", models.DateTimeField()),
                ("dirty", models.BooleanField(default=True)),
                ("sealed", models.BooleanField(default=False)),
                ("node", models.ForeignKey("dashboard.node", on_delete=CASCADE, related_name="hour_marks")),
            ],
            options={
                "constraints": [models.UniqueConstraint(fields=("node", "hour"), name="one_mark_per_hour")],
                "indexes": [
                    models.Index(condition=Q(dirty=True), fields=["hour"], name="hour_is_dirty"),
                    models.Index(condition=Q(dirty=False), fields=["hour"], name="hour_is_made"),
                ],
            },
        ),
        migrations.CreateModel(
            name="HourRollup",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("provider", models.CharField(max_length=100)),
                ("capability", models.CharField(max_length=100)),
                ("outcome", models.CharField(max_length=8)),
                ("count", models.PositiveBigIntegerField(default=0)),
                ("failovers", models.PositiveBigIntegerField(default=0)),
                ("counts", models.JSONField(default=dict)),
                ("histogram_version", models.PositiveSmallIntegerField(default=1)),
                ("hour", models.DateTimeField()),
                ("node", models.ForeignKey("dashboard.node", on_delete=CASCADE, related_name="hours")),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("node", "hour", "provider", "capability", "outcome"),
                        name="one_rollup_per_hour",
                    )
                ],
                "indexes": [models.Index(fields=["hour"], name="rollup_by_hour")],
            },
        ),
    ]
