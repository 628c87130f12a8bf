"""The viewfinder, the whole way: module, two processes, WebSocket, and a page in a browser."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest
from helpers.browser import Browser
from helpers.cli_process import Cli, assert_gone, children, finish, firmware
from helpers.slowdown import patience
from PIL import ExifTags, Image

from lenslink_hil.benchmark import viewfinder_delay
from lenslink_hil.plant.patterns import make_pattern

pytestmark = pytest.mark.usefixtures("only_sim")

WIDTH, HEIGHT = 128, 96
SIZE = f"scene=prbs&width={WIDTH}&height={HEIGHT}"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    with Cli(tmp_path_factory.mktemp("a folder")) as processes:
        yield processes


@pytest.fixture(scope="module")
def page(cli: Cli) -> str:
    """The address of a page that all tests look at."""
    return start(cli, f"sim:?{SIZE}")[1]


def start(cli: Cli, url: str, *options: str) -> tuple[Any, str]:
    process = cli.start("viewfinder", url, *options)
    address = process.stdout.readline().decode().strip()
    assert address.startswith("http://127.0.0.1:"), finish(process)
    return process, address


@contextmanager
def page_of(cli: Cli, url: str) -> Iterator[str]:
    """Serve a page for one test. Otherwise its module would stream until the last test ends."""
    process, address = start(cli, url)
    try:
        yield address
    finally:
        process.send_signal(signal.SIGTERM)
        finish(process)


@dataclass
class Looker:
    """A viewer that answers each picture, or none."""

    socket: aiohttp.ClientWebSocketResponse
    answers: bool = True
    frames: list[dict[str, Any]] = field(default_factory=list)
    parts: bytes = b""
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    async def take(self) -> None:
        """Receive one message."""
        received = await self.socket.receive(patience(20))
        if received.type is aiohttp.WSMsgType.TEXT:
            message = json.loads(received.data)
            self.told.setdefault(message["type"], []).append(message)
            return
        assert received.type is aiohttp.WSMsgType.BINARY, received
        end = 4 + int.from_bytes(received.data[:4], "little")
        self.frames.append(json.loads(received.data[4:end]))
        self.parts = received.data[end:]
        assert len(self.parts) == sum(self.frames[-1]["parts"].values())
        if self.answers:
            await self.socket.send_json({"op": "drawn", "serial": self.frames[-1]["serial"]})

    async def until(self, is_true: Callable[[], object]) -> None:
        async with asyncio.timeout(patience(20)):
            while not is_true():
                await self.take()

    async def until_state(self, is_true: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
        """Return the first state from now on of which *is_true* holds."""
        self.told["state"] = []
        await self.until(lambda: self.told["state"] and is_true(self.told["state"][-1]))
        return self.told["state"][-1]

    async def ask(self, **message: object) -> None:
        await self.socket.send_json(message)


@asynccontextmanager
async def look(page: str, *, answers: bool = True) -> AsyncIterator[Looker]:
    async with aiohttp.ClientSession() as session, session.ws_connect(page + "socket") as socket:
        yield Looker(socket, answers)


def test_who_has_no_token_or_comes_from_another_page_gets_nothing(page: str) -> None:
    origin, _, rest = page.removeprefix("http://").partition("/")
    token = rest.strip("/")

    async def run() -> None:
        async with aiohttp.ClientSession() as session:

            async def status(path: str, **headers: str) -> int:
                url = f"http://{origin}{path}"
                async with session.get(url, headers=headers, allow_redirects=False) as answer:
                    assert token not in await answer.text() or answer.status == 200
                    return answer.status

            assert await status(f"/{token}/") == 200
            for name in ("viewfinder.js", "viewfinder.css", "icon.svg"):
                assert await status(f"/{token}/{name}") == 200
            for path in ("/", "/socket", "//", f"/{token[:-1]}/", f"/{token}x/", "/%C3%A9/"):
                assert await status(path) == 404, path
            for name in ("page_server.py", "..%2fpage_server.py", "stills/x.dng", "stills/..%2fx"):
                assert await status(f"/{token}/{name}") == 404, name
            assert await status(f"/{token}/", Host="evil.example:80") == 403
            assert await status(f"/{token}/", Origin="http://evil.example") == 403
            assert await status(f"/{token}/", Origin="null") == 403
            assert await status(f"/{token}/", Origin=f"http://{origin}") == 200
            for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(page + "socket", headers=headers)
                assert refused.value.status == 403
            async with session.ws_connect(page + "socket", origin=f"http://{origin}"):
                pass

    asyncio.run(run())


def test_two_viewers_and_one_that_never_answers(page: str) -> None:
    async def run() -> None:
        async with look(page) as first, look(page) as second, look(page, answers=False) as slow:
            await slow.until(lambda: len(slow.frames) == 2)
            for looker in (first, second):
                await looker.until(lambda looker=looker: len(looker.frames) >= 30)
                numbers = [frame["frame"] for frame in looker.frames]
                assert numbers == sorted(set(numbers))
            assert max(frame["viewers"] for frame in first.told["state"]) >= 2
            # The slow one is told the state, and sent no third picture.
            await slow.until_state(lambda state: state["viewers"] == 3)
            assert len(slow.frames) == 2
            slow.answers = True
            for frame in slow.frames:
                await slow.ask(op="drawn", serial=frame["serial"])
            await slow.until(lambda: len(slow.frames) > 4)
            # What it missed is gone. It goes on with the newest.
            assert slow.frames[2]["frame"] > first.frames[20]["frame"]

    asyncio.run(run())


def test_the_module_does_what_the_page_asks_for(page: str) -> None:
    async def run() -> None:
        async with look(page) as looker:
            await looker.until(lambda: looker.frames)
            module = looker.told["module"][0]
            assert module["model"] == "LL-100"
            assert module["controls"]["gain_milli"] == {"minimum": 1000, "maximum": 64000}

            for name, value in (
                ("exposure_us", 1234), ("gain_milli", 2500), ("aperture_milli", 4000),
                ("focus_mdpt", 800),
            ):  # fmt: skip
                await looker.ask(op="set", name=name, value=value)
                # The motor has steps of its own.
                await looker.until(
                    lambda name=name, value=value: abs(looker.frames[-1][name] - value) <= 2
                )
            state = await looker.until_state(lambda state: not state["is_automatic"]["gain_milli"])
            assert state["is_automatic"] == {"exposure_us": False, "gain_milli": False}
            assert state["exposure_state"] == "locked"

            await looker.ask(op="auto", name="exposure_us")
            await looker.until(lambda: looker.frames[-1]["exposure_us"] != 1234)
            assert looker.frames[-1]["gain_milli"] == 2500
            await looker.ask(op="overlays", names=["zebra", "peaking"])
            await looker.until(lambda: looker.frames[-1]["parts"].get("peaking"))
            sizes = looker.frames[-1]["parts"]
            zebra = looker.parts[sizes["jpeg"] : sizes["jpeg"] + sizes["zebra"]]
            assert Image.open(BytesIO(zebra)).size == (WIDTH // 2, HEIGHT // 2)

            # A pattern is in no depth: the point is exposed for, and the search says why it fails.
            await looker.ask(op="tap", x=0.25, y=0.5)
            state = await looker.until_state(lambda state: state["focus"]["state"] == "failed")
            assert state["focus"]["point"] == [0.25, 0.5]
            assert "calibration" in state["focus"]["note"]
            await looker.ask(op="release")
            await looker.until_state(lambda state: state["focus"]["point"] is None)

            # What makes no sense is refused, and the viewer stays.
            await looker.ask(op="set", name="gain_milli", value=1)
            await looker.until(lambda: looker.told.get("error"))
            assert "gain_milli=1 is out of range" in looker.told["error"][0]["message"]
            await looker.socket.send_str("nonsense")
            await looker.until(lambda: len(looker.told["error"]) == 2)
            before = len(looker.frames)
            await looker.until(lambda: len(looker.frames) > before)

    asyncio.run(run())


def test_the_shutter_gives_a_dng_and_a_jpeg(page: str) -> None:
    async def run() -> None:
        async with look(page) as looker, aiohttp.ClientSession() as session:
            await looker.ask(op="set", name="exposure_us", value=2000)
            await looker.until(lambda: looker.frames and looker.frames[-1]["exposure_us"] == 2000)
            aperture_milli = looker.frames[-1]["aperture_milli"]
            await looker.ask(op="shutter")
            await looker.until(lambda: looker.told.get("still"))
            raw, picture = looker.told["still"][0]["files"]
            async with session.get(f"{page}stills/{raw}") as answer:
                assert answer.headers["Content-Disposition"].startswith("attachment")
                assert (await answer.read())[:4] == b"II*\0"
            async with session.get(f"{page}stills/{picture}") as answer:
                found = Image.open(BytesIO(await answer.read()))
            assert (found.format, found.size) == ("JPEG", (WIDTH, HEIGHT))
            assert found.info["icc_profile"]
            told = found.getexif()
            assert (told[ExifTags.Base.Model], told[ExifTags.Base.Orientation]) == ("LL-100", 1)
            taken = told.get_ifd(ExifTags.IFD.Exif)
            assert round(taken[ExifTags.Base.ExposureTime] * 1e6) == 2000
            assert taken[ExifTags.Base.FNumber] == aperture_milli / 1000

    asyncio.run(run())


def test_the_module_goes_and_comes_back(cli: Cli) -> None:
    server, url = cli.serve("--scene", "prbs", "--width", "64", "--height", "64")
    process, page = start(cli, url)

    async def run() -> None:
        async with look(page) as looker:
            await looker.until(lambda: looker.frames)
            await looker.ask(op="set", name="gain_milli", value=3000)
            await looker.until(lambda: looker.frames[-1]["gain_milli"] == 3000)
            os.kill(firmware(server.pid), signal.SIGKILL)
            await looker.until_state(lambda state: not state["is_attached"])
            await looker.until_state(lambda state: state["is_attached"])
            before = len(looker.frames)
            await looker.until(lambda: len(looker.frames) > before)
            assert looker.frames[-1]["gain_milli"] == 3000

    asyncio.run(run())
    # Ctrl-C ends all processes.
    started = children(process.pid)
    process.send_signal(signal.SIGINT)
    code, _, errors = finish(process)
    assert (code, len(errors)) == (130, 1), errors
    assert_gone(started)


def test_what_cannot_work_is_one_line(cli: Cli, page: str) -> None:
    port = page.split(":")[2].partition("/")[0]
    for arguments, code, text in (
        (["sim:", "--port", port], 9, f"port {port}"),
        (["nosuch:"], 2, "nosuch"),
    ):
        done = cli.run("viewfinder", *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
        assert text in done.stderr


def test_the_benchmark_reads_the_delay(page: str) -> None:
    watch = viewfinder_delay.Watch(0.3)
    state, frame = asyncio.run(viewfinder_delay.watch_page(page, None, watch))
    assert (frame["width"], frame["height"]) == (WIDTH, HEIGHT)
    delay = state["delay_ms"]
    assert delay["count"] > 1
    assert 0 < delay["p50"] <= delay["p95"] <= delay["p99"]


def test_the_benchmark_turns_hdr_on_and_taps(cli: Cli) -> None:
    watch = viewfinder_delay.Watch(0.3, is_hdr=True, taps=2)
    with page_of(cli, f"sim:?scene=edges&depth=1500&width={WIDTH}&height={HEIGHT}") as address:
        state, _ = asyncio.run(viewfinder_delay.watch_page(address, None, watch))
    assert state["is_hdr"]
    assert state["delay_ms"]["count"] > 0
    assert state["focus"]["state"] in ("reached", "failed")
    # Each tap marks a point, searches, and ends. A change may overtake the one before.
    assert 2 <= state["box_delay_ms"]["count"] <= 6
    assert state["box_delay_ms"]["p95"] > 0
    # 30 frames a second are asked for. On a busy machine none may come in the time that counts.
    assert watch.longest_interval_ms == 0 or watch.longest_interval_ms > 30
    assert state["incomplete_frames"] == 0
    result = {
        "url": "sim:", "page": "none", "load": 1.0, "width": WIDTH, "height": HEIGHT,
        **{each: state[each] for each in (
            "is_hdr", "incomplete_frames", "frames_s", "pictures_s", "delay_ms", "box_delay_ms")},
        "taps": watch.taps, "tap_ms": watch.tap_ms,
        "longest_interval_ms": watch.longest_interval_ms,
    }  # fmt: skip
    assert [line.split()[0] for line in viewfinder_delay.format_summary(result)] == [
        str(WIDTH), "frame", "link:", "HDR:", "focus", "change",
    ]  # fmt: skip


READ_CANVAS = """(() => {
  const { width, height, serial } = canvases.picture.canvas;
  if (camera.frame?.serial !== serial) return null; // the next one is about to be shown
  const data = canvases.picture.getImageData(0, 0, width, height).data;
  const green = Array.from({ length: width * height }, (_, at) => data[4 * at + 1]);
  return { frame: camera.frame.frame, width, green };
})()"""


def correlate(green: np.ndarray, number: int) -> float:
    """Return how much a canvas looks like frame *number* of the pattern."""
    settings = {"bits": 12, "cfa": "RGGB", "seed": 0}
    mosaic = make_pattern("prbs", WIDTH, HEIGHT, frame_number=number, **settings).astype(float)
    sites = [(0, 1), (1, 0)]
    pairs = [(green[y::2, x::2].ravel(), mosaic[y::2, x::2].ravel()) for y, x in sites]
    seen, sent = (np.concatenate(each) for each in zip(*pairs, strict=True))
    return float(np.corrcoef(seen, sent)[0, 1])


def test_a_browser_shows_the_frame_and_every_control_works_by_keyboard(
    page: str, tool: Callable[[str], str], tmp_path: Path
) -> None:
    program = tool("chromium")

    async def run() -> None:
        async with Browser(program) as browser:
            await browser.open(page)
            await browser.wait_for("camera.frame && camera.state?.frames_s > 0")

            # The pixels on the canvas are those of the frame that the page says it shows.
            seen = await browser.wait_for(READ_CANVAS)
            green = np.array(seen["green"], float).reshape(-1, seen["width"])
            assert green.shape == (HEIGHT, WIDTH)
            likeness = {
                number: correlate(green, number)
                for number in range(seen["frame"] - 3, seen["frame"] + 4)
            }
            assert max(likeness, key=likeness.__getitem__) == seen["frame"], likeness
            assert likeness[seen["frame"]] > 0.5

            await press_all(browser)
            # The page finds its way back by itself.
            await browser.evaluate("camera.frame = null, camera.socket.close()")
            await browser.wait_for("camera.frame && camera.socket.readyState === 1")
            # It fits a narrow phone.
            (tmp_path / "phone.png").write_bytes(await browser.screenshot(360, 740))
            assert await browser.evaluate("document.documentElement.scrollWidth <= 360")
            assert browser.console == []

    asyncio.run(run())


def test_hdr_is_one_switch_for_all_viewers(cli: Cli, tool: Callable[[str], str]) -> None:
    program = tool("chromium")
    is_pressed = "document.getElementById('hdr').getAttribute('aria-pressed') === '{}'"

    async def run(address: str) -> None:
        async with Browser(program) as browser, look(address) as looker:
            await browser.open(address)
            await browser.wait_for("camera.frame && camera.state")
            for name, value in (("exposure_us", 4000), ("gain_milli", 1000)):
                await looker.ask(op="set", name=name, value=value)
            await looker.until(lambda: looker.frames and looker.frames[-1]["exposure_us"] == 4000)
            await browser.press("d")
            await browser.wait_for(is_pressed.format("true"))
            await looker.until_state(lambda state: state["is_hdr"])
            before = len(looker.frames)
            await looker.until(lambda: len(looker.frames) > before + 5)
            assert {each["exposure_us"] for each in looker.frames[before:]} == {4000}
            await looker.ask(op="hdr", is_on=False)
            await browser.wait_for(is_pressed.format("false"))
            await looker.until(lambda: looker.frames[-1]["exposure_us"] == 4000)
            assert browser.console == []

    with page_of(cli, f"sim:?scene=edges&width={WIDTH}&height={HEIGHT}") as address:
        asyncio.run(run(address))


async def press_all(browser: Browser) -> None:
    """Work every control by its key, and see what the camera does."""

    async def see(key: str, script: str) -> None:
        await browser.press(key)
        await browser.wait_for(script)

    # A test before may have left it by hand. It ends by hand, so that the keys below hold.
    if not await browser.evaluate("camera.state.is_automatic.exposure_us"):
        await see("e", "camera.state.is_automatic.exposure_us")
    await see("e", "!camera.state.is_automatic.exposure_us")
    await see("g", "camera.state.is_automatic.gain_milli !== undefined")
    for name, less, more in (
        ("exposure_us", "[", "]"),
        ("gain_milli", "-", "="),
        ("aperture_milli", ";", "'"),
        ("focus_mdpt", ",", "."),
    ):
        before = await browser.evaluate(f"camera.frame.{name}")
        await see(more, f"camera.frame.{name} > {before}")
        now = await browser.evaluate(f"camera.frame.{name}")
        await see(less, f"camera.frame.{name} < {now}")
    await see("9", "camera.state.compensation_ev === 0.25")
    await see("8", "camera.state.compensation_ev === 0")
    await see("9", "camera.state.compensation_ev === 0.25")
    await see("0", "camera.state.compensation_ev === 0")
    # A pattern has no noise that could be known.
    await see("d", "document.getElementById('message').textContent.startsWith('HDR needs')")
    for key, name in (("z", "zebra"), ("p", "peaking")):
        await see(key, f"canvases.{name}.canvas.width === {WIDTH // 2}")
        await see(key, f"canvases.{name}.canvas.hidden")
    await see("h", "document.getElementById('histogram').hidden")
    await see("h", "!document.getElementById('histogram').hidden")
    for key, script in (
        ("ArrowRight", "point.x > 0.5"),
        ("ArrowLeft", "point.x === 0.5"),
        ("ArrowDown", "point.y > 0.5"),
        ("ArrowUp", "point.y === 0.5"),
        ("f", "camera.state.focus.state === 'failed'"),
        ("Escape", "camera.state.focus.point === null"),
        (" ", "document.querySelectorAll('#stills a').length === 2"),
        ("?", "document.getElementById('help').open"),
        ("Escape", "!document.getElementById('help').open"),
    ):
        await see(key, script)
