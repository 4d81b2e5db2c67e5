"""The servers that tests stand on are what they are said to be."""

import psycopg
import pytest
import redis
from django.db import connection

from tests.engines.servers import Engines


@pytest.mark.django_db
def test_djangos_tests_run_on_postgresql() -> None:
    assert connection.vendor == "postgresql"


def test_the_database_is_there_and_nothing_is_in_it(engines: Engines) -> None:
    with psycopg.connect(engines.postgres_url) as database:
        found = database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()

    assert found == (0,)


def test_a_copy_of_a_database_has_what_it_had(engines: Engines) -> None:
    original = engines.new_database()
    with psycopg.connect(original) as database:
        database.execute("CREATE TABLE kept (n integer)")

    copy = engines.new_database(like=original)

    with psycopg.connect(copy) as database:
        assert database.execute("SELECT count(*) FROM kept").fetchone() == (0,)


def test_the_layer_answers(engines: Engines) -> None:
    with redis.Redis.from_url(engines.redis_url.partition("?")[0]) as layer:
        assert layer.ping()
