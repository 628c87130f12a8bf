"""labgrid without labgrid: names of owners, tags of places, and the messages of a missing extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.slowdown import patience

import lenslink
from lenslink.installation import make_install_hint
from lenslink_hil.labgrid.owner_name import IDLE_S, Owner, explain_release, read_start
from lenslink_hil.labgrid.place_tags import describe_tags, make_tags, read_roles
from lenslink_hil.rig.power_switch import load_switch
from lenslink_hil.rig.rig_file import load_rig


def test_the_name_of_an_owner_tells_a_process_that_ended_from_one_that_runs() -> None:
    owner = Owner.describe_self()
    assert Owner.parse(owner.name) == owner
    assert not owner.has_ended()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        start = read_start(child.pid)
        assert start is not None
        other = Owner(owner.host, owner.user, child.pid, start)
        assert not other.has_ended()
        # The number of the process was used again.
        assert Owner(owner.host, owner.user, child.pid, start + 1).has_ended()
        child.kill()
        # It is a zombie until somebody asks for its status, and has ended all the same.
        assert child.stdin is not None
        while read_start(child.pid) is not None:
            pass
        assert other.has_ended()
    assert other.has_ended()
    # Nobody here knows the processes of another machine.
    assert not Owner("elsewhere", owner.user, other.pid, start).has_ended()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "rack1/ana",
        "rack1/lenslink",
        "rack1/lenslink:ana:1",
        "rack1/lenslink:ana:1:",
        "rack1/lenslink:ana:one:2",
        "rack1/other:ana:1:2",
        "rack1/x/lenslink:ana:1:2",
        "rack1/lenslink:ana:1:2:3",
    ],
)
def test_the_name_of_somebody_else_is_not_one_of_ours(name: str) -> None:
    assert Owner.parse(name) is None


def test_a_place_is_released_only_if_its_owner_is_ours_and_gone_or_idle() -> None:
    here = Owner.describe_self()
    dead = Owner(here.host, here.user, here.pid, here.start + 1)
    far = Owner("elsewhere", "ana", 4711, 99)
    late, soon = IDLE_S + 1, IDLE_S - 1
    released = {
        (name, idle): explain_release(name, idle)
        for name in (here.name, dead.name, far.name, "elsewhere/ana", "")
        for idle in ((0.0,), (soon,), (late,), (None,), (late, 0.0), (late, None), (late, late))
    }
    idle = "had no connection for 45 s"
    assert {key: reason for key, reason in released.items() if reason} == {
        **{(dead.name, each): "has ended"
           for each in ((soon,), (late,), (None,), (late, None), (late, late))},
        **{(owner.name, each): idle for owner in (here, far) for each in ((late,), (late, late))},
    }  # fmt: skip


def test_tags_follow_from_the_options_of_a_url_and_from_a_board() -> None:
    board = make_tags({"rig": "desk", "board": "pico", "serial": ""}, ["af", "Dark-Box"])
    assert board == {"rig": "desk", "board": "pico", "role_af": "yes", "role_dark_box": "yes"}
    assert make_tags({"role": "Dark-Box"}).items() <= board.items()
    assert read_roles(board) == ("af", "dark_box")
    assert describe_tags(board) == "board=pico rig=desk role_af=yes role_dark_box=yes"
    assert describe_tags({}) == "no tags"


def test_without_the_extra_the_line_to_type_is_shown() -> None:
    script = (
        "import sys; sys.modules['grpc'] = None\n"
        "import lenslink\nfrom lenslink.cli.main import main\n"
        "try: lenslink.open('labgrid:desk-left')\n"
        "except lenslink.MissingExtra as error: print(error)\n"
        "sys.exit(main(['rig', 'exporter', 'rig.toml']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=patience(60),
        check=False,
    )
    assert done.returncode == lenslink.UsageError.exit_code
    needs = f"labgrid: needs the extra 'labgrid': {make_install_hint('labgrid')}\n"
    assert (done.stdout, done.stderr) == (needs, f"lenslink: error: {needs}")


def test_the_power_switch_needs_a_place(tmp_path: Path) -> None:
    with pytest.raises(lenslink.UsageError, match="place is missing"):
        load_switch("labgrid").make({"coordinator": "rack1"})
    path = tmp_path / "rig.toml"
    path.write_text(
        '[board.left]\nserial = "A"\npower = "p"\n[power.p]\nswitch = "labgrid"\nplace = "outlet"\n'
    )
    power = load_rig(path).boards["left"].power
    assert power is not None
    assert power.options == {"place": "outlet"}


def test_a_rig_has_no_board_that_is_a_place_of_labgrid(tmp_path: Path) -> None:
    path = tmp_path / "rig.toml"
    path.write_text('[board.left]\nurl = "labgrid:desk-left"\n')
    with pytest.raises(lenslink.RigError, match="no place of labgrid"):
        load_rig(path)
