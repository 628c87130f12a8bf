"""Whatever the driver raises is in its own tree of errors, found by the syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from lenslink import errors

HOST = Path(__file__).resolve().parents[2] / "host/lenslink"
OURS = {
    name
    for name, value in vars(errors).items()
    if isinstance(value, type) and issubclass(value, errors.LensLinkError)
}
# Files outside of the command line, which turns errors into exit codes.
FILES = sorted(path for path in HOST.rglob("*.py") if "cli" not in path.relative_to(HOST).parts)
# Raised and caught inside of the package, or what Python itself would raise.
INTERNAL = {
    "ByteRingError": "the transport of shm: turns it into ProtocolError",
    "DamagedTile": "the receiver discards the tile",
    "LaneEnded": "the USB transport turns it into Disconnected",
    "NotReattached": "a Disconnected",
    "_Unreadable": "the USB transport skips the device",
    "AttributeError": "of a name that the package does not have",
    "NotImplementedError": "of a base class",
    "OSError": "serial: turns it into its own error where it was called",
    "UnsupportedOperation": "of a file that cannot do this, as Python's files raise it",
    "ValueError": "of pixels that do not fit their layout: no public call makes such a pair",
    "TypeError": "of a keyword argument that the call does not have",
}


def raised(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and class of each exception that is made where it is raised."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            yield node.lineno, ast.unparse(node.exc.func).rpartition(".")[2]
        elif (
            isinstance(node, ast.Raise)
            and isinstance(node.exc, ast.Name)
            # Other names are variables, which hold an error that was caught or made before.
            and node.exc.id.lstrip("_")[:1].isupper()
        ):
            yield node.lineno, node.exc.id


def makers() -> set[str]:
    """Functions and methods that return one of our errors, to be raised."""
    found = set()
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                kinds = ast.unparse(node.returns).replace("|", " ").split()
                if kinds and set(kinds) <= OURS:
                    found.add(node.name)
    return found


MAKERS = makers()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(HOST)))
def test_only_errors_of_the_tree_are_raised(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    strangers = [
        f"{path.name}:{line} {name}"
        for line, name in raised(tree)
        if name not in OURS | MAKERS | INTERNAL.keys()
    ]
    assert not strangers
