"""The supply is cut at each operation of the flash: no board ever holds a mixture of two firmwares.

The file system is littlefs as MicroPython's port to the RP2040 mounts it. A cut comes before an
operation or halfway through it.
"""

from __future__ import annotations

import random

import pytest
from helpers.nightly_scale import NIGHTLY, say

pytest.importorskip("littlefs", reason="littlefs-python is not installed")

from helpers.littlefs_board import LittleFsBoard, iterate_cuts

from lenslink_hil.flash.board_layout import BUILD, MARKER, OWN, STUBS, Marker
from lenslink_hil.flash.update import (
    apply_plan,
    erase_files,
    hash_contents,
    list_own_files,
    plan_recovery,
    plan_update,
    read_state,
)

# The sizes of a Pico's firmware: 36 files, 46 kB.
FILES = 36
SAMPLE = 6
"""Cuts of each case in CI."""


def make_firmware(seed: int, unchanged: dict[str, bytes] | None = None) -> dict[str, bytes]:
    """Return the files of a slot; a third of them as in *unchanged*."""
    chosen = random.Random(seed)
    files = {
        f"lensfw/{'ports/' if number % 5 == 0 else ''}m{number}.mpy": chosen.randbytes(
            chosen.randrange(100, 2500)
        )
        for number in range(FILES - seed % 2)
    }
    for name in list(files)[::3]:
        files[name] = (unchanged or files).get(name, files[name])
    return {**files, BUILD: b'{"build": %d}' % seed}


def make_root(seed: int) -> dict[str, bytes]:
    return {name: f"lensboot {name} {seed}".encode() * 40 for name in (OWN, *STUBS)}


OLD, OLD_ROOT = make_firmware(1), make_root(1)
NEW, NEW_ROOT = make_firmware(2, OLD), make_root(2)
OLDER = make_firmware(3)


def flash(board: LittleFsBoard, slot: dict[str, bytes], root: dict[str, bytes]) -> int:
    """Flash a board and return the number of files that were sent."""
    plan = plan_update(read_state(board), slot, root)
    apply_plan(plan, board)
    return len(plan.files)


def confirm(board: LittleFsBoard) -> None:
    marker = read_state(board).marker
    assert marker is not None
    board.write_file(MARKER, Marker(marker.slot, marker.slot).encode())


def make_board(*, confirmed: bool = True) -> bytes:
    """Return the flash of a board with the old firmware; unconfirmed, and an older good one."""
    board = LittleFsBoard()
    if not confirmed:
        flash(board, OLDER, OLD_ROOT)
        confirm(board)
    flash(board, OLD, OLD_ROOT)
    if confirmed:
        confirm(board)
    return bytes(board.flash.buffer)


def damage(content: bytes) -> bytes:
    """Flip a bit in a file of the marked slot."""
    board = LittleFsBoard(content)
    name = next(iter(OLD))
    assert read_state(board).marker is not None
    slot = read_state(board).marker.slot
    board.write_file(f"{slot}/{name}", bytes([OLD[name][0] ^ 1]) + OLD[name][1:])
    return bytes(board.flash.buffer)


CASES = {
    "update": (make_board, ["old", "new"]),
    "first installation": (lambda: bytes(LittleFsBoard().flash.buffer), ["none", "new"]),
    "unconfirmed firmware replaced": (
        lambda: make_board(confirmed=False),
        ["old", "older", "new"],
    ),
    "damaged firmware replaced": (lambda: damage(make_board()), ["damaged", "new"]),
}


def classify(board: LittleFsBoard) -> str:
    """Return which firmware the board starts; "mixture" if it is none."""
    state = read_state(board)
    if state.marker is None:
        return "none"
    found = state.list_slot(state.marker.slot)
    root = {name: state.hashes.get(name) for name in NEW_ROOT}
    roots = [hash_contents(each) for each in (OLD_ROOT, NEW_ROOT)]
    if any(root[name] not in (roots[0][name], roots[1][name]) for name in root):
        return "mixture"
    damaged = dict(OLD)
    name = next(iter(OLD))
    damaged[name] = bytes([OLD[name][0] ^ 1]) + OLD[name][1:]
    kinds = {"old": OLD, "new": NEW, "older": OLDER, "damaged": damaged}
    for kind, files in kinds.items():
        if found == hash_contents(files):
            # The new firmware never meets older files outside the slots.
            return kind if kind != "new" or root == roots[1] else "mixture"
    return "mixture"


@pytest.mark.timeout(1800 if NIGHTLY else 120)
@pytest.mark.parametrize("case", CASES)
def test_each_cut_leaves_one_firmware_and_the_next_flash_finishes(case, seed, capsys):
    make, wanted = CASES[case]
    base = make()
    board = LittleFsBoard(base)
    flash(board, NEW, NEW_ROOT)
    cuts = list(iterate_cuts(base, board.flash.log))
    chosen = cuts
    if not NIGHTLY:
        picked = random.Random(f"{seed} {case}")
        chosen = [cuts[0], *picked.sample(cuts, SAMPLE), *cuts[-2:]]
    order = []
    for number, is_half, content in chosen:
        board = LittleFsBoard(content)
        kind = classify(board)
        assert kind in wanted, f"{kind} after operation {number}{' and a half' * is_half}"
        order.append((number, wanted.index(kind)))
        sent = flash(board, NEW, NEW_ROOT)
        assert classify(board) == "new", f"the next flash after operation {number}"
        if number == len(cuts) // 2:
            assert sent == 0
        board.writes.clear()
        assert flash(board, NEW, NEW_ROOT) == 0
        assert board.writes == []
    # It never goes back to what came before.
    assert [kind for _, kind in sorted(order)] == sorted(kind for _, kind in order)
    assert {kind for _, kind in order} == set(range(len(wanted)))
    say(capsys, f"{case}: {len(chosen)} of {len(cuts)} cuts, 0 mixtures (seed {seed})")


def test_files_that_arrived_before_a_cut_are_not_sent_again():
    base = make_board()
    board = LittleFsBoard(base)
    whole = flash(board, NEW, NEW_ROOT)
    cuts = list(iterate_cuts(base, board.flash.log))
    resumed = LittleFsBoard(cuts[len(cuts) // 2][2])
    assert 0 < flash(resumed, NEW, NEW_ROOT) < whole


def test_an_update_in_place_does_leave_mixtures():
    """The test above can fail."""
    base = make_board()
    board = LittleFsBoard(base)
    slot = read_state(board).marker.slot
    for name, content in NEW.items():
        board.write_file(f"{slot}/{name}", content)
    cuts = list(iterate_cuts(base, board.flash.log))
    kinds = [classify(LittleFsBoard(content)) for _, _, content in cuts[:: len(cuts) // 10]]
    assert kinds.count("mixture") > len(kinds) // 2


@pytest.mark.parametrize("where", ["slot", "root"])
def test_a_flipped_byte_anywhere_is_found(where, seed):
    base = make_board()
    chosen = random.Random(f"{seed} {where}")
    for _ in range(len(OLD) if NIGHTLY else 4):
        board = LittleFsBoard(base)
        assert plan_update(read_state(board), OLD, OLD_ROOT).is_empty
        slot = read_state(board).marker.slot
        names = [f"{slot}/{name}" for name in OLD] if where == "slot" else list(OLD_ROOT)
        path = chosen.choice(names)
        content = bytearray(board.read_file(path))
        content[chosen.randrange(len(content))] ^= 1 << chosen.randrange(8)
        board.write_file(path, bytes(content))
        plan = plan_update(read_state(board), OLD, OLD_ROOT)
        assert not plan.is_empty, path
        apply_plan(plan, board)
        assert plan_update(read_state(board), OLD, OLD_ROOT).is_empty


def recover(board: LittleFsBoard) -> None:
    apply_plan(plan_recovery(read_state(board), NEW, NEW_ROOT), board)


def erase(board: LittleFsBoard) -> None:
    erase_files(list_own_files(board), board)


@pytest.mark.timeout(1800 if NIGHTLY else 120)
@pytest.mark.parametrize("way", [recover, erase])
def test_a_cut_in_a_recovery_or_an_erasure_leaves_plain_micropython(way, seed, capsys):
    """Or the firmware that was there, or the new one; the same command finishes afterwards."""
    base = damage(make_board())
    board = LittleFsBoard(base)
    way(board)
    cuts = list(iterate_cuts(base, board.flash.log))
    chosen = cuts if NIGHTLY else random.Random(f"{seed} {way}").sample(cuts, SAMPLE)
    for number, is_half, content in chosen:
        board = LittleFsBoard(content)
        kind = classify(board)
        assert kind in ("damaged", "none", "new"), f"{kind} after operation {number} {is_half}"
        way(board)
        assert classify(board) == ("new" if way is recover else "none"), number
        if way is erase:
            assert not board.hash_files(["a", "b"]), number
            assert not board.list_folder(""), number
    say(capsys, f"{len(chosen)} cuts of {way.__name__} on littlefs (seed {seed})")
