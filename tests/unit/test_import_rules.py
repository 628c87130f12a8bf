"""Hold the import rules: who may import whom, no circles, nothing slow and nothing missing."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import pytest
from helpers.slowdown import patience

import lenslink

ROOT = Path(__file__).resolve().parents[2]
ROOMS = {
    "lenslink_protocol": ROOT / "protocol",
    "lenslink": ROOT / "host",
    "lenslink_isp": ROOT / "host",
    "lenslink_program": ROOT / "host",
    "lenslink_hil": ROOT / "hil",
    "lensfw": ROOT / "firmware",
}
# Data goes down: each room may import those named here, and itself.
MAY_IMPORT = {
    "lenslink_protocol": set[str](),
    # python -m lenslink starts the program.
    "lenslink": {"lenslink_protocol", "lenslink_program"},
    "lenslink_isp": {"lenslink_protocol", "lenslink"},
    "lenslink_program": {"lenslink"},
    "lenslink_hil": {"lenslink_protocol", "lenslink", "lenslink_isp", "lensfw"},
    "lensfw": set[str](),
}
# What MicroPython's Unix port and the boards' ports have.
MICROPYTHON = {
    *(
        "array",
        "binascii",
        "hashlib",
        "collections",
        "errno",
        "gc",
        "io",
        "json",
        "machine",
        "math",
    ),
    *("micropython", "os", "select", "socket", "struct", "sys", "time", "uctypes"),
}
# Modules of one chip, for the port that is named after it.
OF_A_PORT = {"rp2": {"rp2"}, "esp32": {"esp32"}}
# In lensfw/flash: on a board this file is not in a package.
OUTSIDE_THE_SLOTS = {"lensboot", "vfs"}
# Slow to import: an application that only opens a module must not pay for them.
HEAVY = [
    "PIL",
    "cv2",
    "asyncio",
    "click",
    "construct",
    "filelock",
    "rawpy",
    "rich",
    "scipy",
    "serial",
    "skimage",
    "tifffile",
    "usb",
]


def sources(package: str) -> list[Path]:
    return sorted((ROOMS[package] / package).rglob("*.py"))


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """Every node of a file that a rule looks at. The first is the module."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))))


@pytest.fixture(scope="module", autouse=True)
def _forgotten_nodes() -> Iterator[None]:
    yield
    nodes_of.cache_clear()


def imported(nodes: list[ast.AST]) -> Iterator[tuple[int, str]]:
    """Line and top-level package of every import anywhere in a file, lazy ones too.

    Relative imports stay inside their package, so they are left out.
    """
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.lineno, (node.module or "").partition(".")[0]
        elif isinstance(node, ast.Call) and node.args:
            # importlib.import_module("name"), __import__("name")
            first = node.args[0]
            name = getattr(node.func, "attr", getattr(node.func, "id", None))
            if name in ("import_module", "__import__") and isinstance(first, ast.Constant):
                yield node.lineno, str(first.value).partition(".")[0]


def climbs_out(nodes: list[ast.AST], depth: int) -> Iterator[int]:
    """Lines with a relative import out of the top-level package, *depth* folders up."""
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.level > depth:
            yield node.lineno


def test_every_way_to_import_is_seen() -> None:
    tree = ast.parse(
        "import a.b, c as d\nfrom e.f import g\nfrom . import h\ndef lazy():\n    import i\n"
        "importlib.import_module('j.k')\n__import__('l')\nfrom ..m import n\nfrom ...o import p"
    )
    nodes = list(ast.walk(tree))
    assert {name for _, name in imported(nodes)} == {"a", "c", "e", "i", "j", "l"}
    assert list(climbs_out(nodes, 2)) == [9]


@pytest.mark.parametrize("package", ROOMS)
def test_data_goes_down(package: str) -> None:
    forbidden = set(ROOMS) - MAY_IMPORT[package] - {package}
    found = []
    for path in sources(package):
        nodes = nodes_of(path)
        lines = [line for line, name in imported(nodes) if name in forbidden]
        lines += climbs_out(nodes, len(path.relative_to(ROOMS[package]).parts) - 1)
        found += [f"{path.relative_to(ROOT)}:{line}" for line in lines]
    assert not found, f"imports what {package} must not know: {', '.join(found)}"


def modules() -> dict[str, Path]:
    """Return the file of each module, without the ``__init__`` of packages."""
    return {
        ".".join(path.relative_to(ROOMS[package]).with_suffix("").parts): path
        for package in ROOMS
        for path in sources(package)
        if path.name != "__init__.py"
    }


def imported_modules(name: str, nodes: list[ast.AST], known: Collection[str]) -> set[str]:
    """Return which of the *known* modules the module *name* imports, anywhere in its file.

    An import for type checking only, and one inside a function, count like any other.
    """
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name.split(".")[: -node.level]
                base = ".".join([*package, *([node.module] if node.module else [])])
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return (found & set(known)) - {name}


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""
    reach: dict[str, set[str]] = {}
    for name in imports:
        reached: set[str] = set()
        waiting = [name]
        while waiting:
            new = imports[waiting.pop()] - reached
            reached |= new
            waiting += new
        reach[name] = reached
    groups = {
        tuple(sorted(other for other in reach[name] if name in reach[other]))
        for name in imports
        if name in reach[name]
    }
    return [list(group) for group in sorted(groups)]


def test_a_circle_of_any_kind_is_seen() -> None:
    texts = {
        "p.a": "from . import b",
        "p.b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .q.c import C",
        "p.q.c": "def lazy():\n    import p.a",
        "p.d": "from .a import A",
    }
    found = {
        name: imported_modules(name, list(ast.walk(ast.parse(text))), texts)
        for name, text in texts.items()
    }
    assert circles(found) == [["p.a", "p.b", "p.q.c"]]


def test_no_modules_import_each_other() -> None:
    known = modules()
    found = circles(
        {name: imported_modules(name, nodes_of(path), known) for name, path in known.items()}
    )
    assert not found, "\n".join(" <-> ".join(group) for group in found)


@pytest.mark.parametrize("package", ROOMS)
def test_every_package_has_files(package: str) -> None:
    # A moved folder would make the other tests pass by finding nothing.
    assert sources(package)


def test_the_firmware_imports_what_micropython_has() -> None:
    found = []
    for path in sources("lensfw"):
        allowed = MICROPYTHON | {"lensfw"}
        if path.name == "boot.py":
            allowed = allowed | {"lensboot"}
        if path.parent.name == "ports":
            allowed = allowed | OF_A_PORT.get(path.stem, set())
        if path.parent.name == "flash":
            allowed = allowed | OUTSIDE_THE_SLOTS
        found += [
            f"{path.relative_to(ROOT)}:{line} ({name})"
            for line, name in imported(nodes_of(path))
            if name not in allowed
        ]
    assert not found, f"MicroPython lacks: {', '.join(found)}"


@pytest.mark.parametrize("package", ROOMS)
def test_modules_say_what_they_are_for(package: str) -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in sources(package)
        # An __init__.py that only makes a folder a package has nothing to say.
        if (tree := nodes_of(path)[0]).body and ast.get_docstring(tree) is None
    ]
    assert not found, f"without a docstring: {', '.join(found)}"


@pytest.mark.parametrize("package", ["lenslink_protocol", "lenslink", "lenslink_hil"])
def test_deadlines_are_monotonic(package: str) -> None:
    """``time.time()`` jumps when the clock is set; what needs the date uses datetime."""
    found = []
    for path in sources(package):
        for node in nodes_of(path):
            called = (
                isinstance(node, ast.Attribute)
                and node.attr == "time"
                and isinstance(node.value, ast.Name)
                and node.value.id == "time"
            )
            taken = (
                isinstance(node, ast.ImportFrom)
                and node.module == "time"
                and any(alias.name == "time" for alias in node.names)
            )
            if called or taken:
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found, f"time.time(): {', '.join(found)}"


def test_importing_the_package_imports_nothing_else() -> None:
    """``python -m lenslink`` imports the package before it can handle Ctrl-C."""
    code = "import sys; before = set(sys.modules); import lenslink; "
    code += "print(*sorted(set(sys.modules) - before))"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=True,
    )
    assert run.stdout.split() == ["lenslink"]


def test_every_public_name_can_be_loaded() -> None:
    assert [name for name in lenslink.__all__ if getattr(lenslink, name, None) is None] == []
    assert set(lenslink._MODULE_BY_NAME) == set(lenslink.__all__) - {"__version__"}
    assert lenslink.errors.LensLinkError is lenslink.LensLinkError


@pytest.mark.parametrize(
    "module",
    # Opening sim: imports the two in the middle. No other process can reach it: it needs no lock.
    ["lenslink", "lenslink.connection", "lenslink_hil.benches.sim", "lenslink_hil.plugin"],
)
def test_the_driver_imports_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; print(*[name for name in {HEAVY} if name in sys.modules])"
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=True,
    )
    assert run.stdout.split() == []
