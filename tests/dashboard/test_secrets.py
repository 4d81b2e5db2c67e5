"""Secrets in files, and what MESH_URL decides."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from dashboard.secrets import MeshUrl, networks, read_or_make, secret_key


def test_a_secret_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"

    first = read_or_make(folder, "mesh")

    assert read_or_make(folder, "mesh") == first
    assert len(first) >= 43
    assert stat.S_IMODE((folder / "mesh").stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert [path.name for path in folder.iterdir()] == ["mesh"]


def test_all_who_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        made = set(pool.map(lambda _: read_or_make(tmp_path, "mesh"), range(32)))

    assert len(made) == 1


def test_the_environment_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET_KEY", "given")

    assert secret_key(tmp_path) == "given"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("text", "secure", "loopback"),
    [
        ("http://127.0.0.1:8000", False, True),
        ("http://localhost:8000", False, True),
        ("http://[::1]:8000/", False, True),
        ("https://mesh.example", True, False),
    ],
)
def test_loopback_may_be_plain_and_the_world_is_https(text: str, secure: bool, loopback: bool) -> None:
    url = MeshUrl.parse(text, allow_plain_http=False)

    assert (url.secure, url.loopback) == (secure, loopback)
    assert url.origin == text.rstrip("/")


def test_plain_http_beyond_loopback_has_to_be_asked_for() -> None:
    with pytest.raises(ImproperlyConfigured, match="MESH_ALLOW_PLAIN_HTTP"):
        MeshUrl.parse("http://mesh.example", allow_plain_http=False)

    assert "mesh.example" in MeshUrl.parse("http://mesh.example", allow_plain_http=True).allowed_hosts


@pytest.mark.parametrize("text", ["", "mesh.example", "ftp://mesh.example", "https://mesh.example/board"])
def test_what_is_no_address_is_refused_by_its_value(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="MESH_URL="):
        MeshUrl.parse(text, allow_plain_http=False)


def test_networks_are_read_from_a_list_with_commas() -> None:
    found = networks("MESH_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,, ::1")

    assert [str(network) for network in found] == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]


def test_what_is_no_network_is_named_with_its_setting() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"MESH_TRUSTED_PROXIES: 10\.0\.0\.1/8 has host bits set"):
        networks("MESH_TRUSTED_PROXIES", "10.0.0.1/8")
