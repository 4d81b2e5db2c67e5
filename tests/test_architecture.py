"""Rules that keep the house in order: who may import whom, what the pure ring may not do, where tests stand.

The rules are functions over one module's name and text, so that this file can also show that each is able to
fail.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("meshcore", "dashboard")

# What a part of the house may import of the others, itself apart; "*" is anything in the dashboard.
PURE = "meshcore"
PARTS: dict[str, set[str]] = {
    "meshcore": set(),
    "meshcore.aio": {PURE},
    "meshcore.cli": {PURE, "meshcore.aio"},
    "dashboard.models": {PURE},
    "dashboard.migrations": {PURE, "dashboard.models"},
    "dashboard.selectors": {PURE, "dashboard.models"},
    "dashboard.hints": set(),
    "dashboard.services": {
        PURE,
        "dashboard.models",
        "dashboard.selectors",
        "dashboard.hints",
        "dashboard.secrets",
        "dashboard.retention",
    },
    "dashboard.sheet": {"dashboard.selectors"},
    "dashboard.page_keys": set(),
    "dashboard.plain_consumer": set(),
    "dashboard.fragments": {"dashboard.selectors", "dashboard.sheet", "dashboard.page_keys"},
    "dashboard.lanes": set(),
    "dashboard.loops": {"dashboard.services"},
    "dashboard.listeners": set(),
    "dashboard.groups": {PURE, "dashboard.lanes"},
    "dashboard.replays": set(),
    "dashboard.ingest_writer": {
        PURE,
        "dashboard.lanes",
        "dashboard.groups",
        "dashboard.replays",
        "dashboard.services",
        "dashboard.models",
    },
    "dashboard.runtime": {
        PURE,
        "dashboard.lanes",
        "dashboard.loops",
        "dashboard.listeners",
        "dashboard.groups",
        "dashboard.ingest_writer",
        "dashboard.page_keys",
        "dashboard.services",
        "dashboard.selectors",
        "dashboard.hints",
        "dashboard.models",
    },
    "dashboard.serving": {PURE, "dashboard.engines", "dashboard.runtime", "dashboard.secrets"},  # of `serve`
    "dashboard.templatetags": {PURE},
    "dashboard": set(),
    "dashboard.secrets": set(),
    "dashboard.engines": set(),
    "dashboard.retention": set(),
    "dashboard.settings": {PURE, "dashboard.secrets", "dashboard.engines", "dashboard.retention"},
    "dashboard.asgi": {"*"},
    "dashboard.urls": {"*"},
    "dashboard.apps": {"*"},
    "dashboard.checks": {"*"},
}
FACES = {f"dashboard.{face}" for face in ("edge", "api", "web", "live", "admin", "admin_site", "management")}
BEHIND_A_FACE = {
    PURE,
    "dashboard.services",
    "dashboard.selectors",
    "dashboard.fragments",
    "dashboard.hints",
    "dashboard.loops",
    "dashboard.models",
    "dashboard.page_keys",
    "dashboard.plain_consumer",
    "dashboard.replays",
    "dashboard.runtime",
    "dashboard.secrets",
}
PARTS |= dict.fromkeys(FACES, BEHIND_A_FACE)

# Imports that leave their part, each for a reason.
EXCEPTIONS = {
    ("meshcore.__main__", "meshcore.cli"),  # the one way out of the pure ring
    ("dashboard.management.commands.demo", "meshcore.aio"),  # the demo owns nodes and mock providers
    ("dashboard.management.commands.simulate", "meshcore.aio"),
    ("dashboard.management.commands.serve", "dashboard.serving"),
    ("dashboard.management.commands.worker", "dashboard.serving"),
}

IMPURE_LIBRARY = {
    *(
        "asyncio",
        "concurrent",
        "http",
        "logging",
        "multiprocessing",
        "select",
        "selectors",
        "shutil",
        "signal",
    ),
    *("socket", "socketserver", "sqlite3", "ssl", "subprocess", "tempfile", "threading"),
}
IMPURE_CALLS = {
    *("open", "print", "input", "os.environ.get", "os.getenv", "os.urandom", "uuid.uuid4"),
    *("time.time", "time.monotonic", "time.perf_counter", "time.time_ns", "time.monotonic_ns", "time.sleep"),
    *("datetime.now", "datetime.utcnow", "datetime.today", "datetime.datetime.now", "date.today"),
    *("random.random", "random.uniform", "random.randint", "random.choice", "random.shuffle"),
    *("secrets.token_hex", "secrets.token_bytes", "secrets.token_urlsafe"),
}
WRITING_METHODS = {"write_text", "write_bytes"}
READING_METHODS = {"read_text", "read_bytes"}  # of a Path, when nothing to read is handed to them
CLOCK = "meshcore.clock"  # the only module that reads the computer's clocks

FORBIDDEN_NAMES = re.compile(r"^_?(utils?|helpers?|managers?|commons?|misc)$")
BRANCHES = (
    *(ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.Try, ast.TryStar, ast.Match, ast.BoolOp),
    *(ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp),
)
UNTESTED_BY_NAME = {"__init__", "settings"}


def part_of(name: str) -> str:
    """The part of the house that a dotted name of ours is in: "meshcore", "meshcore.aio", "dashboard.web"."""
    first, _, rest = name.partition(".")
    second = rest.partition(".")[0]
    if first == "meshcore":
        return f"meshcore.{second}" if second in ("aio", "cli") else PURE
    return f"{first}.{second}" if second else first


def imports_of(module: str, source: str, *, is_package: bool = False) -> set[str]:
    """Every dotted name that `source` imports, with relative imports made absolute."""
    package = module.split(".") if is_package else module.split(".")[:-1]
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            found |= {f"{origin}.{alias.name}" for alias in node.names}
    return found


def forbidden_imports(
    module: str, source: str, node_libraries: Iterable[str], *, is_package: bool = False
) -> list[str]:
    """What `module` imports against the rules, as sentences."""
    part = part_of(module)
    if part not in PARTS:
        return [f"{module} has no place in the house: give {part} its rule in {Path(__file__).name}"]
    names = sorted(imports_of(module, source, is_package=is_package))
    return [
        f"{module} imports {name}" for name in names if not _may_import(module, part, name, node_libraries)
    ]


def _may_import(module: str, part: str, name: str, node_libraries: Iterable[str]) -> bool:
    top = name.partition(".")[0]
    if top in PACKAGES:
        target = part_of(name)
        of_all = "*" in PARTS[part] and (top == "dashboard" or target == PURE)
        return of_all or target in PARTS[part] | {part} or (module, target) in EXCEPTIONS
    if part == PURE:
        return _is_pure_library(module, top)
    if part == "meshcore.cli":
        return top in sys.stdlib_module_names
    if part == "meshcore.aio":
        return top in sys.stdlib_module_names or top in node_libraries
    return True


def _is_pure_library(module: str, top: str) -> bool:
    if top == "time":
        return module == CLOCK
    return top == "msgspec" or (top in sys.stdlib_module_names and top not in IMPURE_LIBRARY)


def impure_acts(module: str, source: str) -> list[str]:
    """What a module of the pure ring does that only a shell may do."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith):
            found.append(f"{module}:{node.lineno} waits")
        if isinstance(node, ast.Call) and module != CLOCK and _is_impure_call(node):
            found.append(f"{module}:{node.lineno} calls {ast.unparse(node.func)}")
    return found


def _is_impure_call(call: ast.Call) -> bool:
    method = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    touches_file = method in WRITING_METHODS or (method in READING_METHODS and not call.args)
    return touches_file or ast.unparse(call.func) in IMPURE_CALLS


def has_branch(source: str) -> bool:
    """Whether the text decides anything; a comprehension counts when it has a condition."""
    branches = [node for node in ast.walk(ast.parse(source)) if isinstance(node, BRANCHES)]
    return any(not _is_plain_comprehension(node) and not _is_for_types_only(node) for node in branches)


def _is_plain_comprehension(node: ast.AST) -> bool:
    generators: list[ast.comprehension] = getattr(node, "generators", [])
    return bool(generators) and not any(each.ifs for each in generators)


def _is_for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING")


def home_of_tests(path: Path) -> Path:
    """Where the tests of a source file stand: tests/ mirrors the code, and `meshcore/` is its root."""
    parts = path.parts[1:] if path.parts[0] == "meshcore" else path.parts
    folder = Path("tests", *("scripts" if part == "script" else part for part in parts[:-1]))
    return folder / f"test_{path.stem.strip('_')}.py"


def code_in_map(source: str) -> list[str]:
    """The statements of an `__init__.py` that are no docstring, no import and no list of names."""
    return [
        ast.unparse(node)
        for node in ast.parse(source).body
        if not isinstance(node, ast.Import | ast.ImportFrom) and not _is_text(node) and not _is_all(node)
    ]


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_all(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"


def node_libraries() -> set[str]:
    """The import names of what requirements-node.txt pins: all that a machine with only a node has."""
    text = (ROOT / "requirements-node.txt").read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([A-Za-z0-9-]+)", text, flags=re.MULTILINE))
    others = {"yarl", "multidict", "nats"}  # aiohttp's own types; what nats-py is imported as
    return {name.replace("-", "_").lower() for name in pinned} | others


def sources(*packages: str) -> Iterator[tuple[str, Path]]:
    """(dotted name, path relative to the root) of each source module."""
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            relative = path.relative_to(ROOT)
            yield ".".join(relative.with_suffix("").parts).removesuffix(".__init__"), relative


def read(path: Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# The rules, held over the whole house.


def test_every_module_imports_only_what_its_part_may() -> None:
    libraries = node_libraries()

    found = [
        sentence
        for module, path in sources(*PACKAGES)
        for sentence in forbidden_imports(
            module, read(path), libraries, is_package=path.name == "__init__.py"
        )
    ]

    assert found == []


def test_the_pure_ring_neither_waits_nor_touches_files_clocks_and_chance() -> None:
    pure = [(module, path) for module, path in sources("meshcore") if part_of(module) == PURE]

    assert [act for module, path in pure for act in impure_acts(module, read(path))] == []


def test_every_module_with_a_branch_has_its_test_module() -> None:
    modules = [path for _, path in sources(*PACKAGES, "script") if "migrations" not in path.parts]
    branching = [path for path in modules if path.stem not in UNTESTED_BY_NAME and has_branch(read(path))]

    missing = [f"{path} -> {home_of_tests(path)}" for path in branching if not _exists(home_of_tests(path))]

    assert missing == []


def _exists(path: Path) -> bool:
    return (ROOT / path).is_file()


def test_a_module_is_named_for_what_it_owns() -> None:
    paths = [path for _, path in sources(*PACKAGES, "script", "tests")]

    assert [str(path) for path in paths if any(FORBIDDEN_NAMES.match(Path(p).stem) for p in path.parts)] == []


def test_an_init_module_is_a_map_and_no_place_for_code() -> None:
    maps = [path for _, path in sources(*PACKAGES) if path.name == "__init__.py"]

    assert {str(path): code for path in maps if (code := code_in_map(read(path)))} == {}


# Each rule can fail.


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("meshcore.breaker", "import asyncio"),
        ("meshcore.breaker", "import time"),
        ("meshcore.breaker", "import aiohttp"),
        ("meshcore.breaker", "from logging import getLogger"),
        ("meshcore.breaker", "import dashboard.models"),
        ("meshcore.breaker", "from meshcore import aio"),
        ("meshcore.breaker", "from .aio import bus"),
        ("meshcore.breaker", "def late():\n    from meshcore.aio.bus import CapabilityBus"),
        ("meshcore.breaker", "from meshcore.cli import main"),
        ("meshcore.aio.bus", "from dashboard.models import Node"),
        ("meshcore.aio.bus", "from meshcore.cli import node"),
        ("meshcore.aio.bus", "import django"),
        ("meshcore.aio.providers.openai_http", "from ... import cli"),
        ("meshcore.cli.node", "import aiohttp"),
        ("dashboard.models.node", "from dashboard.services import drain"),
        ("dashboard.models.node", "from dashboard.selectors.fleet import rows"),
        ("dashboard.selectors.fleet", "from dashboard.services import drain"),
        ("dashboard.services.drain", "from dashboard import web"),
        ("dashboard.hints", "from dashboard.models import Node"),
        ("dashboard.fragments", "from dashboard.models import Node"),
        ("dashboard.web.fleet", "from dashboard.api.nodes import NodeView"),
        ("dashboard.api.nodes", "from dashboard.edge import address"),
        ("dashboard.web.fleet", "from meshcore.aio.bus import CapabilityBus"),
        ("dashboard.management.commands.serve", "from meshcore.aio import node"),
        ("dashboard.asgi", "import meshcore.aio.bus"),
        ("dashboard.templatetags.pills", "from dashboard.models import Node"),
        ("dashboard.anywhere", "import re"),
    ],
)
def test_a_forbidden_import_is_caught(module: str, source: str) -> None:
    assert len(forbidden_imports(module, source, {"aiohttp"})) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("meshcore.clock", "import time"),
        ("meshcore.breaker", "import enum, msgspec\nfrom meshcore.clock import Clock\nfrom . import trace"),
        ("meshcore.__main__", "from meshcore.cli import main"),
        ("meshcore.aio.bus", "import asyncio, aiohttp\nfrom meshcore import routing"),
        ("meshcore.cli.node", "import argparse\nfrom meshcore.aio.node import run"),
        ("dashboard.models.node", "from django.db import models\nfrom meshcore.drain import DrainState"),
        (
            "dashboard.services.drain",
            "from dashboard.hints import publish\nfrom dashboard.models import Node",
        ),
        ("dashboard.web.fleet", "from dashboard.web import forms\nfrom dashboard.selectors import fleet"),
        ("dashboard.management.commands.demo", "from meshcore.aio.node import run"),
        ("dashboard.urls", "from dashboard.api import urls\nfrom dashboard.web import urls as pages"),
    ],
)
def test_an_import_that_the_architecture_allows_passes(module: str, source: str) -> None:
    assert forbidden_imports(module, source, {"aiohttp"}) == []


def test_a_relative_import_in_a_package_starts_at_the_package_itself() -> None:
    assert imports_of("meshcore.aio", "from . import bus", is_package=True) == {"meshcore.aio.bus"}


@pytest.mark.parametrize(
    "act",
    [
        "async def f(): await g()",
        "open('x')",
        "time.monotonic()",
        "datetime.now(tz=UTC)",
        "random.random()",
        "path.read_text()",
        "path.write_text(x)",
    ],
)
def test_an_act_of_a_shell_is_caught_in_the_pure_ring(act: str) -> None:
    assert len(impure_acts("meshcore.breaker", act)) == 1


def test_a_reader_that_is_handed_its_text_is_pure() -> None:
    assert impure_acts("meshcore.config", "kind.read_text(text)") == []


def test_the_clock_module_alone_may_read_the_clock() -> None:
    assert impure_acts(CLOCK, "time.monotonic()") == []


@pytest.mark.parametrize(
    "source",
    [
        *("if a: b", "for a in b: c", "while a: b", "try: a\nexcept E: b", "match a:\n case 1: b"),
        *("a if b else c", "[a for a in b if c]", "a and b", "def f(): return any(x for x in y if x)"),
    ],
)
def test_whatever_decides_is_a_branch(source: str) -> None:
    assert has_branch(source)


@pytest.mark.parametrize(
    "source", ["a = 1", "[a for a in b]", "class A: x: int", "if TYPE_CHECKING:\n import a"]
)
def test_what_decides_nothing_needs_no_test_module(source: str) -> None:
    assert not has_branch(source)


@pytest.mark.parametrize(
    ("source", "tests"),
    [
        ("meshcore/breaker.py", "tests/test_breaker.py"),
        ("meshcore/__main__.py", "tests/test_main.py"),
        ("meshcore/aio/providers/echo.py", "tests/aio/providers/test_echo.py"),
        ("meshcore/cli/node.py", "tests/cli/test_node.py"),
        ("dashboard/hints.py", "tests/dashboard/test_hints.py"),
        ("dashboard/services/drain.py", "tests/dashboard/services/test_drain.py"),
        ("script/chromium.py", "tests/scripts/test_chromium.py"),
    ],
)
def test_tests_stand_where_the_code_stands(source: str, tests: str) -> None:
    assert home_of_tests(Path(source)) == Path(tests)


@pytest.mark.parametrize("name", ["utils", "helpers", "manager", "common", "_util", "misc"])
def test_a_name_that_owns_nothing_is_caught(name: str) -> None:
    assert FORBIDDEN_NAMES.match(name)


def test_code_in_an_init_module_is_caught() -> None:
    source = '"""Map."""\nfrom a import b\n__all__ = ["b"]\ndef f(): ...\nX = 1'

    assert code_in_map(source) == ["def f():\n    ...", "X = 1"]
