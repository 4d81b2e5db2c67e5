"""Secrets in files, and what MESH_URL decides."""

import secrets
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from dashboard.secrets import MeshUrl, networks, read_or_make, refuse_open_files, secret_key, weakness_of


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
    given = secrets.token_urlsafe(48)
    monkeypatch.setenv("MESH_SECRET_KEY", given)

    assert secret_key(tmp_path) == given
    assert not list(tmp_path.iterdir())


def test_a_secret_that_somebody_chose_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESH_SECRET_KEY", "changeme")
    (tmp_path / "mesh_secret").touch(mode=0o600)

    with pytest.raises(ImproperlyConfigured, match="MESH_SECRET_KEY is no secret: 8 characters"):
        secret_key(tmp_path)
    with pytest.raises(ImproperlyConfigured, match="mesh_secret holds no secret: 0 characters"):
        read_or_make(tmp_path, "mesh_secret")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 characters"),
        ("a1B2c3" * 7, "42 characters"),
        ("a" * 60, "1 different"),
        ("ab" * 30, "2 different"),
        ("0123456789" * 5, "10 different"),
        ("abcdefghijklmnop" + "a" * 30, "bits"),
    ],
)
def test_what_a_person_would_choose_is_weak(text: str, why: str) -> None:
    assert why in weakness_of(text)


def test_what_the_machine_makes_is_not_weak() -> None:
    assert [weakness_of(secrets.token_urlsafe(32)) for _ in range(200)] == [""] * 200


@pytest.mark.parametrize(("folder_mode", "file_mode"), [(0o755, 0o600), (0o700, 0o640), (0o700, 0o604)])
def test_secrets_that_others_can_reach_are_refused_with_the_way_out(
    tmp_path: Path, folder_mode: int, file_mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MESH_SECRET_KEY", raising=False)
    folder = tmp_path / "secrets"
    read_or_make(folder, "mesh_secret")
    (folder / "mesh_secret").chmod(file_mode)
    folder.chmod(folder_mode)

    for start in (secret_key, refuse_open_files, lambda where: read_or_make(where, "mesh_secret")):
        with pytest.raises(ImproperlyConfigured, match=r"others on this machine .* run `chmod [67]00 /"):
            start(folder)


def test_a_folder_that_is_not_there_has_nothing_to_hide(tmp_path: Path) -> None:
    refuse_open_files(tmp_path / "nowhere")


def test_the_state_around_the_secrets_is_for_its_owner_too(tmp_path: Path) -> None:
    read_or_make(tmp_path / "var" / "secrets", "mesh")

    assert stat.S_IMODE((tmp_path / "var").stat().st_mode) == 0o700


def test_a_place_where_nothing_can_be_kept_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").touch()

    with pytest.raises(ImproperlyConfigured, match=r"can't keep secrets in .*/var/secrets: "):
        read_or_make(tmp_path / "var" / "secrets", "mesh")


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


@pytest.mark.parametrize(
    ("text", "origin", "host"),
    [
        ("HTTPS://Mesh.Example:443/", "https://mesh.example", "mesh.example"),
        ("https://mesh.example:8443", "https://mesh.example:8443", "mesh.example"),
        ("http://127.0.0.1:80", "http://127.0.0.1", "127.0.0.1"),
        ("https://[2001:DB8::7]:443", "https://[2001:db8::7]", "[2001:db8::7]"),
    ],
)
def test_the_origin_is_written_as_browsers_write_it(text: str, origin: str, host: str) -> None:
    url = MeshUrl.parse(text, allow_plain_http=False)

    assert url.origin == origin
    assert host in url.allowed_hosts


def test_plain_http_beyond_loopback_has_to_be_asked_for() -> None:
    with pytest.raises(ImproperlyConfigured, match="MESH_ALLOW_PLAIN_HTTP"):
        MeshUrl.parse("http://mesh.example", allow_plain_http=False)

    assert "mesh.example" in MeshUrl.parse("http://mesh.example", allow_plain_http=True).allowed_hosts


@pytest.mark.parametrize(
    "text",
    [
        *("", "mesh.example", "ftp://mesh.example", "https://mesh.example/board", "https://"),
        *("https://mesh.example?a=b", "https://mesh.example#a", "https://me:pw@mesh.example"),
        *("https://mesh.example:99999", "https://mesh.example:0", "https://[::1", "https://mesh.example:x"),
    ],
)
def test_what_is_no_address_is_refused_by_its_value(text: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="MESH_URL="):
        MeshUrl.parse(text, allow_plain_http=False)


def test_networks_are_read_from_a_list_with_commas() -> None:
    found = networks("MESH_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8,, ::1")

    assert [str(network) for network in found] == ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]


def test_what_is_no_network_is_named_with_its_setting() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"MESH_TRUSTED_PROXIES: 10\.0\.0\.1/8 has host bits set"):
        networks("MESH_TRUSTED_PROXIES", "10.0.0.1/8")
