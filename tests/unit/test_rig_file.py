"""rig.toml: what is wrong is refused in one line that names the key and the nearest known one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lenslink.errors import RigError
from lenslink.transports import parse, resolve
from lenslink_hil.rig.rig_file import find_rig_file, load_rig

GOOD = """
name = "desk"
[board.left]
serial = "LL-0042"
kind = "pico"
power = "hub-3"
roles = ["focus"]
floors = { frames_per_s = 25 }
[board.right]
port = "/dev/ttyACM0"
serial = "LL-0043"
roles = ["focus", "spare"]
[board.third]
bus = "1-2.3"
firmware = "lensfw 0.1.*"
[power.hub-3]
switch = "uhubctl"
location = "1-1"
port = 3
rest = "off"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "my rig.toml"
    path.write_text(text)
    return path


def test_a_rig_is_read(tmp_path: Path) -> None:
    rig = load_rig(write(tmp_path, GOOD))
    assert rig.name == "desk"
    assert [board.url for board in rig.boards.values()] == [
        "usb:LL-0042", "serial:/dev/ttyACM0", "usb:1-2.3",
    ]  # fmt: skip
    left = rig.boards["left"]
    assert left.power is not None
    assert not left.power.is_on_at_rest
    assert left.power.options == {"location": "1-1", "port": 3}
    assert left.floors == {"frames_per_s": 25}
    assert [board.name for board in rig.find_boards("focus")] == ["left", "right"]
    assert [board.name for board in rig.find_boards("third")] == ["third"]
    assert len(rig.find_boards("")) == 3


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("kind =", "kinds =", "unknown key 'kinds'; did you mean 'kind'?"),
        ("power =", "pwer =", "unknown key 'pwer'; did you mean 'power'?"),
        ("frames_per_s", "frame_per_s", "floors: unknown key 'frame_per_s'; did you mean"),
        ("location =", "locaton =", "unknown key 'locaton'; did you mean 'location'?"),
        ('"uhubctl"', '"uhubctrl"', "'uhubctrl' is none of"),
        ('"hub-3"', '"hub3"', "there is no [power.hub3]; did you mean 'hub-3'?"),
        ('rest = "off"', 'rest = "of"', "did you mean 'off'?"),
        ("port = 3", "port = 0", "port = 0 is not the number of a port"),
        ("port = 3", 'port = 3\ntimeout = "long"', "timeout = 'long' is no number"),
        ('name = "desk"', "name = 7", "name = 7 is no text"),
        ('bus = "1-2.3"', "", "name one of url, port, bus, serial"),
        ('bus = "1-2.3"', 'bus = "1-2"\nport = "/dev/x"', "not port and bus"),
        ('bus = "1-2.3"', 'url = "nosuch:"', "unknown device URL scheme 'nosuch:'"),
        ('bus = "1-2.3"', 'url = "rig:left"', "no other rig's board"),
        ('roles = ["focus"]', 'roles = "focus"', "no list of texts"),
        ("[board.left]", "[bord.left]", "unknown key 'bord'; did you mean 'board'?"),
        ("[board.left]", "[board.left", "line"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, good: str, bad: str, said: str) -> None:
    path = write(tmp_path, GOOD.replace(good, bad, 1))
    with pytest.raises(RigError) as caught:
        load_rig(path)
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "name = 'empty'", "board = 3", "\x00", "a = [" * 5000])
def test_a_file_that_is_no_rig_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(RigError):
        load_rig(write(tmp_path, text))


def test_a_missing_and_an_endless_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RigError, match="No such file"):
        load_rig(tmp_path / "missing.toml")
    with pytest.raises(RigError, match="more than 1048576 bytes"):
        load_rig(Path("/dev/zero"))


def test_an_unknown_board_names_the_nearest(tmp_path: Path) -> None:
    rig = load_rig(write(tmp_path, GOOD))
    with pytest.raises(RigError, match="no board and no role 'lefft'; did you mean 'left'"):
        rig.find_boards("lefft")


def test_the_file_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LENSLINK_RIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RigError, match="there is no rig"):
        find_rig_file()
    (tmp_path / "rig.toml").write_text(GOOD)
    assert find_rig_file() == tmp_path / "rig.toml"
    monkeypatch.setenv("LENSLINK_RIG", "other.toml")
    assert find_rig_file() == tmp_path / "other.toml"
    assert find_rig_file("named.toml") == tmp_path / "named.toml"


def test_a_rig_url_stands_for_a_board_and_reserves_it(tmp_path: Path) -> None:
    from lenslink.deadline import Deadline

    path = tmp_path / "rig.toml"
    path.write_text('[board.a]\nurl = "sim:?width=64"\n[board.b]\nurl = "sim:?width=96"\n')
    url = parse(f"rig:?file={path}")
    first, give_back = resolve(url, Deadline(1))
    second, give_back_second = resolve(url, Deadline(1))
    assert (first.text, second.text) == ("sim:?width=64", "sim:?width=96")
    with pytest.raises(RigError, match="no board is free within"):
        resolve(url, Deadline(0.05))
    give_back()
    give_back()
    third, give_back_third = resolve(url, Deadline(1))
    assert third.text == first.text
    give_back_second()
    give_back_third()
