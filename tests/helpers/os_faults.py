"""Make any call of the system in some modules of the driver fail, found by the syntax tree.

Run as a program, this file imports the driver with every such call replaced by
``__system_call__(site, function, ...)``. It then runs each scenario for each site, error number and
turn, and prints what left the public interface besides the driver's own errors.

    python -m helpers.os_faults SEED SHARE SCENARIO...

Of all combinations of error number and turn, each site gets the share SHARE, at least one.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import errno
import gc
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

HOST = Path(__file__).parents[2] / "host"
AREAS = ("lenslink/transports/", "lenslink/frame_ring/", "lenslink/image_files/")
FILES = ("lenslink/lock.py", "lenslink/runtime.py", "lenslink/leftovers.py")
CODES = (errno.EACCES, errno.EMFILE, errno.ENOSPC, errno.EIO, errno.EINTR)

# Functions of the system by module. What only looks at this process cannot fail.
_MODULES = {"os", "socket", "mmap", "fcntl", "tempfile", "shutil", "selectors"}
_HARMLESS = {
    "os.access", "os.fsencode", "os.getpid", "os.getuid", "os.strerror", "os.environ.get",
    "os.path.realpath", "os.path.samestat", "selectors.DefaultSelector.register",
    "atexit.register", "atexit.unregister",
}  # fmt: skip
# Methods of sockets, files, paths, selectors, locks, ports and USB devices.
_METHODS = {
    "acquire", "clear_halt", "connect", "exists", "glob", "is_dir", "lstat", "madvise", "mkdir",
    "poll", "read", "read_text", "recv", "recv_into", "recvmsg_into", "register",
    "reset_input_buffer", "rmtree", "select", "setblocking", "setsockopt", "settimeout", "stat",
    "unlink", "unregister", "write", "dispose_resources",
}  # fmt: skip
# These names are methods of the driver's own classes too.
_SYSTEM_OBJECTS = {
    "close": {"self._socket", "self._selector", "self._readable", "self._writable", "connection",
              "self._port", "port", "mapping"},
    "send": {"connection", "self._get_socket()"},
    "open": {"port", "file"},
    "release": {"lock"},
    "read": {"port"},
    "write": {"self._handle", "port", "file"},
    "claim": {"handle"},
    "halt": {"self._handle"},
    "submit": {"read.pending"},
    "cancel": {"read.pending"},
    "FileIO": {"io"},
    "flush": {"file"},
    "replace": {"temporary"},
    "hardlink_to": {"path"},
    "touch": {"path"},
}  # fmt: skip


def name_of(call: ast.Call) -> str | None:
    """Return the dotted name of a call that asks the system for something, else None."""
    name = ast.unparse(call.func)
    owner, _, method = name.rpartition(".")
    if name in _HARMLESS or owner == "super()":
        return None
    if owner.partition(".")[0] in _MODULES and method[0].islower():
        return name
    if name in ("selectors.DefaultSelector", "tempfile.TemporaryDirectory"):
        return name
    if method in _SYSTEM_OBJECTS:
        return name if owner in _SYSTEM_OBJECTS[method] else None
    return name if owner and method in _METHODS else None


def list_sources() -> list[Path]:
    """Return the driver's files whose calls are looked at."""
    areas = [path for area in AREAS for path in sorted((HOST / area).glob("*.py"))]
    return [*areas, *(HOST / name for name in FILES)]


def list_sites() -> dict[str, str]:
    """Return the calls of the system by their site (file:line:column), with their names."""
    sites = {}
    for path in list_sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and (name := name_of(node)):
                sites[_site(path, node)] = name
    return sites


def _site(path: Path, node: ast.Call) -> str:
    return f"{path.relative_to(HOST / 'lenslink')}:{node.lineno}:{node.col_offset}"


class _Instrument(ast.NodeTransformer):
    def __init__(self, path: Path) -> None:
        self._path = path

    def visit_Call(self, node: ast.Call) -> ast.AST:
        is_site = name_of(node) is not None
        site = _site(self._path, node)
        self.generic_visit(node)
        if not is_site:
            return node
        function = ast.Name("__system_call__", ast.Load())
        return ast.copy_location(
            ast.Call(function, [ast.Constant(site), node.func, *node.args], node.keywords), node
        )


class _Loader(importlib.machinery.SourceFileLoader):
    def get_code(self, fullname: str) -> CodeType:
        path = Path(self.get_filename(fullname))
        tree = _Instrument(path).visit(ast.parse(path.read_bytes()))
        return compile(ast.fix_missing_locations(tree), str(path), "exec")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self) -> None:
        self._paths = {str(path) for path in list_sources()}

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith("lenslink."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin not in self._paths:
            return None
        loader = _Loader(fullname, spec.origin)
        return importlib.util.spec_from_file_location(
            fullname, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )


class Faults:
    """Count the calls at each site, and let those at one site fail from a given turn on."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._site = ""
        self._code = 0
        self._turn = 0

    def call(self, site: str, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        self.counts[site] += 1
        if site == self._site and self.counts[site] >= self._turn:
            raise _make_error(site, self._code)
        return function(*args, **options)

    @contextlib.contextmanager
    def failing(self, site: str, code: int, turn: int) -> Iterator[None]:
        self.counts.clear()
        self._site, self._code, self._turn = site, code, turn
        try:
            yield
        finally:
            self._site = ""


def _make_error(site: str, code: int) -> OSError:
    if "/usb" in site:
        import usb.core

        error: OSError = usb.core.USBError(os.strerror(code), -1, code)
        return error
    return OSError(code, os.strerror(code))


def count_descriptors() -> int:
    gc.collect()
    return len(list(Path("/dev/fd").iterdir()))


def run_scenario(
    faults: Faults, scenario: Callable[[Path], None], folder: Path, seed: int, share: float
) -> dict[str, list[str]]:
    """Run *scenario* without a fault, and then with faults at each site that it reaches.

    Returns:
        ``reached``: the sites that were reached, with and without faults. ``problems``: what left
        the public interface besides the driver's own errors, and descriptors that were left.
    """
    from lenslink.errors import LensLinkError

    names = list_sites()
    problems = []
    chance = random.Random(seed)
    with faults.failing("", 0, 0):
        scenario(folder)
        counts = dict(faults.counts)
    reached = set(counts)
    for site, count in counts.items():
        turns = sorted({1, min(2, count), count})
        combinations = [(code, turn) for code in CODES for turn in turns]
        most = max(1, round(share * len(combinations)))
        for code, turn in chance.sample(combinations, most):
            before = count_descriptors()
            what = f"{site} {names[site]} {errno.errorcode[code]} from call {turn} on"
            with faults.failing(site, code, turn):
                try:
                    scenario(folder)
                except LensLinkError:
                    pass
                except BaseException as error:
                    problems.append(f"{what}: {type(error).__name__}: {error}")
                    error.__traceback__ = None
                reached |= set(faults.counts)
            is_close = names[site].rpartition(".")[2] in ("close", "unregister")
            if not is_close and count_descriptors() > before:
                problems.append(f"{what}: a descriptor is left")
    return {"reached": sorted(reached), "problems": problems}


def main(seed: int, share: float, scenarios: Sequence[str]) -> None:
    """Print a report for each of the *scenarios* as JSON."""
    faults = Faults()
    builtins.__system_call__ = faults.call  # type: ignore[attr-defined]
    sys.meta_path.insert(0, _Finder())
    from helpers import os_fault_scenarios

    reports = {}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LENSLINK_RUNTIME_DIR"] = folder
        for name in scenarios:
            scenario = getattr(os_fault_scenarios, name)
            reports[name] = run_scenario(faults, scenario, Path(folder), seed, share)
    print(json.dumps(reports))


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
