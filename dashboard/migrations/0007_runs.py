"""Runs, and an index that finds the calls of one."""

from django.db import migrations, models

STATUSES = ("queued", "running", "waiting", "cancelling", "completed", "failed", "cancelled")


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0006_audit_filters")]

    operations = [
        migrations.CreateModel(
            "Run",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("run_id", models.CharField(max_length=80, unique=True)),
                (
                    "status",
                    models.CharField(max_length=10, choices=[(status, status) for status in STATUSES]),
                ),
                ("reason", models.CharField(blank=True, default="", max_length=40)),
                ("owner", models.CharField(blank=True, default="", max_length=63)),
                ("epoch", models.PositiveIntegerField(default=0)),
                ("takeovers", models.PositiveIntegerField(default=0)),
                ("last_seq", models.PositiveBigIntegerField(default=0)),
                ("chunks", models.PositiveIntegerField(default=0)),
                ("capability", models.CharField(blank=True, default="", max_length=100)),
                ("model", models.CharField(blank=True, default="", max_length=200)),
                ("provider", models.CharField(blank=True, default="", max_length=100)),
                ("caller", models.CharField(blank=True, default="", max_length=100)),
                ("epochs", models.JSONField(default=list)),
                ("releases", models.PositiveIntegerField(default=0)),
                ("cancelled_by", models.CharField(blank=True, default="", max_length=150)),
                ("usage", models.JSONField(null=True)),
                ("created_at", models.DateTimeField(null=True)),
                ("first_heard_at", models.DateTimeField()),
                ("heard_at", models.DateTimeField()),
                ("ended_at", models.DateTimeField(null=True)),
                ("told", models.BooleanField(default=False)),
            ],
            options={"ordering": ["-id"]},
        ),
        migrations.AddField("node", "runs_more", models.PositiveIntegerField(default=0)),
        migrations.AddIndex("run", models.Index(fields=["owner", "-id"], name="run_by_owner")),
        migrations.AddIndex("run", models.Index(fields=["status", "-id"], name="run_by_status")),
        migrations.AddIndex(
            "run",
            models.Index(fields=["owner", "status"], condition=models.Q(ended_at=None), name="run_alive"),
        ),
        migrations.AddIndex(
            "trace",
            models.Index(fields=["run_id", "-id"], condition=~models.Q(run_id=""), name="trace_by_run"),
        ),
    ]
