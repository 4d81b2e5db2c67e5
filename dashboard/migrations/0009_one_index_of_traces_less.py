"""Traces had two indexes that begin with the node; each costs every trace that is stored."""

from django.db import migrations, models

INDEX = "dashboard_trace_node_id_ff75402f"


class Migration(migrations.Migration):
    dependencies = [("dashboard", "0008_storage_marks")]

    operations = [
        migrations.SeparateDatabaseAndState(
            # not by AlterField: SQLite would write the whole table anew
            database_operations=[
                migrations.RunSQL(
                    f'DROP INDEX IF EXISTS "{INDEX}"',
                    f'CREATE INDEX "{INDEX}" ON "dashboard_trace" ("node_id")',
                )
            ],
            state_operations=[
                migrations.AlterField(
                    model_name="trace",
                    name="node",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=models.deletion.CASCADE,
                        related_name="traces",
                        to="dashboard.node",
                    ),
                )
            ],
        )
    ]
