"""Which servers a PostgreSQL takes beside each other."""

from typing import Any

import pytest

from dashboard import engines as engine_settings
from dashboard.serving import company
from dashboard.serving.alone import AlreadyServed

pytestmark = pytest.mark.django_db(transaction=True)

REDIS, MEMORY = "redis://cache.example", "memory://"


def use(settings: Any, layer: str) -> None:
    settings.CHANNEL_LAYERS = {"default": engine_settings.channel_layer(layer)}


def test_servers_that_hear_each_other_are_admitted_together(settings: Any) -> None:
    use(settings, REDIS)

    with company.in_company(seconds=0), company.in_company(seconds=0):
        pass


@pytest.mark.parametrize(
    ("first", "second", "whose"),
    [
        (MEMORY, MEMORY, "and this one has no CHANNEL_LAYER_URL"),
        (REDIS, MEMORY, "and this one has no CHANNEL_LAYER_URL"),
        (MEMORY, REDIS, "which has no CHANNEL_LAYER_URL"),
    ],
)
def test_one_that_would_not_be_heard_is_refused_and_admitted_afterwards(
    settings: Any, first: str, second: str, whose: str
) -> None:
    use(settings, first)
    with company.in_company(seconds=0):
        use(settings, second)
        with pytest.raises(AlreadyServed, match=whose), company.in_company(seconds=0):
            pass

    with company.in_company(seconds=0):
        pass
