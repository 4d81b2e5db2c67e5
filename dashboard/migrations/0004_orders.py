"""Orders beside drains: overrides that end, guards that were overridden, and what is asked of a node once."""

import django.db.models.deletion
from django.db import migrations, models

STATES = [("waiting", "waiting"), ("done", "done"), ("failed", "failed")]


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0003_splices_and_strips")]

    operations = [
        migrations.AddField("desiredstate", "override_expires_at", models.DateTimeField(null=True)),
        migrations.AddField("drain", "override_guards", models.BooleanField(default=False)),
        migrations.AddField("drain", "blockers", models.JSONField(default=list)),
        migrations.CreateModel(
            name="OutboxRow",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("buffer_id", models.CharField(max_length=64, unique=True)),
                ("run_id", models.CharField(max_length=80)),
                ("log_prefix", models.CharField(max_length=6)),
                ("event", models.JSONField()),
                ("state", models.CharField(choices=STATES, default="waiting", max_length=8)),
                ("audit_n", models.PositiveBigIntegerField()),
                ("created_at", models.DateTimeField()),
                ("expires_at", models.DateTimeField()),
                (
                    "node",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="outbox",
                        to="dashboard.node",
                    ),
                ),
                ("connection_no", models.PositiveBigIntegerField(default=0)),
                ("sent_at", models.DateTimeField(null=True)),
                ("ended_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(fields=["state", "log_prefix"], name="outbox_by_log"),
                    models.Index(fields=["state", "expires_at"], name="outbox_by_expiry"),
                    models.Index(fields=["run_id", "-id"], name="outbox_by_run"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "waiting")),
                        fields=("run_id",),
                        name="one_waiting_cancel_per_run",
                    )
                ],
            },
        ),
        migrations.AddIndex(
            "desiredstate", models.Index(fields=["override_expires_at"], name="desired_by_expiry")
        ),
    ]
