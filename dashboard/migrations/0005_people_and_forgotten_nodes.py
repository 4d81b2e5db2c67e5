"""One-time passwords; nodes that were forgotten, whose names may be given again."""

import django.core.validators
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("dashboard", "0004_orders"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.CreateModel(
            name="OneTimePassword",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="one_time_password",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                ("given_at", models.DateTimeField()),
            ],
        ),
        migrations.AddField("node", "forgotten_at", models.DateTimeField(null=True)),
        migrations.AlterField(
            "node",
            "name",
            models.CharField(
                max_length=63,
                validators=[
                    django.core.validators.RegexValidator(
                        "^[a-z0-9][a-z0-9._-]{0,62}\\Z", "1 to 63 of a-z 0-9 . _ - and not a sign first"
                    )
                ],
            ),
        ),
        migrations.AddConstraint(
            "node",
            models.UniqueConstraint(
                fields=["name"], condition=models.Q(forgotten_at=None), name="one_node_of_a_name"
            ),
        ),
    ]
