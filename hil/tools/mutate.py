"""Mutation testing of framing and link: ``make mutate``, or ``python hil/tools/mutate.py``.

Each mutant is one small change in one file: a comparison, an operator, a constant, a condition, a
statement that is left out. Tests that still pass have not noticed; such a survivor is printed.

Nothing is written to the sources. A mutant lives in a forked process that compiles the changed
file at import, runs the fast sans-IO tests below until the first failure, and ends. Tools that
change the checkout in place (cosmic-ray) would disturb whoever works in it; those that copy one
source folder (mutmut) do not fit four roots and an interpreter started by the tests.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

_FIRMWARE = ["tests/firmware/test_suites.py", "-k", "test_on_cpython"]
# Of the exploration, the three cases that end within seconds.
_EXPLORED = "not test_explore or (test_all and (lanes or buffers) and not night)"
_REASSEMBLY = [
    "tests/unit/test_reassembly.py",
    "tests/unit/test_reassembly_resend.py",
    "tests/unit/test_reassembly_batch.py",
]

# Module, file, the tests that shall notice: the fastest first.
TARGETS: dict[str, tuple[Path, list[str]]] = {
    "lenslink_protocol.framing": (
        ROOT / "protocol/lenslink_protocol/framing.py",
        [
            "tests/unit/test_framing.py",
            "tests/unit/test_framing_search.py",
            "tests/unit/test_snapshots.py",
            "tests/golden/test_bad.py",
            "-k",
            "not test_bad or test_the_host",
        ],
    ),
    "lenslink_protocol.link": (
        ROOT / "protocol/lenslink_protocol/link.py",
        [
            "tests/unit/test_link.py",
            *_REASSEMBLY,
            "tests/unit/test_snapshots.py",
            "tests/unit/test_explore.py",
            "-k",
            _EXPLORED,
        ],
    ),
    "lenslink.receive.reassembly": (
        ROOT / "host/lenslink/receive/reassembly.py",
        [
            *_REASSEMBLY,
            "tests/unit/test_packed_frames.py",
            "tests/unit/test_snapshots.py",
            "tests/unit/test_explore.py",
            "-k",
            _EXPLORED,
        ],
    ),
    "lensfw.framing": (ROOT / "firmware/lensfw/framing.py", _FIRMWARE),
    "lensfw.link": (ROOT / "firmware/lensfw/link.py", _FIRMWARE),
    "lensfw.outbox": (ROOT / "firmware/lensfw/outbox.py", _FIRMWARE),
}

# Where one file holds the tests of many modules, those whose names contain one of these words run
# first, in this order.
_FIRST: dict[str, tuple[str, ...]] = {
    "lensfw.framing": ("[framing-", "[session-"),
    "lensfw.link": ("[session-", "[link-"),
    "lensfw.outbox": ("[outbox-", "[session-"),
}

# A mutant whose tests take so many times the processor time they take without one does not end. Not
# the clock's time: on a busy machine that would count mutants as noticed.
_TIMES = 3
_CLOCK_S = 900
_COMPARE: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BINARY: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}


@dataclass(frozen=True)
class Mutant:
    """A change of a module: its line, and what became of it."""

    module: str
    line: int
    change: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.change}"


def _changes(node: ast.AST) -> Iterator[tuple[str, str, object]]:
    """What may be changed in a node, as (description, attribute, new value)."""
    if isinstance(node, ast.Compare):
        for index, kind in enumerate(node.ops):
            ops = list(node.ops)
            ops[index] = _COMPARE[type(kind)]()
            yield f"{type(kind).__name__} -> {type(ops[index]).__name__}", "ops", ops
    elif isinstance(node, (ast.BinOp, ast.AugAssign)):
        other = _BINARY.get(type(node.op))
        if other is not None:
            yield f"{type(node.op).__name__} -> {other.__name__}", "op", other()
    elif isinstance(node, ast.BoolOp):
        swapped = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield f"{type(node.op).__name__} -> {type(swapped).__name__}", "op", swapped
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield f"{node.value} -> {not node.value}", "value", not node.value
        elif isinstance(node.value, int):
            yield f"{node.value} -> {node.value + 1}", "value", node.value + 1
    elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
        # A comparison is changed by itself.
        yield from (
            ()
            if isinstance(node.test, (ast.Compare, ast.Constant))
            else (("condition negated", "test", ast.UnaryOp(ast.Not(), node.test)),)
        )
    elif isinstance(node, ast.Call) and ast.unparse(node.func) in {"min", "max"}:
        other_name = "max" if ast.unparse(node.func) == "min" else "min"
        yield f"to {other_name}", "func", ast.Name(other_name, ast.Load())
    elif isinstance(node, ast.Return) and node.value and ast.unparse(node.value) != "None":
        yield "return None", "value", ast.Constant(None)


def _is_left_out(node: ast.stmt) -> bool:
    """Whether a statement can be left out and what remains still compiles."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    return isinstance(node, (ast.Assign, ast.AugAssign, ast.Continue, ast.Break, ast.Delete))


def mutants(module: str, path: Path) -> list[Mutant]:
    """All mutants of a file, in its order. Declarations and annotations are left alone."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: list[Mutant] = []

    def add(line: int, change: str) -> None:
        found.append(Mutant(module, line, change, ast.fix_missing_locations(copy.deepcopy(tree))))

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.ClassDef) and any(
            isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases
        ):
            return
        if inside:
            for change, attribute, value in _changes(node):
                before = getattr(node, attribute)
                setattr(node, attribute, value)
                add(node.lineno, change)  # type: ignore[attr-defined]
                setattr(node, attribute, before)
        for name, field in ast.iter_fields(node):
            if name in {"annotation", "returns", "decorator_list", "args"} and isinstance(
                node, (ast.FunctionDef, ast.AnnAssign)
            ):
                continue
            if isinstance(field, list):
                for index, child in enumerate(field):
                    if inside and isinstance(child, ast.stmt) and _is_left_out(child):
                        field[index] = ast.copy_location(ast.Pass(), child)
                        add(child.lineno, f"left out: {ast.unparse(child)[:60]}")
                        field[index] = child
                    if isinstance(child, ast.AST):
                        visit(child, inside or isinstance(child, ast.FunctionDef))
            elif isinstance(field, ast.AST):
                visit(field, inside)

    visit(tree, inside=False)
    return found


class _Finder(MetaPathFinder, SourceFileLoader):
    """Gives the mutant where its module is imported."""

    def __init__(self, module: str, path: Path, code: CodeType) -> None:
        super().__init__(module, str(path))
        self.module, self.code = module, code

    def find_spec(
        self, fullname: str, path: object = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname != self.module:
            return None
        return ModuleSpec(fullname, self, origin=self.path)

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return self.code


class _Order:
    """A pytest plugin that runs the most discriminating tests of a module first."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Sort the tests by the first word of *words* that is in their names."""
        items.sort(key=lambda item: self._rank(item.name))

    def _rank(self, name: str) -> int:
        found = (index for index, word in enumerate(self._words) if word in name)
        return next(found, len(self._words))


def _run(mutant: Mutant | None, module: str) -> int:
    """In a child: 0 if the tests pass."""
    import pytest

    path, tests = TARGETS[module]
    if mutant is not None:
        code = compile(mutant.tree, str(path), "exec")
        sys.meta_path.insert(0, _Finder(module, path, code))
    there = [each for each in tests if not each.startswith("tests/") or (ROOT / each).is_file()]
    return int(
        pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "-W", "ignore",
             "--timeout", "0", *there],
            plugins=[_Order(_FIRST.get(module, ()))],
        )
    )  # fmt: skip


def _start(mutant: Mutant | None, module: str, log: Path, seconds: int) -> int:
    """Begin a child that may use so many seconds of a processor; its id."""
    child = os.fork()
    if child:
        return child
    status = 1
    with contextlib.suppress(BaseException):
        os.setsid()
        # A mutant that never ends, or takes all memory, is noticed too.
        signal.alarm(_CLOCK_S)
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        status = _run(mutant, module)
    os._exit(status)


def main() -> int:
    """0 if all of the share is killed that --least asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TARGETS), help="which (default: all)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--sample", type=float, default=1.0, help="share of mutants to try")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="a module; then no more are begun"
    )
    parser.add_argument("--seed", type=int, default=1, help="which of them")
    parser.add_argument("--least", type=float, default=0.9, help="share that must be killed")
    parser.add_argument("--log", type=Path, default=ROOT / "out")
    options = parser.parse_args()
    options.log.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    os.environ["CI"] = "true"
    # Paid for once, not in each child; nothing of the project, which a mutant must replace.
    for name in ("numpy", "pytest", "hypothesis", "construct", "isal.isal_zlib", "_pytest.main"):
        with contextlib.suppress(ImportError):
            __import__(name)
    killed = tried = 0
    for module in options.modules:
        began = time.monotonic()
        alive = _start(None, module, options.log / "mutate-clean.txt", _CLOCK_S)
        _, status, used = os.wait4(alive, 0)
        if status:
            print(f"{module}: the tests fail without a mutant: see {options.log}/mutate-clean.txt")
            return 1
        every = mutants(module, TARGETS[module][0])
        count = max(1, round(len(every) * options.sample))
        chosen = random.Random(options.seed).sample(every, count)
        count, survivors = _try_all(chosen, module, options, int(_TIMES * used.ru_utime) + 2)
        killed += count - len(survivors)
        tried += count
        share = 1 - len(survivors) / count
        seconds = time.monotonic() - began
        print(
            f"{module}: {count} of {len(every)} mutants, {count - len(survivors)} killed "
            f"({share:.1%}), {seconds:.0f} s",
            flush=True,
        )
        for mutant in sorted(survivors, key=lambda each: each.line):
            print(f"  survived {mutant}", flush=True)
    print(f"all: {tried} mutants, {killed} killed ({killed / tried:.1%})")
    return 0 if killed >= options.least * tried else 7


def _try_all(
    chosen: list[Mutant], module: str, options: argparse.Namespace, cpu_s: int
) -> tuple[int, list[Mutant]]:
    """How many were tried, and those that survived."""
    tried = 0
    survivors = []
    running: dict[int, Mutant] = {}
    waiting = list(chosen)
    end = time.monotonic() + options.seconds
    while waiting or running:
        if time.monotonic() > end:
            waiting.clear()
        while waiting and len(running) < options.jobs:
            mutant = waiting.pop()
            log = options.log / f"mutate-{len(waiting) % 8}.txt"
            running[_start(mutant, module, log, cpu_s)] = mutant
            tried += 1
        child, status = os.wait()
        mutant = running.pop(child)
        if status == 0:
            survivors.append(mutant)
    return tried, survivors


if __name__ == "__main__":
    sys.exit(main())
