"""The power switch ``http``: a socket or relay that is switched by fetching a URL.

Shelly, Tasmota, and most network relays work like this::

    [power.socket-2]
    switch = "http"
    on = "http://192.168.1.20/relay/0?turn=on"
    off = "http://192.168.1.20/relay/0?turn=off"
    state = "http://192.168.1.20/relay/0"
    state_on = '"ison":true'
"""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from lenslink.deadline import Deadline
from lenslink.errors import RigError, UsageError

from .power_switch import take_text

MAX_ANSWER = 65536
_METHODS = ("GET", "POST", "PUT")


def fetch(url: str, method: str, deadline: Deadline) -> str:
    """Return the beginning of what the server answers.

    Raises :exc:`~lenslink.RigError` if there is no answer in time, or an error.
    """
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection = kind(parts.hostname or "", parts.port, timeout=max(deadline.remaining(), 0.001))
    try:
        connection.request(method, target, headers={"Connection": "close"})
        # An answer that was not read to its end keeps the socket, also when connection is closed.
        with connection.getresponse() as answer:
            text = answer.read(MAX_ANSWER).decode("utf-8", "replace")
    except TimeoutError:
        raise RigError(f"{url} did not answer within {deadline.seconds:g} s") from None
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise RigError(f"{url}: {reason}") from None
    finally:
        connection.close()
    if not 200 <= answer.status < 300:
        raise RigError(f"{url} answered {answer.status} {answer.reason}")
    return text


@dataclass(frozen=True, slots=True)
class HttpSwitch:
    """Fetches a URL to switch on, one to switch off, and perhaps one that tells the state."""

    on: str
    off: str
    state: str
    state_on: str
    method: str

    def set_power(self, is_on: bool, deadline: Deadline) -> None:
        fetch(self.on if is_on else self.off, self.method, deadline)

    def read_power(self, deadline: Deadline) -> bool | None:
        if not self.state:
            return None
        return self.state_on in fetch(self.state, "GET", deadline)


class HttpKind:
    """``switch = "http"``."""

    options: Mapping[str, str] = {
        "on": "the URL that switches on",
        "off": "the URL that switches off",
        "state": "a URL whose answer tells whether the power is on",
        "state_on": "a text that stands in that answer only if the power is on",
        "method": "GET (the default), POST or PUT, for on and off",
    }

    def make(self, options: Mapping[str, object]) -> HttpSwitch:
        urls = {key: take_text(options, key) for key in ("on", "off")}
        urls["state"] = take_text(options, "state", "")
        for key, url in urls.items():
            if url and not _is_url(url):
                raise UsageError(f"{key} = {url!r} is no URL that begins with http:// or https://")
        state_on = take_text(options, "state_on", "")
        if bool(urls["state"]) != bool(state_on):
            raise UsageError("state and state_on are given together, or neither")
        method = take_text(options, "method", "GET")
        if method not in _METHODS:
            raise UsageError(f"method = {method!r} is none of {', '.join(_METHODS)}")
        return HttpSwitch(urls["on"], urls["off"], urls["state"], state_on, method)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    return is_whole and parts.scheme in ("http", "https") and text.isprintable() and " " not in text


HTTP = HttpKind()
