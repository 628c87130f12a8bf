"""Mutation testing of framing, link and reassembly: ``make mutate``, or this file by itself.

A mutant is one small change in one file: a comparison, an operator, a constant, a condition, or a
statement that is left out. A mutant with which all tests pass has survived, and is printed.

Nothing on disk is changed. A child process collects a module's tests once. For each mutant it
forks, gives the module's functions the mutant's code objects, and runs the collected tests until
the first failure. So a mutant costs neither an interpreter's start nor a collection.

Only code inside functions is changed. What a test file computes from the module while it is
imported is computed without the mutant.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import importlib
import inspect
import json
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import IO, Any, cast

import pytest
from _pytest.main import pytest_runtestloop as run_collected_tests

ROOT = Path(__file__).resolve().parents[2]

_FIRMWARE = ["tests/firmware/test_suites.py", "-k", "test_on_cpython"]
# Of the exploration, the three cases that end within seconds.
_EXPLORED = "not test_explore or (test_all and (lanes or buffers) and not night)"
_REASSEMBLY = [
    "tests/unit/test_reassembly.py",
    "tests/unit/test_reassembly_resend.py",
    "tests/unit/test_reassembly_batch.py",
]

# Each module's file and the pytest arguments of the tests that must notice a mutant.
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
    "lenslink.receive.assembly": (
        ROOT / "host/lenslink/receive/assembly.py",
        [
            *_REASSEMBLY,
            "tests/unit/test_packed_frames.py",
            "tests/unit/test_snapshots.py",
            "tests/unit/test_explore.py",
            "-k",
            _EXPLORED,
        ],
    ),
    "lenslink.receive.lane_progress": (
        ROOT / "host/lenslink/receive/lane_progress.py",
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

# One file holds the tests of many modules. Tests whose names contain one of these words run first,
# in this order.
_FIRST: dict[str, tuple[str, ...]] = {
    "lensfw.framing": ("[framing-", "[session-"),
    "lensfw.link": ("[session-", "[link-"),
    "lensfw.outbox": ("[outbox-", "[session-"),
}

# A child may use this many times the processor time that the tests take without a mutant. A limit
# of wall time would count mutants as noticed on a busy machine.
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
    """One change of a module, with the line of the change and the whole changed syntax tree."""

    module: str
    line: int
    change: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.change}"


def _changes(node: ast.AST) -> Iterator[tuple[str, str, object]]:
    """Yield the changes of a node, as (description, attribute, new value)."""
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
        # A comparison in a condition has changes of its own.
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


def _is_removable(node: ast.stmt) -> bool:
    """Return True if the file still compiles when the statement is left out."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Call)
    return isinstance(node, (ast.Assign, ast.AugAssign, ast.Continue, ast.Break, ast.Delete))


def mutants(module: str, path: Path) -> list[Mutant]:
    """Return all mutants of a file in the file's order. Declarations and annotations stay."""
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
                    if inside and isinstance(child, ast.stmt) and _is_removable(child):
                        field[index] = ast.copy_location(ast.Pass(), child)
                        add(child.lineno, f"left out: {ast.unparse(child)[:60]}")
                        field[index] = child
                    if isinstance(child, ast.AST):
                        visit(child, inside or isinstance(child, ast.FunctionDef))
            elif isinstance(field, ast.AST):
                visit(field, inside)

    visit(tree, inside=False)
    return found


class _Order:
    """A pytest plugin that runs the most discriminating tests of a module first."""

    def __init__(self, words: tuple[str, ...]) -> None:
        self._words = words

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Sort the tests by the first of the words that is in their names."""
        items.sort(key=lambda item: self._rank(item.name))

    def _rank(self, name: str) -> int:
        found = (index for index, word in enumerate(self._words) if word in name)
        return next(found, len(self._words))


def _code_objects(code: CodeType) -> Iterator[CodeType]:
    """Yield every code object inside *code*, at any depth."""
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield each
            yield from _code_objects(each)


def _functions(value: object) -> Iterator[FunctionType]:
    """Yield the functions behind an attribute of a module or class, decorators removed."""
    if isinstance(value, FunctionType):
        yield cast(FunctionType, inspect.unwrap(value))
    elif isinstance(value, (staticmethod, classmethod)):
        yield from _functions(value.__func__)
    elif isinstance(value, property):
        for accessor in (value.fget, value.fset, value.fdel):
            yield from _functions(accessor)
    elif hasattr(value, "__wrapped__"):
        yield from _functions(value.__wrapped__)


def functions_of(module: ModuleType) -> list[FunctionType]:
    """Return the functions and methods that *module* defines, those of nested classes included."""
    found: list[FunctionType] = []

    def visit(namespace: object) -> None:
        for value in list(vars(namespace).values()):
            if isinstance(value, type):
                inner = f"{getattr(namespace, '__qualname__', '')}.{value.__name__}".lstrip(".")
                if value.__module__ == module.__name__ and value.__qualname__ == inner:
                    visit(value)
                continue
            found.extend(f for f in _functions(value) if f.__module__ == module.__name__)

    visit(module)
    return found


def apply_mutant(mutant: Mutant, module: ModuleType, path: Path) -> int:
    """Give the functions of *module* the mutant's code, and return how many changed.

    0 means that the compiler makes the same code of both, so nothing can notice the mutant.
    """
    compiled = compile(mutant.tree, str(path), "exec")
    by_name = {each.co_qualname: each for each in _code_objects(compiled)}
    count = 0
    for function in functions_of(module):
        old = function.__code__
        new = by_name.get(old.co_qualname)
        if new is None or new == old:
            continue
        if new.co_freevars != old.co_freevars:
            # Only ``__class__`` of a super() that the mutant leaves out. The closure stays.
            new = new.replace(co_freevars=old.co_freevars)
        function.__code__ = new
        count += 1
    return count


class _ForkPerMutant:
    """A pytest plugin that runs the collected tests once for each mutant, each time in a fork.

    ``pytest_runtestloop`` writes one JSON object a line to *report*: first the clean run's
    ``seconds`` (null if a test failed), then ``index`` and ``survived`` of each mutant.
    """

    def __init__(
        self, module: str, chosen: Sequence[Mutant], options: argparse.Namespace, report: IO[str]
    ) -> None:
        self._module = module
        self._chosen = chosen
        self._options = options
        self._report = report

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Try every mutant. This replaces pytest's own loop, which the forks call."""
        # Imported before the first fork, so that each fork finds the same module to change.
        importlib.import_module(self._module)
        child = self._start(session, None, _CLOCK_S)
        _, status, used = os.wait4(child, 0)
        self._tell(seconds=None if status else used.ru_utime + used.ru_stime)
        if status:
            return True
        limit_s = int(_TIMES * (used.ru_utime + used.ru_stime)) + 1
        waiting = list(range(len(self._chosen)))
        running: dict[int, int] = {}
        end = time.monotonic() + self._options.seconds
        while waiting or running:
            if time.monotonic() > end:
                waiting.clear()
            while waiting and len(running) < self._options.jobs:
                index = waiting.pop(0)
                running[self._start(session, self._chosen[index], limit_s)] = index
            child, status = os.wait()
            self._tell(index=running.pop(child), survived=status == 0)
        return True

    def _tell(self, **fields: object) -> None:
        self._report.write(json.dumps(fields) + "\n")
        self._report.flush()

    def _start(self, session: pytest.Session, mutant: Mutant | None, seconds: int) -> int:
        """Fork a child that may use so many seconds of a processor, and return its id."""
        child = os.fork()
        if child:
            return child
        status = 1
        with contextlib.suppress(BaseException):
            os.setsid()
            # A mutant that never ends, or takes all memory, counts as noticed.
            signal.alarm(_CLOCK_S)
            resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
            resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
            if mutant is not None:
                apply_mutant(mutant, sys.modules[self._module], TARGETS[self._module][0])
            with contextlib.suppress(pytest.Session.Failed):
                run_collected_tests(session)
            status = 1 if session.testsfailed else 0
            if mutant is None and status:
                session.config.pluginmanager.getplugin("terminalreporter").summary_failures()
        sys.stdout.flush()
        os._exit(status)


def _run_tests(
    module: str, chosen: Sequence[Mutant], options: argparse.Namespace, report: IO[str]
) -> None:
    """Collect the tests of *module* and try the mutants. Never returns: this is a child."""
    log = os.open(options.log / "mutate.txt", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    tests = TARGETS[module][1]
    status = 1
    with contextlib.suppress(BaseException):
        status = pytest.main(
            ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "--no-header", "-W", "ignore",
             "--timeout", "0", *tests],
            plugins=[
                _Order(_FIRST.get(module, ())), _ForkPerMutant(module, chosen, options, report)
            ],
        )  # fmt: skip
    os._exit(int(status))


def try_mutants(
    module: str, chosen: Sequence[Mutant], options: argparse.Namespace
) -> tuple[int, list[Mutant]] | None:
    """Return how many mutants were tried and those that survived, None if a test fails without."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read_end)
        with os.fdopen(write_end, "w", encoding="utf-8") as report:
            _run_tests(module, chosen, options, report)
    os.close(write_end)
    with os.fdopen(read_end, encoding="utf-8") as report:
        lines = [json.loads(line) for line in report]
    os.waitpid(child, 0)
    if not lines or lines[0]["seconds"] is None:
        return None
    return len(lines) - 1, [chosen[each["index"]] for each in lines[1:] if each["survived"]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Try the mutants, print the survivors and return 0 if the share of --least was killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", default=list(TARGETS), help="which (default: all)")
    parser.add_argument("--jobs", type=int, default=2, help="mutants at a time")
    parser.add_argument("--sample", type=float, default=1.0, help="share of mutants to try")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"),
        help="for each module: start no mutant after this time",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="chooses the sample")
    parser.add_argument("--least", type=float, default=0.9, help="share that must be killed")
    parser.add_argument("--log", type=Path, default=ROOT / "out", help="folder of mutate.txt")
    options = parser.parse_args(arguments)
    options.log.mkdir(parents=True, exist_ok=True)
    os.chdir(ROOT)
    os.environ["CI"] = "true"
    killed = tried = 0
    for module in options.modules:
        began = time.monotonic()
        every = mutants(module, TARGETS[module][0])
        count = max(1, round(len(every) * options.sample))
        chosen = random.Random(options.seed).sample(every, count)
        outcome = try_mutants(module, chosen, options)
        if outcome is None:
            print(f"{module}: the tests fail without a mutant: see {options.log}/mutate.txt")
            return 1
        count, survivors = outcome
        killed += count - len(survivors)
        tried += count
        share = 1 - len(survivors) / max(1, count)
        seconds = time.monotonic() - began
        print(
            f"{module}: {count} of {len(every)} mutants, {count - len(survivors)} killed "
            f"({share:.1%}), {seconds:.0f} s",
            flush=True,
        )
        for mutant in sorted(survivors, key=lambda each: each.line):
            print(f"  survived {mutant}", flush=True)
    print(f"all: {tried} mutants, {killed} killed ({killed / max(1, tried):.1%})")
    return 0 if killed >= options.least * tried else 7


if __name__ == "__main__":
    sys.exit(main())
