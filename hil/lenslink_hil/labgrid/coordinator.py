"""Call labgrid's coordinator with deadlines, and turn each fault into a RigError of one sentence.

labgrid's own client runs in an event loop and has no deadlines. This one makes the same calls over
the same generated stubs, one after the other. Only :meth:`Coordinator.export` has no deadline: an
exporter serves its boards until it is ended.
"""

from __future__ import annotations

import itertools
import os
import queue
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

from lenslink.context import ClosesOnExit
from lenslink.deadline import Deadline
from lenslink.errors import MissingExtra, RigError, UsageError

try:
    import grpc
    from labgrid.remote.generated import labgrid_coordinator_pb2 as messages
    from labgrid.remote.generated import labgrid_coordinator_pb2_grpc as services
except ImportError:
    raise MissingExtra("labgrid:", "labgrid") from None

ADDRESS_VARIABLE: Final = "LG_COORDINATOR"
CALL_S: Final = 12.0
"""The time limit of one request. The coordinator waits up to 10 s for an exporter."""
_DEFAULT_ADDRESS: Final = "127.0.0.1"
_DEFAULT_PORT: Final = 20408
# labgrid's numbers of expired and invalid reservations.
_LOST_RESERVATIONS: Final = (3, 4)
# Keep-alive as in labgrid's own client: a frozen coordinator is noticed within 18 s.
_CHANNEL: Final = (
    ("grpc.keepalive_time_ms", 7500),
    ("grpc.keepalive_timeout_ms", 10000),
    ("grpc.http2.ping_timeout_ms", 10000),
    ("grpc.http2.max_pings_without_data", 0),
    # Two sessions of one process must not share a connection: the coordinator tells sessions apart
    # by their connections.
    ("grpc.use_local_subchannel_pool", 1),
    # The coordinator is in the local network, which an HTTP proxy does not reach.
    ("grpc.enable_http_proxy", 0),
)


class Refused(RigError):
    """Raised if the coordinator refuses a call, for example because a place is acquired.

    >>> issubclass(Refused, RigError)
    True
    """


@dataclass(frozen=True, slots=True)
class Place:
    """A named set of boards and switches, which one job at a time can acquire."""

    name: str
    tags: Mapping[str, str]
    owner: str
    """Who has acquired it; "" if it is free."""
    reservation: str
    """The token of its reservation; "" if it has none."""
    matches: tuple[str, ...]
    """Patterns of its resources: ``exporter/group/class``."""
    resources: tuple[str, ...]
    """The paths of its resources while it is acquired."""


@dataclass(frozen=True, slots=True)
class Resource:
    """What an exporter says of a board."""

    path: str
    """``exporter/group/class/name``."""
    values: Mapping[str, Any]
    """Its parameters, such as host and port, and what the exporter adds."""
    is_available: bool


@dataclass(frozen=True, slots=True)
class Reservation:
    """A request for a place with certain tags."""

    token: str
    owner: str
    place: str
    """The place that is reserved; "" while the request waits."""
    is_lost: bool
    """True if it has expired, or its place was deleted."""


def choose_address(named: str | None = None) -> str:
    """Return the coordinator's address: *named*, else $LG_COORDINATOR, else this machine.

    >>> choose_address("rack1")
    'rack1:20408'
    """
    address = named or os.environ.get(ADDRESS_VARIABLE) or _DEFAULT_ADDRESS
    host, colon, port = address.rpartition(":")
    if not colon:
        return f"{address}:{_DEFAULT_PORT}"
    if not host or not port.isdecimal():
        raise UsageError(f"'{address}' is no address of a coordinator, such as rack1:20408")
    return address


class Coordinator(ClosesOnExit):
    """A session with the coordinator at *address*, under the name *owner*.

    Each request ends by *deadline*, and reading the list of resources at most 12 s later. A call
    raises :exc:`~lenslink.RigError` if the coordinator does not answer, and :exc:`Refused` if the
    coordinator refuses it.

    >>> with Coordinator("rack1:20408", Owner.describe_self().name, Deadline(5)) as coordinator:
    ...     print([place.name for place in coordinator.list_places()])  # doctest: +SKIP
    """

    def __init__(self, address: str, owner: str, deadline: Deadline) -> None:
        self.address = address
        self.owner = owner
        self._deadline = deadline
        self._channel = grpc.insecure_channel(address, options=_CHANNEL)
        self._stub = services.CoordinatorStub(self._channel)
        self._outbox: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._stream: Iterator[Any] | None = None
        self._sync_ids = itertools.count(1)
        self._resources: dict[str, Resource] = {}

    def close(self) -> None:
        """End the session. Places stay acquired. Idempotent."""
        self._outbox.put(None)
        self._channel.close()

    # --- places ------------------------------------------------------------------------------

    def list_places(self) -> list[Place]:
        """Return all places, in order of their names."""
        answer = self._call(self._stub.GetPlaces, messages.GetPlacesRequest())
        return sorted(map(_read_place, answer.places), key=lambda place: place.name)

    def find_place(self, name: str) -> Place | None:
        """Return the place of that name; None if there is none."""
        return next((place for place in self.list_places() if place.name == name), None)

    def acquire(self, name: str) -> None:
        """Acquire a place. Its exporter then serves the boards that belong to it."""
        self.list_resources()  # begins the session, if none has begun
        self._call(self._stub.AcquirePlace, messages.AcquirePlaceRequest(placename=name))

    def release(self, name: str, owner: str) -> None:
        """Release a place that *owner* has. If another owner has it, do nothing."""
        request = messages.ReleasePlaceRequest(placename=name, fromuser=owner)
        self._call(self._stub.ReleasePlace, request)

    def list_resources(self) -> dict[str, Resource]:
        """Return what all exporters say now, by path."""
        if self._stream is None:
            self._begin_session()
        self._synchronise()
        return dict(self._resources)

    # --- reservations ------------------------------------------------------------------------

    def reserve(self, tags: Mapping[str, str]) -> Reservation:
        """Ask for any place with *tags*. Always :meth:`cancel` the reservation afterwards."""
        self.list_resources()  # begins the session, if none has begun
        wanted = {"main": messages.Reservation.Filter(filter=tags)}
        request = messages.CreateReservationRequest(filters=wanted, prio=0.0)
        return _read_reservation(self._call(self._stub.CreateReservation, request).reservation)

    def poll_reservation(self, token: str) -> Reservation:
        """Return how a reservation stands, and keep it from expiring."""
        request = messages.PollReservationRequest(token=token)
        return _read_reservation(self._call(self._stub.PollReservation, request).reservation)

    def list_reservations(self) -> list[Reservation]:
        """Return all reservations."""
        answer = self._call(self._stub.GetReservations, messages.GetReservationsRequest())
        return [_read_reservation(each) for each in answer.reservations]

    def cancel(self, token: str) -> None:
        """End a reservation. A place that it had is not released by that."""
        self._call(self._stub.CancelReservation, messages.CancelReservationRequest(token=token))

    # --- setting places up -------------------------------------------------------------------

    def add_place(self, name: str) -> None:
        """Create a place."""
        self._call(self._stub.AddPlace, messages.AddPlaceRequest(name=name))

    def set_tags(self, name: str, tags: Mapping[str, str]) -> None:
        """Set tags of a place; "" removes a tag."""
        self._call(self._stub.SetPlaceTags, messages.SetPlaceTagsRequest(placename=name, tags=tags))

    def add_match(self, name: str, pattern: str) -> None:
        """Let the resources that *pattern* matches belong to a place."""
        request = messages.AddPlaceMatchRequest(placename=name, pattern=pattern)
        self._call(self._stub.AddPlaceMatch, request)

    def delete_match(self, name: str, pattern: str) -> None:
        """Remove a pattern from a place."""
        request = messages.DeletePlaceMatchRequest(placename=name, pattern=pattern)
        self._call(self._stub.DeletePlaceMatch, request)

    # --- for exporters -----------------------------------------------------------------------

    def export(self, outbox: queue.SimpleQueue[Any]) -> Iterator[Any]:
        """Return what the coordinator sends to an exporter, whose messages are in *outbox*.

        A coordinator that fails raises :exc:`~lenslink.RigError`.
        """
        try:
            yield from self._stub.ExporterStream(iter(outbox.get, None))
        except grpc.RpcError as error:
            raise self._explain(error) from None

    # --- the wire ----------------------------------------------------------------------------

    def _begin_session(self) -> None:
        """Tell the coordinator who calls, and ask for the resources of all exporters."""
        for message in (
            messages.ClientInMessage(
                startup=messages.StartupDone(version=version("labgrid"), name=self.owner)
            ),
            messages.ClientInMessage(subscribe=messages.Subscribe(all_resources=True)),
        ):
            self._outbox.put(message)
        seconds = self._deadline.remaining() + CALL_S
        self._stream = self._stub.ClientStream(iter(self._outbox.get, None), timeout=seconds)

    def _synchronise(self) -> None:
        """Read the stream until the coordinator has sent all that it knew at this call."""
        assert self._stream is not None
        wanted = next(self._sync_ids)
        self._outbox.put(messages.ClientInMessage(sync=messages.Sync(id=wanted)))
        try:
            for message in self._stream:
                for update in message.updates:
                    self._take_update(update)
                if message.HasField("sync") and message.sync.id == wanted:
                    return
        except grpc.RpcError as error:
            raise self._explain(error) from None
        raise RigError(f"the labgrid coordinator at {self.address} ended the session")

    def _take_update(self, update: Any) -> None:
        kind = update.WhichOneof("kind")
        if kind == "resource":
            resource = _read_resource(update.resource)
            self._resources[resource.path] = resource
        elif kind == "del_resource":
            gone = update.del_resource
            # The message does not name the class.
            begin, end = f"{gone.exporter_name}/{gone.group_name}/", f"/{gone.resource_name}"
            for path in [p for p in self._resources if p.startswith(begin) and p.endswith(end)]:
                del self._resources[path]

    def _call(self, method: Callable[..., Any], request: Any) -> Any:
        try:
            return method(request, timeout=max(0.001, min(CALL_S, self._deadline.remaining())))
        except grpc.RpcError as error:
            raise self._explain(error) from None
        except ValueError as error:
            # Another thread has closed the session.
            raise RigError(f"the labgrid coordinator at {self.address}: {error}") from None

    def _explain(self, error: Any) -> RigError:
        code, details = error.code(), error.details()
        if code is grpc.StatusCode.UNAVAILABLE:
            return RigError(
                f"no labgrid coordinator answers at {self.address}; start labgrid-coordinator "
                f"there, or set {ADDRESS_VARIABLE}"
            )
        if code in (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED):
            return RigError(f"the labgrid coordinator at {self.address} did not answer in time")
        if code in (
            grpc.StatusCode.FAILED_PRECONDITION,
            grpc.StatusCode.INVALID_ARGUMENT,
            grpc.StatusCode.PERMISSION_DENIED,
            grpc.StatusCode.ALREADY_EXISTS,
        ):
            return Refused(details)
        return RigError(
            f"the labgrid coordinator at {self.address} failed: {details or code.name}; see what "
            "it has printed"
        )


def _read_place(message: Any) -> Place:
    return Place(
        message.name,
        dict(message.tags),
        message.acquired,
        message.reservation,
        tuple("/".join([m.exporter, m.group, m.cls]) for m in message.matches),
        tuple(message.acquired_resources),
    )


def _read_resource(message: Any) -> Resource:
    path = message.path
    values = {
        key: getattr(value, kind) if (kind := value.WhichOneof("kind")) else None
        for each in (message.params, message.extra)
        for key, value in each.items()
    }
    full = "/".join([path.exporter_name, path.group_name, message.cls, path.resource_name])
    return Resource(full, values, message.avail)


def _read_reservation(message: Any) -> Reservation:
    place = message.allocations.get("main", "") if message.allocations else ""
    return Reservation(message.token, message.owner, place, message.state in _LOST_RESERVATIONS)
