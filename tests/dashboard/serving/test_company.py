"""Who may serve an SQLite file; tests/engines has PostgreSQL."""

from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from dashboard import engines
from dashboard.serving import company
from dashboard.serving.alone import AlreadyServed


def test_hints_reach_others_over_redis_alone(settings: Any) -> None:
    assert not company.hears_others()

    settings.CHANNEL_LAYERS = {"default": engines.channel_layer("redis://cache.example")}

    assert company.hears_others()


@pytest.mark.sqlite
@pytest.mark.parametrize("layer", ["memory://", "redis://cache.example"])
def test_sqlite_takes_one_server_whatever_the_layer(
    settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, layer: str
) -> None:
    settings.CHANNEL_LAYERS = {"default": engines.channel_layer(layer)}
    monkeypatch.setitem(connection.settings_dict, "NAME", tmp_path / "mesh.sqlite3")

    with (
        company.in_company(),
        pytest.raises(AlreadyServed, match=r"mesh\.sqlite3\.lock"),
        company.in_company(seconds=0),
    ):
        pass

    with company.in_company(seconds=0):
        assert (tmp_path / "mesh.sqlite3.lock").exists()
