"""Django's command line for Meshboard."""

import os
import sys

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import Error as DatabaseError


def main() -> None:
    """Run the command named on the command line; a wrong setting or a broken database is one sentence.

    With Django's `--traceback` it is the whole story.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "dashboard.settings")
    try:
        execute_from_command_line(sys.argv)
    except (ImproperlyConfigured, DatabaseError) as exc:
        if "--traceback" in sys.argv:
            raise
        sys.exit(f"manage.py: {_sentence(exc)}")


def _sentence(exc: Exception) -> str:
    text = " ".join(str(exc).split())  # a database server's word may have several lines
    if isinstance(exc, DatabaseError):
        return f"the database {settings.DATABASES['default']['NAME']} can't be used: {text}"
    return text


if __name__ == "__main__":
    main()
