"""Where the audit chain begins after a rotation; an index for each of the audit page's filters."""

from django.db import migrations, models

KINDS = ("user", "token", "node", "system", "stranger")


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0005_people_and_forgotten_nodes")]

    operations = [
        migrations.AddField("controlhead", "start_n", models.PositiveBigIntegerField(default=0)),
        migrations.AddField("controlhead", "start_hash", models.CharField(max_length=64, default="0" * 64)),
        migrations.AlterField(
            "auditentry",
            "actor_kind",
            models.CharField(max_length=8, choices=[(kind, kind) for kind in KINDS]),
        ),
        migrations.AddIndex("auditentry", models.Index(fields=["outcome", "-n"], name="audit_by_outcome")),
        migrations.AddIndex("auditentry", models.Index(fields=["at", "n"], name="audit_by_time")),
    ]
