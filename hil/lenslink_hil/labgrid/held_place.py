"""Acquire a place of labgrid for this process, and release it.

::

    state     event                                              next state
    --------  -------------------------------------------------  -----------------------------------
    WANTED    a place is named: it is free                       ACQUIRED
    WANTED    tags are named: a reservation is made              RESERVED
    RESERVED  the coordinator has chosen a place                 ACQUIRED
    ACQUIRED  the exporter serves the board: it is connected     HELD
    HELD      release()                                          released; the reservation cancelled
    any       an error, an interrupt or the deadline             released; the reservation cancelled

While a place is HELD, a connection to its exporter is open that carries nothing. It ends with this
process. So the exporter can tell a job that has died from one that does nothing at the moment.
"""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Final

from lenslink.context import ReleasesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import LensLinkError, RigError, UsageError
from lenslink.url import Url, suggest

from ..rig.rig_file import Board
from ..rig.rig_power import RigPower
from .owner_name import Owner
from .place_tags import describe_tags, make_tags, read_roles

if TYPE_CHECKING:
    from .coordinator import Coordinator, Place, Resource

RESOURCE_CLASS: Final = "NetworkLensModule"
"""The class of our resources in labgrid."""
OPTIONS: Final = {
    "coordinator": "HOST:PORT of labgrid's coordinator; the default is $LG_COORDINATOR",
    "board": "any place whose board is of this kind",
    "role": "any place whose board has this role",
    "serial": "the place of the module with this serial number",
    "rig": "any place of this rig",
}
_POLL_S: Final = 0.2
_ANSWER_S: Final = 5.0
_RELEASE_S: Final = 5.0
_HOLD_S: Final = 5.0
_START: Final = "type on its machine: lenslink rig exporter RIG.toml"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a ``labgrid:`` URL asks for: a place, or any place with tags."""

    url: str
    address: str
    """Of the coordinator."""
    place: str
    tags: Mapping[str, str]

    @classmethod
    def read(cls, url: Url) -> Wanted:
        """Return what *url* asks for.

        Raises :exc:`~lenslink.UsageError` if that makes no sense, and
        :exc:`~lenslink.MissingExtra` without labgrid.
        """
        from .coordinator import choose_address

        options = dict(url.options)
        address = choose_address(options.pop("coordinator", None))
        tags = make_tags(options)
        if bool(url.path) == bool(tags):
            raise UsageError(
                f"{url.text}: name either a place, as in labgrid:desk-left, or tags, as in "
                "labgrid:?board=pico"
            )
        return cls(url.text, address, url.path, tags)

    def __str__(self) -> str:
        return self.place or describe_tags(self.tags)

    def matches(self, place: Place) -> bool:
        """Return True if *place* would do."""
        if self.place:
            return place.name == self.place
        return self.tags.items() <= place.tags.items()


class HeldPlace(ReleasesOnExit):
    """A place that no other job can acquire until :meth:`release`."""

    def __init__(
        self, address: str, owner: str, place: Place, token: str, resource: Resource
    ) -> None:
        self.address = address
        self.rig_file: Path | None = None
        self.power: RigPower | None = None
        """The exporter leaves the power on. A job that holds the place cannot switch it."""
        values = resource.values
        url = f"tcp:{values['host']}:{values['port']}"
        self.board = Board(
            place.name,
            url,
            url,
            place.tags.get("board", ""),
            place.tags.get("serial", ""),
            roles=read_roles(place.tags),
        )
        self._owner = owner
        self._token = token
        self._path = resource.path
        self._connection = self._connect(values)
        self._is_held = True

    def _connect(self, values: Mapping[str, object]) -> socket.socket | None:
        """Open the connection that tells the exporter that this process lives."""
        port = values.get("hold_port")
        if not port:
            # Another exporter than ours serves the board: it releases nothing by itself.
            return None
        host = str(values["host"])
        try:
            return socket.create_connection((host, int(str(port))), _HOLD_S)
        except OSError as error:
            raise RigError(
                f"place {self.board.name} is served at {host}:{port}, which cannot be reached "
                f"({error.strerror or error}); give its exporter a --hostname that others reach"
            ) from None

    def release(self) -> None:
        """Release the place and cancel its reservation. Idempotent; never raises."""
        if not self._is_held:
            return
        self._is_held = False
        if self._connection is not None:
            self._connection.close()
        give_back(self.address, self._owner, self.board.name, self._token)

    def explain_loss(self) -> str:
        """Return why the board cannot be reached any more; "" if labgrid sees no reason."""
        from .coordinator import Coordinator

        name = self.board.name
        try:
            with Coordinator(self.address, self._owner, Deadline(_RELEASE_S)) as coordinator:
                place = coordinator.find_place(name)
                if place is None:
                    return f"place {name} has been deleted"
                if place.owner != self._owner:
                    holder = f"; {place.owner} has it now" if place.owner else ""
                    return f"place {name} was taken away from this job{holder}"
                resource = coordinator.list_resources().get(self._path)
        except RigError as error:
            return str(error)
        if resource is None:
            return f"the exporter of place {name} has ended; {_START}"
        return "" if resource.is_available else _explain_absence(name, resource)


def _explain_absence(name: str, resource: Resource) -> str:
    problem = resource.values.get("problem") or "the board is not there"
    return f"the exporter of place {name} says: {problem}"


def give_back(address: str, owner: str, place: str, token: str) -> None:
    """Release *place* and cancel the reservation *token*, either may be "". Never raises."""
    from .coordinator import Coordinator

    with Coordinator(address, owner, Deadline(_RELEASE_S)) as coordinator:
        try:
            if place:
                coordinator.release(place, owner)
            if token:
                coordinator.cancel(token)
        except LensLinkError as error:
            # The exporter releases and cancels it when this process has ended.
            _log.warning("place %s was not given back: %s", place, error)


def take_place(
    urls: Sequence[Url], deadline: Deadline, on_wait: Callable[[str], None] | None = None
) -> HeldPlace:
    """Acquire the first of the places that is free.

    Args:
        urls: ``labgrid:`` URLs, at least one. All have the same coordinator.
        deadline: Bounds the wait. An answer of the coordinator may take 5 s more.
        on_wait: Is told once who has the places, if the call has to wait.

    Raises:
        UsageError: A URL makes no sense.
        RigError: No place is free in time, or what it needs does not run.
    """
    from .coordinator import Coordinator

    requests = [_Request(Wanted.read(url)) for url in urls]
    address = requests[0].wanted.address
    if any(each.wanted.address != address for each in requests):
        raise UsageError("labgrid: places of two coordinators in one run")
    owner = Owner.describe_self().name
    try:
        # A short wait must not cut the coordinator's answer short.
        calls = Deadline(deadline.remaining() + _ANSWER_S)
        with Coordinator(address, owner, calls) as coordinator:
            while True:
                places = coordinator.list_places()
                for request in requests:
                    held = request.try_to_take(coordinator, places)
                    if held is not None:
                        return held
                holders = _describe_holders(requests, places)
                if on_wait is not None:
                    on_wait(holders)
                    on_wait = None
                if deadline.remaining() <= 0:
                    names = ", ".join(str(each.wanted) for each in requests)
                    raise RigError(
                        f"no place is free within {deadline.seconds:g} s ({names}): held by "
                        f"{holders}; wait longer, or type: labgrid-client release --kick"
                    )
                time.sleep(min(_POLL_S, deadline.remaining()))
    finally:
        for request in requests:
            request.cancel(owner)


@contextmanager
def hold_any_place(name: str, address: str, deadline: Deadline) -> Iterator[str]:
    """Have a place that needs no lens module, and yield the name under which it is acquired.

    Raises :exc:`~lenslink.RigError` if it is not free in time.
    """
    from .coordinator import Coordinator, Refused

    owner = Owner.describe_self().name
    with Coordinator(address, owner, Deadline(deadline.remaining() + _ANSWER_S)) as coordinator:
        while True:
            try:
                coordinator.acquire(name)
                break
            except Refused as error:
                if coordinator.find_place(name) is None or deadline.remaining() < _POLL_S:
                    raise RigError(f"labgrid: {error}") from None
                time.sleep(_POLL_S)
    try:
        yield owner
    finally:
        give_back(address, owner, name, "")


def count_free_places(url: Url, deadline: Deadline) -> int:
    """Return how many places that *url* means are free."""
    from .coordinator import Coordinator

    wanted = Wanted.read(url)
    with Coordinator(wanted.address, Owner.describe_self().name, deadline) as coordinator:
        places = [place for place in coordinator.list_places() if wanted.matches(place)]
    return sum(not place.owner for place in places)


class _Request:
    """One URL on its way to a place."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self._token = ""
        self._place = ""

    def try_to_take(self, coordinator: Coordinator, places: Sequence[Place]) -> HeldPlace | None:
        """Acquire a place if one is free; return None if not."""
        found = self._find(coordinator, places)
        if found is None:
            return None
        self._place = found
        if not self._acquire(coordinator):
            self._place = ""
            return None
        place = coordinator.find_place(found)
        if place is None:
            raise RigError(f"place {found} has been deleted")
        resource = _find_module(place, coordinator.list_resources())
        held = HeldPlace(coordinator.address, coordinator.owner, place, self._token, resource)
        self._token = self._place = ""
        return held

    def cancel(self, owner: str) -> None:
        """Give back what was acquired and reserved, unless it was handed out."""
        if self._place or self._token:
            give_back(self.wanted.address, owner, self._place, self._token)

    def _find(self, coordinator: Coordinator, places: Sequence[Place]) -> str | None:
        """Return the place to acquire; None if none is free yet."""
        fitting = [place for place in places if self.wanted.matches(place)]
        if not fitting:
            raise RigError(_explain_nothing(self.wanted, places))
        if self.wanted.place:
            return None if fitting[0].owner else self.wanted.place
        if not self._token:
            # The scheduler of the coordinator serves those who have waited longest.
            reservation = coordinator.reserve(self.wanted.tags)
            self._token = reservation.token
        else:
            reservation = coordinator.poll_reservation(self._token)
        if reservation.is_lost:
            self._token = ""
            return None
        return reservation.place or None

    def _acquire(self, coordinator: Coordinator) -> bool:
        """Acquire the place; return False if another job was faster."""
        from .coordinator import Refused

        try:
            coordinator.acquire(self._place)
        except Refused as error:
            place = coordinator.find_place(self._place)
            if place is None:
                raise RigError(f"place {self._place} has been deleted") from None
            if place.owner or (place.reservation and place.reservation != self._token):
                return False
            name, self._place = self._place, ""
            raise RigError(_explain_refusal(name, place, coordinator, error)) from None
        return True


def _find_module(place: Place, resources: Mapping[str, Resource]) -> Resource:
    """Return the lens module of a place that was acquired."""
    for path in place.resources:
        resource = resources.get(path)
        if resource is None or path.split("/")[2] != RESOURCE_CLASS:
            continue
        if not resource.is_available or not resource.values.get("port"):
            raise RigError(_explain_absence(place.name, resource))
        return resource
    raise RigError(f"place {place.name} has no lens module: its exporter does not run; {_START}")


def _explain_refusal(name: str, place: Place, coordinator: Coordinator, error: Exception) -> str:
    """Return why a place that nobody has cannot be acquired."""
    for path, resource in coordinator.list_resources().items():
        is_ours = any(fnmatchcase(path, f"{match}/*") for match in place.matches)
        if is_ours and resource.values.get("problem"):
            return _explain_absence(name, resource)
    return f"place {name} cannot be acquired: {error}; see what its exporter has printed"


def _explain_nothing(wanted: Wanted, places: Sequence[Place]) -> str:
    if wanted.place:
        names = [place.name for place in places]
        known = ", ".join(names) or "none"
        return (
            f"there is no place '{wanted.place}'{suggest(wanted.place, names)} (known: {known}); "
            "type: lenslink rig places RIG.toml"
        )
    known = "; ".join(f"{place.name}: {describe_tags(place.tags)}" for place in places) or "none"
    return f"no place has the tags {wanted} (places: {known}); type: lenslink rig places RIG.toml"


def _describe_holders(requests: Sequence[_Request], places: Sequence[Place]) -> str:
    """Return who has the places that are wanted, in one text."""
    holders = [
        f"{place.owner} ({place.name})"
        for place in places
        if place.owner and any(each.wanted.matches(place) for each in requests)
    ]
    return "; ".join(dict.fromkeys(holders)) or "a job that has reserved it"
