"""Drives a headless Chromium by the DevTools protocol: evaluates scripts, presses keys, listens.

Only aiohttp is needed. The browser has a profile of its own, and ends with its context.
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from pathlib import Path
from typing import Any, Self

import aiohttp

from helpers.slowdown import patience

_ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-extensions",
    "--mute-audio",
    "--remote-debugging-port=0",
)
_SHIFT = 8
# Keys whose code and number are not those of a letter.
_KEYS = {
    " ": ("Space", 32),
    "Escape": ("Escape", 27),
    "ArrowLeft": ("ArrowLeft", 37),
    "ArrowUp": ("ArrowUp", 38),
    "ArrowRight": ("ArrowRight", 39),
    "ArrowDown": ("ArrowDown", 40),
    "Tab": ("Tab", 9),
    "Enter": ("Enter", 13),
}


class Browser:
    """A page of a browser that runs *program*: an async context manager."""

    def __init__(self, program: str, width: int = 1280, height: int = 800) -> None:
        self._program = program
        self._size = f"--window-size={width},{height}"
        self._profile = tempfile.TemporaryDirectory(
            prefix="lenslink browser ", ignore_cleanup_errors=True
        )
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last_id = 0
        self.console: list[str] = []
        """Errors and warnings of the page, and what it logged."""

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            self._program,
            *_ARGUMENTS,
            self._size,
            f"--user-data-dir={self._profile.name}",
            "about:blank",
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            async with asyncio.timeout(patience(30)):
                await self._connect()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if hasattr(self, "_reader"):
            await self._socket.close()
            await self._reader
        if hasattr(self, "_session"):
            await self._session.close()
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        self._profile.cleanup()

    async def _connect(self) -> None:
        """Find the browser's port in its profile, and connect to its only page."""
        file = Path(self._profile.name, "DevToolsActivePort")
        while not (file.exists() and len(lines := file.read_text().splitlines()) == 2):
            await asyncio.sleep(0.02)
        self._session = aiohttp.ClientSession()
        async with self._session.get(f"http://127.0.0.1:{lines[0]}/json/list") as answer:
            pages = [each for each in await answer.json() if each["type"] == "page"]
        url = pages[0]["webSocketDebuggerUrl"]
        self._socket = await self._session.ws_connect(url, max_msg_size=1 << 26)
        self._reader = asyncio.ensure_future(self._read())
        for domain in ("Page", "Runtime", "Log"):
            await self.call(f"{domain}.enable")

    async def _read(self) -> None:
        async for received in self._socket:
            message = json.loads(received.data)
            if "id" in message:
                self._answers.pop(message["id"]).set_result(message)
            elif message["method"] in ("Runtime.consoleAPICalled", "Log.entryAdded"):
                self.console.append(json.dumps(message["params"]))
            elif message["method"] == "Runtime.exceptionThrown":
                self.console.append(json.dumps(message["params"]["exceptionDetails"]))

    async def call(self, method: str, **params: object) -> dict[str, Any]:
        """Return the result of a method of the protocol."""
        self._last_id += 1
        answer = asyncio.get_running_loop().create_future()
        self._answers[self._last_id] = answer
        await self._socket.send_json({"id": self._last_id, "method": method, "params": params})
        message = await asyncio.wait_for(answer, patience(20))
        assert "result" in message, message
        return message["result"]

    async def open(self, url: str) -> None:
        """Go to a page, and wait until its scripts have run."""
        await self.call("Page.navigate", url=url)
        where = json.dumps(url)
        await self.wait_for(f"location.href === {where} && document.readyState === 'complete'")

    async def evaluate(self, script: str) -> Any:
        """Return the value of an expression in the page; a promise is awaited."""
        found = await self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    async def wait_for(self, script: str, seconds: float = 10) -> Any:
        """Return the expression's value once it is true."""
        async with asyncio.timeout(patience(seconds)):
            while not (value := await self.evaluate(script)):
                await asyncio.sleep(0.02)
            return value

    async def press(self, key: str) -> None:
        """Press and release a key."""
        code, number = _KEYS.get(key, (f"Key{key.upper()}", ord(key[0].upper())))
        text = {"text": key} if len(key) == 1 else {}
        base = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        modifiers = _SHIFT if key == "?" else 0
        await self.call(
            "Input.dispatchKeyEvent", type="keyDown", modifiers=modifiers, **base, **text
        )
        await self.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **base)

    async def screenshot(self, width: int, height: int) -> bytes:
        """Return a PNG of the page in a window of that size."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        await self.call("Emulation.setDeviceMetricsOverride", **metrics)
        await asyncio.sleep(0.5)
        return base64.b64decode((await self.call("Page.captureScreenshot"))["data"])
