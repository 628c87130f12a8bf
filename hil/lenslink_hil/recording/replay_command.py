"""The command ``lenslink replay``: play either side of a recording, or export it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import click

from lenslink.cli.options import CommonOptions, OutputFile, common_options, pass_common
from lenslink.cli.screen import Screen, emit_json, escape_controls
from lenslink.errors import UsageError

_DIFFERENT = 7


@click.command()
@click.argument("recording", metavar="FILE.lcap")
@click.argument("url", required=False, metavar="[URL]")
@click.option(
    "--as",
    "side",
    type=click.Choice(["module", "host"]),
    default="module",
    show_default=True,
    help="Which side to play.",
)
@click.option(
    "--listen",
    metavar="URL",
    help="As module: unix:PATH, shm:PATH or tcp:HOST:PORT (0: any free port).  "
    "[default: a socket in the runtime folder]",
)
@click.option(
    "--speed",
    type=click.FloatRange(min=0),
    default=0.0,
    metavar="X",
    help="As module: 1 as recorded, 0 as fast as possible.  [default: 0]",
)
@click.option(
    "--pcapng",
    "export_path",
    type=OutputFile(),
    metavar="FILE.pcapng",
    help="Export the recording; play nothing.",
)
@click.option(
    "--about",
    is_flag=True,
    help="Show what was recorded, and how to repeat a test that failed; play nothing.",
)
@click.option(
    "--extract",
    "folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="With --about: write the log, the pictures and other files of a test into it.",
)
@click.option("-f", "--force", is_flag=True, help="Overwrite a file that exists.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="As host, or for --pcapng or --about: print one JSON object.",
)
@common_options
@pass_common
def replay(
    common: CommonOptions,
    recording: str,
    url: str | None,
    *,
    side: str,
    listen: str | None,
    speed: float,
    export_path: Path | None,
    about: bool,
    folder: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Play either side of a recorded session, or export it for Wireshark.

    As module, the command serves the recording to one host after the other, until Ctrl-C. A program
    that takes URLs needs no server, because it can open replay:FILE.lcap itself. As host, the
    command sends the recorded requests to the module at URL, and compares answers and frames with
    the recorded ones. The exit code is 7 if they differ.

    Wireshark reads the export with the dissector in 'lenslink_protocol'.

    \b
    Examples:
      lenslink replay session.lcap --listen unix:/tmp/lens
      lenslink replay session.lcap --as host sim:
      lenslink replay session.lcap --pcapng session.pcapng
      lenslink replay out/evidence/failed.lcap --about --extract failed
    """
    from .lcap import load

    if about and (url or listen or export_path or side != "module"):
        raise UsageError("--about only shows: leave out URL, --as, --listen and --pcapng")
    if folder is not None and not about:
        raise UsageError("--extract needs --about")

    if export_path is not None and (url or listen or side != "module"):
        raise UsageError("--pcapng only exports: leave out URL, --as and --listen")
    if side == "host" and listen is not None:
        raise UsageError("--listen is for --as module; --as host takes the URL of a module")
    if side == "host" and url is None:
        raise UsageError("--as host needs the URL of a module")
    if side == "module" and url is not None and export_path is None:
        raise UsageError("a URL is for --as host; --as module takes --listen URL")
    path, screen = Path(recording), Screen(common)
    loaded = load(path)
    if loaded.truncation:
        screen.say(f"lenslink: the recording is {loaded.truncation}")
    if about:
        _show(path, folder, force, as_json, screen)
    elif export_path is not None:
        _export(path, export_path, force, as_json, screen)
    elif side == "host":
        assert url is not None
        _play_host(path, url, as_json, common, screen)
    else:
        _serve(path, listen, speed, screen)


def _show(path: Path, folder: Path | None, force: bool, as_json: bool, screen: Screen) -> None:
    from .kept_files import describe_recording, extract_files
    from .lcap import load

    loaded = load(path)
    found = describe_recording(loaded, path)
    if as_json:
        emit_json({"schema": "lenslink.recording/1", **found})
    else:
        for name, value in found.items():
            for number, line in enumerate(str(value).splitlines()):
                click.echo(escape_controls(f"{name if not number else '':18} {line}"))
    if folder is not None:
        for target in extract_files(loaded, folder, force):
            screen.say(f"wrote {target}")


def _export(path: Path, target: Path, force: bool, as_json: bool, screen: Screen) -> None:
    from lenslink.image_files.atomic_file import publish
    from lenslink_protocol.dissector import get_dissector_path

    from .lcap import load
    from .pcapng import export

    with publish(target, force) as file:
        count = export(load(path), file)
    if as_json:
        emit_json({"schema": "lenslink.pcapng/1", "file": str(target), "packets": count})
    screen.say(f"wrote {target} ({count} packets)")
    screen.say(f"lenslink: to read it: tshark -X lua_script:{get_dissector_path()} -r {target}")


def _play_host(path: Path, url: str, as_json: bool, common: CommonOptions, screen: Screen) -> None:
    from lenslink.deadline import Deadline
    from lenslink.transports import open_transport, parse, resolve

    from .host_player import HostPlayer
    from .script import load_script

    script = load_script(path)
    deadline = Deadline(common.timeout, f"the session with {url}")
    with ExitStack() as stack:
        address, give_back = resolve(parse(url), deadline)
        stack.callback(give_back)
        transport = open_transport(address, deadline)
        stack.callback(transport.close)
        compared = HostPlayer(script, transport).run(deadline)
    different = [each for each in compared if each.difference]
    if as_json:
        rows = [{"what": each.what, "difference": each.difference} for each in compared]
        emit_json({"schema": "lenslink.replay/1", "compared": rows, "different": len(different)})
    else:
        for each in compared:
            click.echo(f"{each.what}: {each.difference or 'as recorded'}")
    screen.say(f"{len(compared)} compared, {len(different)} differ")
    if different:
        raise click.exceptions.Exit(_DIFFERENT)


def _serve(path: Path, listen: str | None, speed: float, screen: Screen) -> None:
    from ..commands.socket_address import open_listener
    from .replay_server import serve
    from .script import load_script

    if load_script(path).lanes > 1:
        raise UsageError(
            f"{path} has several lanes, but a socket has one: open replay:{path} instead"
        )
    with open_listener(listen) as listener:
        click.echo(listener.url)
        screen.say("lenslink: serving the recording at this URL; Ctrl-C ends it")
        serve(listener, lambda: load_script(path), speed, screen)
