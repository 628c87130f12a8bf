"""Test saving: the right format, whole or not at all, and no other file overwritten."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rawpy
import tifffile
from helpers.made_frames import make_frame, noise
from PIL import Image

from lenslink.errors import StorageError, UsageError
from lenslink.frame import FrameStatus
from lenslink.image_files import atomic_file
from lenslink.image_files.render import render
from lenslink.image_files.save import FORMATS, check_output, save

EXTENSIONS = tuple(FORMATS)
EXIFTOOL = shutil.which("exiftool")
AS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(scope="module")
def frame():
    return make_frame(noise(128, 192))


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# --- formats ---------------------------------------------------------------------------------


@pytest.mark.parametrize("extension", [*EXTENSIONS, ".DNG", ".Png"])
def test_save_returns_the_size_and_leaves_one_file(frame, tmp_path, extension):
    path = tmp_path / f"a photo{extension}"
    assert save(frame, path, force=False) == path.stat().st_size > 1000
    assert names(tmp_path) == [path.name]
    umask = os.umask(0o077)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask  # as any program's file, not a secret


@pytest.mark.skipif(EXIFTOOL is None, reason="exiftool is not on PATH")
def test_exiftool_has_no_complaint(frame, tmp_path):
    for extension in (".dng", ".tiff", ".png"):
        save(frame, tmp_path / f"out{extension}", force=False)
    done = subprocess.run(
        [EXIFTOOL, "-j", "-validate", "-warning", "-error", "-a", tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    reports = json.loads(done.stdout)
    assert len(reports) == 3
    for report in reports:
        assert (report["Validate"], set(report)) == ("OK", {"SourceFile", "Validate"}), report


def test_each_format_holds_the_frame(tmp_path):
    frame = make_frame(
        noise(128, 192),
        orientation=6,
        status=FrameStatus.INCOMPLETE,
        received_fraction=0.5,
        missing_ranges=((0, 10),),
    )
    for extension in EXTENSIONS:
        save(frame, tmp_path / f"out{extension}", force=False)
    said = "LensLink frame 12, 12 bit, incomplete: 50.0 % received"

    with rawpy.imread(str(tmp_path / "out.dng")) as raw:
        np.testing.assert_array_equal(raw.raw_image, frame.pixels)
    with tifffile.TiffFile(tmp_path / "out.dng") as tiff:
        assert tiff.pages.first.description == said
        assert tiff.pages.first.shape == (128, 192, 3)  # the preview
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), frame.pixels)
    for extension in (".tiff", ".tif"):
        with tifffile.TiffFile(tmp_path / f"out{extension}") as tiff:
            np.testing.assert_array_equal(tiff.asarray(), frame.pixels)
            assert tiff.pages.first.photometric == tifffile.PHOTOMETRIC.MINISBLACK
            about = json.loads(tiff.pages.first.description)
        assert about["description"] == said
        assert about["missing_ranges"] == [[0, 10]]
        assert about["identity"]["serial"] == "LL-0001"
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["Description"] == said
        np.testing.assert_array_equal(np.asarray(image), render(frame))
        assert image.size == (128, 192)  # turned upright


def test_a_frame_that_cannot_be_rendered_still_gives_its_raw(tmp_path):
    frame = make_frame(noise(), active_area=(8, 8, 16, 16))
    save(frame, tmp_path / "out.dng", force=False)
    with tifffile.TiffFile(tmp_path / "out.dng") as tiff:
        np.testing.assert_array_equal(tiff.pages.first.asarray(), frame.pixels)
    with pytest.raises(StorageError, match="cannot be rendered"):
        save(frame, tmp_path / "out.png", force=False)
    assert names(tmp_path) == ["out.dng"]


def test_importing_costs_no_image_library():
    heavy = "{'tifffile', 'rawpy', 'PIL'}"
    code = f"import sys, lenslink.image_files.save; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- names that will not do ------------------------------------------------------------------


def refused(path: Path, force: bool = False) -> str:
    """Return the one-line message with which both functions refuse *path*."""
    with pytest.raises(StorageError) as early:
        check_output(path, force)
    with pytest.raises(StorageError) as late:
        save(make_frame(noise()), path, force)
    for message in (str(early.value), str(late.value)):
        assert "\n" not in message
        assert path.name[:20].split("\n")[0] in message
    return str(early.value)


@pytest.mark.parametrize("name", ["photo", "photo.bmp", ".dng", "photo.dng.bak"])
def test_an_unknown_extension_lists_the_known(frame, tmp_path, name):
    for attempt in (check_output, lambda path, force: save(frame, path, force)):
        with pytest.raises(UsageError, match=r"\.dng, \.tiff, \.tif, \.npy, \.png"):
            attempt(tmp_path / name, False)
    assert names(tmp_path) == []


def test_a_good_name_passes_and_leaves_nothing(tmp_path):
    check_output(tmp_path / "photo.dng", force=False)
    assert names(tmp_path) == []


def test_an_existing_file_is_kept_without_force(frame, tmp_path):
    path = tmp_path / "photo.dng"
    path.write_bytes(b"precious")
    assert refused(path) == f"{path} exists: use --force to overwrite it"
    assert path.read_bytes() == b"precious"
    check_output(path, force=True)
    save(frame, path, force=True)
    assert path.read_bytes()[:2] == b"II"
    assert names(tmp_path) == ["photo.dng"]


def test_a_dangling_link_counts_as_existing(tmp_path):
    path = tmp_path / "photo.dng"
    path.symlink_to(tmp_path / "elsewhere.dng")
    assert "--force" in refused(path)
    assert path.is_symlink()


def test_a_missing_folder(tmp_path):
    assert "there is no such folder" in refused(tmp_path / "no" / "photo.dng")


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    assert "is not a folder" in refused(tmp_path / "file" / "photo.dng")


@pytest.mark.parametrize("force", [False, True])
def test_a_folder_in_the_way(tmp_path, force):
    path = tmp_path / "photo.dng"
    path.mkdir()
    assert "it is a folder" in refused(path, force=True)
    refused(path, force)
    assert names(tmp_path) == ["photo.dng"]


def test_a_pipe_in_the_way(tmp_path):
    path = tmp_path / "photo.dng"
    os.mkfifo(path)
    with pytest.raises(StorageError, match="pipe"):
        check_output(path, force=True)


def test_the_longest_name_works_and_a_longer_one_is_refused(frame, tmp_path):
    longest = tmp_path / ("x" * 251 + ".dng")
    check_output(longest, force=False)
    save(frame, longest, force=False)
    assert names(tmp_path) == [longest.name]
    assert "the name is too long" in refused(tmp_path / ("y" * 252 + ".dng"))
    assert names(tmp_path) == [longest.name]


def test_a_name_with_a_line_break_makes_no_second_line(tmp_path):
    path = tmp_path / "two\nlines.dng"
    path.touch()
    assert r"two\nlines.dng" in refused(path)


# --- failures half-way -----------------------------------------------------------------------


def fail_after(monkeypatch, budget: int, failure: BaseException) -> None:
    """Pass *budget* bytes to the file, then raise *failure* from every write."""
    left = budget

    def write(self, data):
        nonlocal left
        left -= memoryview(data).nbytes
        if left < 0:
            raise failure
        return super(atomic_file._Output, self).write(data)

    monkeypatch.setattr(atomic_file._Output, "write", write, raising=False)


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("extension", [".dng", ".tiff", ".npy", ".png"])
@pytest.mark.parametrize("part", [0.0, 0.01, 0.5, 0.999])
@pytest.mark.parametrize("failure", [FULL, KeyboardInterrupt()], ids=["full", "interrupt"])
def test_nothing_is_left_of_a_write_that_fails(
    *, frame, tmp_path, monkeypatch, extension, part, failure
):
    path = tmp_path / f"photo{extension}"
    size = save(frame, path, force=False)
    path.write_bytes(b"precious")
    fail_after(monkeypatch, int(size * part), failure)
    expected = StorageError if failure is FULL else KeyboardInterrupt
    for force, target in ((True, path), (False, tmp_path / f"new{extension}")):
        with pytest.raises(expected) as caught:
            save(frame, target, force)
        if failure is FULL:
            assert str(caught.value) == f"cannot write {target}: the disk is full"
    assert names(tmp_path) == [path.name]
    assert path.read_bytes() == b"precious"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("where", [(os, "fsync"), (Path, "replace")], ids=["fsync", "rename"])
@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (OSError(errno.EIO, "x"), "the disk reports an error"),
        (OSError(errno.EROFS, "x"), "the disk is read-only"),
        (OSError(errno.EACCES, "x"), "permission denied"),
        (OSError(errno.EDQUOT, "x"), "the disk quota is used up"),
        (OSError("no number"), "no number"),
        (KeyboardInterrupt(), None),
    ],
    ids=repr,
)
def test_nothing_is_left_of_an_end_that_fails(
    *, frame, tmp_path, monkeypatch, force, where, failure, said
):
    def fail(*_):
        raise failure

    no_links(monkeypatch)  # so that the rename is reached without force too
    monkeypatch.setattr(*where, fail)
    path = tmp_path / "photo.npy"
    expected = KeyboardInterrupt if isinstance(failure, KeyboardInterrupt) else StorageError
    with pytest.raises(expected, match=said):
        save(frame, path, force)
    assert names(tmp_path) == []


def no_links(monkeypatch) -> None:
    def refuse(*_):
        raise PermissionError(errno.EPERM, "no links on this file system")

    monkeypatch.setattr(Path, "hardlink_to", refuse)


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_appears_meanwhile_is_kept(frame, tmp_path, monkeypatch, links):
    path = tmp_path / "photo.npy"
    flush = os.fsync

    def race(descriptor):
        path.write_bytes(b"somebody else's")
        flush(descriptor)

    if not links:
        no_links(monkeypatch)
    monkeypatch.setattr(os, "fsync", race)
    check_output(path, force=False)
    with pytest.raises(StorageError, match="use --force"):
        save(frame, path, force=False)
    assert path.read_bytes() == b"somebody else's"
    assert names(tmp_path) == ["photo.npy"]


def test_a_file_system_without_links_suffices(frame, tmp_path, monkeypatch):
    no_links(monkeypatch)
    path = tmp_path / "photo.npy"
    assert save(frame, path, force=False) == path.stat().st_size
    assert names(tmp_path) == ["photo.npy"]


def test_the_file_is_whole_before_it_has_its_name(frame, tmp_path, monkeypatch):
    path = tmp_path / "photo.dng"
    flush, seen = os.fsync, []

    def look(descriptor):
        (other,) = tmp_path.iterdir()
        seen.append((other.name, other.stat().st_size))
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    size = save(frame, path, force=False)
    ((name, synced),) = seen
    assert name != path.name
    assert synced == size


def test_what_publish_is_given_is_on_the_disk_first(tmp_path, monkeypatch):
    sizes, flush = [], os.fsync

    def look(descriptor):
        sizes.append(os.fstat(descriptor).st_size)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    with atomic_file.publish(tmp_path / "small", force=False) as file:
        file.write(b"seven b")
    assert sizes == [7]


@pytest.mark.parametrize(
    "write", [np.save, tifffile.imwrite, lambda file, pixels: pixels.tofile(file)]
)
def test_no_library_writes_past_python(tmp_path, monkeypatch, write):
    """Written through the descriptor, numpy's error would not name the full disk."""
    fail_after(monkeypatch, 100, FULL)
    with (
        pytest.raises(StorageError, match=r"the disk is full|errors keep their errno"),
        atomic_file.publish(tmp_path / "out", force=False) as file,
    ):
        write(file, noise(256, 256))
    assert names(tmp_path) == []


# --- a real full disk, and a real read-only one ----------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """Mount a file system of 256 KB; return it and a function that makes it read-only."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    if not (AS_ROOT and mount and umount):
        pytest.skip("mounting a tmpfs needs root; the injected full disk was tested")
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=256k", "lenslink-test", folder],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder, lambda: subprocess.run([mount, "-o", "remount,ro", folder], check=True)
    finally:
        subprocess.run([umount, folder], check=True)


@pytest.mark.parametrize("extension", [".dng", ".tiff", ".npy", ".png"])
def test_a_full_disk(small_disk, extension):
    folder, _ = small_disk
    path = folder / f"photo{extension}"
    with pytest.raises(StorageError) as caught:
        save(make_frame(noise(512, 512)), path, force=False)
    assert str(caught.value) == f"cannot write {path}: the disk is full"
    assert names(folder) == []


def test_a_folder_that_cannot_be_written(request, tmp_path):
    if AS_ROOT:  # whom permissions do not stop, but a read-only disk does
        folder, make_read_only = request.getfixturevalue("small_disk")
        make_read_only()
    else:
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o555)
    assert "its folder cannot be written" in refused(folder / "photo.dng")
    assert names(folder) == []
