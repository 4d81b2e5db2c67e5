"""Where `script/test` gets its Chromium from; registry, npm, apt-get and the package are small fakes."""

import base64
import hashlib
import io
import os
import subprocess
import tarfile
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import brotli
import pytest

from script import chromium
from script.chromium import NoChromium, find_or_get, registry_of

BROWSER = b'#!/bin/sh\necho "$LD_LIBRARY_PATH|$FONTCONFIG_PATH|$*"\n'


def tar(files: Mapping[str, bytes], *, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:  # type: ignore[call-overload]  # mode is a str
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def package() -> bytes:
    """What npm would deliver, in small."""
    parts = {
        "chromium.br": BROWSER,
        "al2023.tar.br": tar({"lib/libnss3.so": b"nss"}),
        "swiftshader.tar.br": tar({"libEGL.so": b"egl"}),
        "fonts.tar.br": tar({"fonts.conf": b"elsewhere", "fonts/Open.ttf": b"font"}),
    }
    packed = {f"package/bin/{name}": brotli.compress(content) for name, content in parts.items()}
    return tar({"package/README.md": b"read me", **packed}, mode="w:gz")


PACKAGE = package()


class Registry(ThreadingHTTPServer):
    """A package registry that has the one package."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/npm"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.path == "/npm/@sparticuz/chromium/-/chromium-153.0.0.tgz"
        self.send_response(200 if known else 404)
        self.end_headers()
        self.wfile.write(PACKAGE if known else b"")

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def registry() -> Iterator[Registry]:
    with Registry() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Machine:
    """A machine without any browser, where a test puts what it needs."""

    def __init__(self, folder: Path) -> None:
        self.programs = folder / "bin"
        self.home = folder / "home"
        self.chromium = folder / "a checkout" / ".venv" / "chromium"
        for each in (self.programs, self.home):
            each.mkdir()
        self.environ = {"PATH": str(self.programs), "HOME": str(self.home)}

    def add_program(self, name: str, script: str) -> Path:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
        path.chmod(0o755)
        return path

    def get(self, **environ: str) -> Path:
        return find_or_get(self.chromium, self.environ | environ)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(chromium, "ROOT", tmp_path)
    monkeypatch.setattr(chromium, "NPM_SHA512", base64.b64encode(hashlib.sha512(PACKAGE).digest()).decode())
    return Machine(tmp_path)


def test_a_chromium_that_is_named_is_taken(machine: Machine) -> None:
    named = machine.add_program("mine", "true")

    assert machine.get(MESH_CHROMIUM=str(named)) == named


def test_a_named_one_that_is_no_program_is_an_error_and_nothing_else_is_tried(machine: Machine) -> None:
    machine.add_program("chromium", "true")

    with pytest.raises(NoChromium, match="MESH_CHROMIUM='/nowhere': expected the path of a program"):
        machine.get(MESH_CHROMIUM="/nowhere")


@pytest.mark.parametrize("name", ["chromium", "google-chrome"])
def test_an_installed_one_is_taken(machine: Machine, name: str) -> None:
    installed = machine.add_program(name, "true")

    assert machine.get() == installed


def test_root_gets_debians_and_it_is_said(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    calls = machine.home / "calls"
    install = f'[ "$2" = update ] || cp "$0" "{machine.programs}/chromium"'
    machine.add_program("apt-get", f'echo "$@" >> "{calls}"\n{install}')

    assert machine.get() == machine.programs / "chromium"
    assert calls.read_text() == "-qq update\n-qq install --yes --no-install-recommends chromium\n"
    assert capfd.readouterr().err.count("script/test: installing Debian's chromium by apt-get") == 1


def test_an_ordinary_user_never_runs_apt_get(machine: Machine) -> None:
    machine.add_program("apt-get", f'touch "{machine.home}/called"')

    with pytest.raises(NoChromium):
        machine.get()

    assert not (machine.home / "called").exists()


@pytest.mark.parametrize("apt_get", ["exit 100", "exit 0"])
def test_when_apt_get_delivers_none_the_npm_package_is_taken(
    machine: Machine, registry: Registry, monkeypatch: pytest.MonkeyPatch, apt_get: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    machine.add_program("apt-get", apt_get)

    assert machine.get(npm_config_registry=registry.url) == machine.chromium / "chromium"


def test_npm_packs_it(machine: Machine) -> None:
    tarball = machine.home / "package"
    tarball.write_bytes(PACKAGE)
    machine.add_program("npm", f'cp "{tarball}" "$4/sparticuz-chromium.tgz"; echo sparticuz-chromium.tgz')

    assert machine.get() == machine.chromium / "chromium"


def test_when_npm_fails_python_asks_the_registry(machine: Machine, registry: Registry) -> None:
    machine.add_program("npm", "exit 1")

    assert machine.get(npm_config_registry=registry.url + "/") == machine.chromium / "chromium"


def test_what_was_unpacked_starts_with_its_libraries_and_fonts(machine: Machine, registry: Registry) -> None:
    browser = machine.get(npm_config_registry=registry.url)

    output = subprocess.run([browser, "--headless"], capture_output=True, text=True, check=True).stdout

    assert output == f"{machine.chromium}/lib|{machine.chromium}|--headless\n"
    assert (machine.chromium / "lib" / "libnss3.so").read_bytes() == b"nss"
    assert (machine.chromium / "libEGL.so").read_bytes() == b"egl"
    assert (machine.chromium / "fonts" / "Open.ttf").read_bytes() == b"font"
    assert b'prefix="relative">fonts<' in (machine.chromium / "fonts.conf").read_bytes()


def test_what_was_unpacked_once_is_taken_again(machine: Machine, registry: Registry) -> None:
    first = machine.get(npm_config_registry=registry.url)

    assert machine.get() == first


def test_a_half_of_an_earlier_one_is_replaced(machine: Machine, registry: Registry) -> None:
    machine.chromium.mkdir(parents=True)
    (machine.chromium / "chromium.bin").touch()

    assert machine.get(npm_config_registry=registry.url).is_file()


def test_another_package_than_the_pinned_one_is_refused(
    machine: Machine, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chromium, "NPM_SHA512", "AAAA")

    with pytest.raises(NoChromium, match="expected AAAA"):
        machine.get(npm_config_registry=registry.url)

    assert not machine.chromium.exists()


@pytest.mark.parametrize(
    ("registry_url", "complaint"),
    [
        ("http://127.0.0.1:9", "refused"),
        ("file:///etc", "expected http:// or https://"),
    ],
)
def test_a_registry_that_does_not_answer_is_named(
    machine: Machine, registry_url: str, complaint: str
) -> None:
    with pytest.raises(NoChromium, match=complaint):
        machine.get(npm_config_registry=registry_url)


def test_a_package_that_the_registry_lacks_is_an_error(machine: Machine, registry: Registry) -> None:
    with pytest.raises(NoChromium, match="HTTP Error 404"):
        machine.get(npm_config_registry=f"{registry.url}/elsewhere")


def test_without_any_way_it_says_in_one_line_how_to_get_one(machine: Machine) -> None:
    with pytest.raises(NoChromium) as caught:
        machine.get()

    assert "\n" not in str(caught.value)
    assert "apt-get install chromium" in str(caught.value)
    assert "npm_config_registry" in str(caught.value)


@pytest.mark.parametrize(
    "line", ["registry=http://r/npm/", "registry = http://r/npm", '; a comment\nregistry="http://r/npm"']
)
def test_npms_configuration_names_the_registry(machine: Machine, line: str) -> None:
    (machine.home / ".npmrc").write_text(f"fund=false\nyes\n{line}\n//r/:key=value\n")

    assert registry_of(machine.environ) == "http://r/npm"


def test_the_environment_goes_before_npms_configuration(machine: Machine) -> None:
    (machine.home / ".npmrc").write_text("registry=http://file\n")

    assert registry_of(machine.environ | {"NPM_CONFIG_REGISTRY": "http://env"}) == "http://env"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"[broken\n= x", b"fund=false\n"])
def test_a_configuration_that_names_none_is_passed_over(machine: Machine, content: bytes) -> None:
    (machine.home / ".npmrc").write_bytes(content)
    elsewhere = machine.home / "global"
    elsewhere.write_text("registry=http://global\n")

    assert registry_of(machine.environ | {"NPM_CONFIG_GLOBALCONFIG": str(elsewhere)}) == "http://global"


def test_the_path_is_all_that_is_printed(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = machine.add_program("mine", "true")
    monkeypatch.setenv("MESH_CHROMIUM", str(named))

    assert chromium.main() == 0
    assert capsys.readouterr().out == f"{named}\n"


def test_a_failure_is_one_line_on_standard_error(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MESH_CHROMIUM", "/nowhere")

    assert chromium.main() == 1
    assert capsys.readouterr() == (
        "",
        "script/test: MESH_CHROMIUM='/nowhere': expected the path of a program\n",
    )
