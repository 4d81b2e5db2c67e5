"""Splices and passed-over aliases beside a trace; breakers' changes by time, for the strips of all nodes."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0002_groups")]

    operations = [
        migrations.AddField("tracedetail", "splices", models.JSONField(default=list)),
        migrations.AddField("tracedetail", "alias_skips", models.JSONField(default=list)),
        migrations.AddIndex("transition", models.Index(fields=["-at"], name="transition_by_time")),
    ]
