"""Commands that work for long don't begin on an old schema."""

import pytest
from django.core.management import CommandError, call_command

from dashboard.management import migrations

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_schema_that_is_behind_is_refused_by_number() -> None:
    migrations.refuse_pending()
    call_command("migrate", "sessions", "zero", verbosity=0)

    with pytest.raises(CommandError, match="1 migrations are not applied"):
        migrations.refuse_pending()

    call_command("migrate", "sessions", verbosity=0)
