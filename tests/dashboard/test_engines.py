"""What the URLs of engines mean, and that a wrong one is refused without telling a password."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from dashboard import engines

VAR = Path("/var/lib/meshboard")
PASSWORD = "hunter2-hunter2"


def database(text: str) -> dict[str, Any]:
    return engines.database(text, folder=VAR)


@pytest.mark.parametrize(
    ("url", "file"),
    [
        ("", VAR / "meshboard.sqlite3"),
        ("sqlite:///mesh.sqlite3", VAR / "mesh.sqlite3"),
        ("sqlite:////srv/my%20mesh.sqlite3", Path("/srv/my mesh.sqlite3")),
    ],
)
def test_sqlite_is_a_file_of_the_state_or_anywhere(url: str, file: Path) -> None:
    found = database(url)

    assert (found["ENGINE"], found["NAME"]) == (engines.SQLITE, file)


def test_postgresql_is_who_where_and_what() -> None:
    found = database("postgres://mesh:p%40ss%2Fword@db.example:5433/meshboard")

    named = {key: found[key] for key in ("ENGINE", "NAME", "USER", "PASSWORD", "HOST", "PORT")}
    assert named == {
        "ENGINE": engines.POSTGRESQL,
        "NAME": "meshboard",
        "USER": "mesh",
        "PASSWORD": "p@ss/word",
        "HOST": "db.example",
        "PORT": "5433",
    }


def test_postgresql_has_a_bounded_pool_and_nothing_waits_for_ever() -> None:
    found = database("postgresql://db.example/meshboard")

    assert found["CONN_MAX_AGE"] == 0  # the pool insists
    assert found["CONN_HEALTH_CHECKS"]
    assert found["OPTIONS"]["pool"]["max_size"] == engines.POOL_MAX
    assert found["OPTIONS"]["application_name"] == "meshboard"
    assert found["OPTIONS"]["options"] == (
        "-c statement_timeout=30s -c lock_timeout=5s -c idle_in_transaction_session_timeout=15s"
    )


def test_options_of_postgresql_take_effect() -> None:
    found = database(
        "postgres:///mesh?host=/run/postgresql&pool_max=40&statement_seconds=0&lock_seconds=9&sslmode=verify-full"
        "&sslrootcert=/etc/ca.pem"
    )

    options = found["OPTIONS"]
    assert found["HOST"] == "/run/postgresql"
    assert options["pool"]["max_size"] == 40
    assert "statement_timeout=0s" in options["options"]
    assert "lock_timeout=9s" in options["options"]
    assert (options["sslmode"], options["sslrootcert"]) == ("verify-full", "/etc/ca.pem")


@pytest.mark.parametrize("url", ["", "memory://"])
def test_without_a_word_the_layer_is_in_memory(url: str) -> None:
    assert engines.channel_layer(url) == {"BACKEND": engines.MEMORY_LAYER}


def test_redis_is_an_address_and_a_prefix() -> None:
    found = engines.channel_layer(f"redis://:{PASSWORD}@cache.example:6380/2?prefix=mesh.blue")

    [host] = found["CONFIG"]["hosts"]
    assert found["BACKEND"] == engines.REDIS_LAYER
    assert host["address"] == f"redis://:{PASSWORD}@cache.example:6380/2"
    assert found["CONFIG"]["prefix"] == "mesh.blue"


def test_redis_over_tls_has_our_prefix_unless_told() -> None:
    found = engines.channel_layer("rediss://cache.example")

    assert found["CONFIG"]["hosts"][0]["address"] == "rediss://cache.example"
    assert found["CONFIG"]["prefix"] == engines.REDIS_PREFIX


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://db.example/mesh", "expected sqlite:///PATH or postgres://"),
        ("meshboard.sqlite3", "expected sqlite:///PATH or postgres://"),
        ("sqlite://", "expected sqlite:////ABSOLUTE/PATH"),
        ("sqlite:///:memory:", "expected sqlite:////ABSOLUTE/PATH"),
        ("sqlite://mesh.sqlite3", "expected sqlite:////ABSOLUTE/PATH"),
        ("sqlite:///a?mode=ro", "expected sqlite:////ABSOLUTE/PATH"),
        ("postgres://db.example", "expected the name of a database"),
        ("postgres://db.example/a/b", "expected the name of a database"),
        ("postgres://db.example:five/mesh", "expected a port from 0 to 65535"),
        ("postgres://db.example:70000/mesh", "expected a port from 0 to 65535"),
        ("postgres://[::1/mesh", "expected a port from 0 to 65535, and IPv6 addresses in brackets"),
        ("postgres://db.example/mesh#1", "'#' has no meaning here; in a password it is %23"),
        ("postgres://db.example/my mesh", "expected no spaces"),
        ("postgres://db.example/mesh?pool=5", "unknown option 'pool', expected host, lock_seconds, pool_max"),
        ("postgres://db.example/mesh?pool_max=3", "pool_max='3': expected a number from 8 to 100"),
        ("postgres://db.example/mesh?pool_max=", "pool_max='': expected a number from 8 to 100"),
        ("postgres://db.example/mesh?pool_max=9&pool_max=9", "the option pool_max is there twice"),
        ("postgres://db.example/mesh?sslmode=on", "sslmode='on': expected disable, allow, prefer"),
        ("postgres://db.example/mesh?host=db", "host='db': expected an absolute path"),
    ],
)
def test_a_database_that_is_none_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^DATABASE_URL=") as refusal:
        database(url)

    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("amqp://mq.example", "expected memory:// or redis://HOST:PORT/NUMBER"),
        ("memory://here", "expected nothing behind memory://"),
        ("redis:///0", "expected a host"),
        ("redis://cache.example/mesh", "expected a database number from 0 to 1023"),
        ("redis://cache.example?prefix=a%20b", "prefix='a b': expected 1 to 40 letters, digits, or _ . -"),
        ("redis://cache.example?db=1", "unknown option 'db', expected prefix"),
    ],
)
def test_a_layer_that_is_none_is_refused(url: str, complaint: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^CHANNEL_LAYER_URL=") as refusal:
        engines.channel_layer(url)

    assert complaint in str(refusal.value)


@pytest.mark.parametrize(
    "url",
    [
        f"postgres://mesh:{PASSWORD}@db.example:five/mesh",
        f"postgres://mesh:{PASSWORD}/mesh",
        f"postgres://mesh:{PASSWORD}#1@db.example/mesh",
        f"postgres://mesh:a/{PASSWORD}@db.example/mesh",
        f"postgres://mesh@db.example/mesh?password={PASSWORD}",
        f"postgresqll://mesh:{PASSWORD}@db.example/mesh",
        f"mesh:{PASSWORD}",
        PASSWORD,
        f"postgres://mesh:{PASSWORD}@[::1/mesh",
    ],
)
def test_no_refusal_tells_a_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        database(url)

    assert PASSWORD not in str(refusal.value)
    assert PASSWORD not in str(refusal.value.__cause__)


def test_a_refusal_shows_what_is_no_secret() -> None:
    with pytest.raises(ImproperlyConfigured) as refusal:
        database(f"postgres://mesh:{PASSWORD}@db.example:5432?pool_max=9")

    assert str(refusal.value).startswith("DATABASE_URL='postgres://***@db.example:5432': ")


@given(st.text() | st.builds("postgres://{}".format, st.text()) | st.builds("sqlite:///{}".format, st.text()))
def test_any_text_is_an_engine_or_refused(text: str) -> None:
    for read in (database, engines.channel_layer):
        with suppress(ImproperlyConfigured):
            assert read(text).keys() & {"ENGINE", "BACKEND"}
