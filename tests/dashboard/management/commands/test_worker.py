"""`manage.py worker` says when it can't help; tests/engines sees it work."""

from typing import Any

import pytest
from django.core.management import CommandError, call_command

from dashboard import engines

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_worker_that_no_page_would_hear_is_refused(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": engines.channel_layer("memory://")}

    with pytest.raises(
        CommandError, match=r"set CHANNEL_LAYER_URL to redis://…, or leave the work to `serve`"
    ):
        call_command("worker")


def test_a_server_does_not_leave_the_work_to_one_that_nobody_would_hear(settings: Any) -> None:
    settings.CHANNEL_LAYERS = {"default": engines.channel_layer("memory://")}

    with pytest.raises(CommandError, match="--no-worker needs a worker that pages hear of"):
        call_command("serve", "--no-worker")
