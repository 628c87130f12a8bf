"""The supply is cut at each operation of an update on MicroPython's own file system, VfsLfs2."""

from __future__ import annotations

import base64
import json
import random

from helpers import micropython_process
from helpers.nightly_scale import choose, say

from lenslink_hil.flash.board_layout import BUILD, MARKER, OWN, STUBS, Marker
from lenslink_hil.flash.update import apply_plan, hash_contents, plan_update, read_state

FILES = choose(6, 30)


class RecordedBoard:
    """A board in memory that notes each call that changes its files."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.calls: list[tuple[str, str, str]] = []

    def hash_files(self, folders):
        return hash_contents(self.files)

    def read_file(self, path):
        return self.files.get(path)

    def write_file(self, path, content):
        self.files[path] = content
        self.calls.append(("write", path, base64.b64encode(content).decode()))

    def rename_file(self, path, target):
        self.files[target] = self.files.pop(path)
        self.calls.append(("rename", path, target))

    def remove_file(self, path):
        del self.files[path]
        self.calls.append(("remove", path, ""))


def make_firmware(seed: int) -> dict[str, bytes]:
    chosen = random.Random(seed)
    names = [f"lensfw/ports/m{number}.mpy" for number in range(FILES - seed % 2)]
    return {name: chosen.randbytes(chosen.randrange(100, 2500)) for name in [*names, BUILD]}


def test_no_cut_leaves_a_mixture(tmp_path, capsys):
    old, new = make_firmware(1), make_firmware(2)
    roots = [dict.fromkeys((OWN, *STUBS), b"%d" % number * 40) for number in (1, 2)]
    board = RecordedBoard()
    apply_plan(plan_update(read_state(board), old, roots[0]), board)
    board.write_file(MARKER, Marker("a", "a").encode())
    base, board.calls = board.calls, []
    apply_plan(plan_update(read_state(board), new, roots[1]), board)
    kinds = {
        kind: {name: base64.b64encode(content).decode() for name, content in files.items()}
        for kind, files in (("old", old), ("new", new))
    }
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"base": base, "update": board.calls, "kinds": kinds}))
    script = micropython_process.TESTS / "helpers/vfs_cuts.py"
    total, cuts, found = json.loads(micropython_process.run(script, str(task), "1"))
    assert cuts == total + 1 >= choose(20, 150)
    assert set(found) == {"old", "new"}, found
    say(capsys, f"{cuts} of {cuts} cuts on MicroPython's VfsLfs2, 0 mixtures: {found}")


def test_a_mixture_would_be_found(tmp_path):
    """The marker is written first here, as an update in place would."""
    old, new = make_firmware(1), make_firmware(2)
    board = RecordedBoard()
    apply_plan(plan_update(read_state(board), old, dict.fromkeys((OWN, *STUBS), b"x")), board)
    base, board.calls = board.calls, []
    for name, content in new.items():
        board.write_file(f"a/{name}", content)
    kinds = {
        kind: {name: base64.b64encode(content).decode() for name, content in files.items()}
        for kind, files in (("old", old), ("new", new))
    }
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"base": base, "update": board.calls, "kinds": kinds}))
    script = micropython_process.TESTS / "helpers/vfs_cuts.py"
    _, cuts, found = json.loads(micropython_process.run(script, str(task), "3"))
    assert found["mixture"] > cuts // 2
