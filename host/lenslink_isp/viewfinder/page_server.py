"""Serve the page and its WebSocket: to who knows the token, from this page's own origin only.

Every address begins with a random token, so another user or program of the machine cannot look on.
Host and Origin are checked too: a web page that the user has open elsewhere gets nothing, whatever
name it makes the browser resolve to this machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Final

from aiohttp import ClientConnectionResetError, WSMsgType, web

from lenslink.errors import UsageError

from .camera_session import CameraSession
from .viewer_messages import MAX_MESSAGE_BYTES, read_message

_TYPES: Final = {
    "index.html": "text/html",
    "viewfinder.css": "text/css",
    "viewfinder.js": "text/javascript",
    "icon.svg": "image/svg+xml",
}
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
# Not every browser counts the WebSocket to 'self'.
_POLICY: Final = (
    "default-src 'self'; img-src 'self' blob:; connect-src 'self' ws://{host}; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
_PING_S: Final = 10.0
_SHUTDOWN_S: Final = 0.2

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_app(session: CameraSession, token: str, *, is_loopback: bool) -> web.Application:
    """Return the application.

    Args:
        session: what the page shows.
        token: the first part of every path.
        is_loopback: True if only this machine can connect. Host must name it then.
    """

    @web.middleware
    async def check_caller(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not is_own_host(request.host, is_loopback=is_loopback):
            raise web.HTTPForbidden(text="this name is not served\n")
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"http://{request.host}":
            raise web.HTTPForbidden(text="requests of other pages are refused\n")
        given = request.match_info.get("token", "")
        if not secrets.compare_digest(given.encode(), token.encode()):
            raise web.HTTPNotFound(text="nothing is here: open the address with its token\n")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(_HEADERS)
            response.headers["Content-Security-Policy"] = _POLICY.format(host=request.host)
        return response

    async def serve_file(request: web.Request) -> web.StreamResponse:
        name = request.match_info.get("name") or "index.html"
        if name not in _TYPES:
            raise web.HTTPNotFound
        text = (files(__package__) / "page" / name).read_text(encoding="utf-8")
        return web.Response(text=text, content_type=_TYPES[name], charset="utf-8")

    async def serve_still(request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        path = session.stills.find(name)
        if path is None:
            raise web.HTTPNotFound(text="this still is not kept any more\n")
        disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.FileResponse(path, headers=disposition | _HEADERS)

    async def serve_viewer(request: web.Request) -> web.StreamResponse:
        connection = web.WebSocketResponse(
            heartbeat=_PING_S, max_msg_size=MAX_MESSAGE_BYTES, compress=False
        )
        await connection.prepare(request)
        await _talk(session, connection)
        return connection

    app = web.Application(middlewares=[check_caller])
    app.router.add_get("/{token}/", serve_file)
    app.router.add_get("/{token}/socket", serve_viewer)
    app.router.add_get("/{token}/stills/{name}", serve_still)
    app.router.add_get("/{token}/{name}", serve_file)
    return app


def is_own_host(host: str, *, is_loopback: bool) -> bool:
    """Return True if a Host header names this machine: by an address, or by its own name.

    >>> is_own_host("127.0.0.1:8000", is_loopback=True)
    True
    >>> is_own_host("evil.example:8000", is_loopback=False)
    False
    """
    name = host.rpartition(":")[0] if ":" in host and not host.endswith("]") else host
    name = name.strip("[]")
    if name == "localhost":
        return True
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return not is_loopback and name == socket.gethostname()
    return address.is_loopback or not is_loopback


async def _talk(session: CameraSession, connection: web.WebSocketResponse) -> None:
    """Serve one viewer until its connection ends."""
    try:
        viewer = session.viewers.add(connection)
    except UsageError as error:
        await connection.close(code=1013, message=str(error).encode())
        return
    viewer.tell("module", session.describe_module())
    session.tell_state()
    sender = asyncio.ensure_future(viewer.run())
    # A page that is gone fails the sender, and the loop below ends the moment it notices.
    sender.add_done_callback(lambda done: done.cancelled() or done.exception())
    try:
        async for received in connection:
            if received.type is not WSMsgType.TEXT:
                break
            try:
                session.on_message(viewer, read_message(received.data))
            except UsageError as error:
                viewer.tell("error", {"message": str(error)})
    finally:
        session.viewers.remove(viewer)
        sender.cancel()
        with contextlib.suppress(asyncio.CancelledError, ClientConnectionResetError, OSError):
            await sender
        session.tell_state()


async def serve_page(
    session: CameraSession, listener: socket.socket, token: str, *, is_loopback: bool
) -> None:
    """Serve the page on *listener* until the session ends."""
    runner = web.AppRunner(
        make_app(session, token, is_loopback=is_loopback),
        access_log=None,
        shutdown_timeout=_SHUTDOWN_S,
    )
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        await session.run()
    finally:
        await runner.cleanup()
