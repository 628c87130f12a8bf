"""Resource, driver and strategy for labgrid's own tests: import this module in an environment.

::

    imports:
      - lenslink_hil.labgrid.lens_resource
    targets:
      main:
        resources:
          RemotePlace: {name: desk-left}
        drivers:
          LensModuleDriver: {}
          LensModuleStrategy: {}

A test of labgrid then calls ``strategy.transition("ready")``, and uses ``driver.module``, which is
an open :class:`lenslink.Device`. What labgrid reports as KeyError or AssertionError, because an
exporter has ended, is a :exc:`~lenslink.RigError` with one sentence.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attr
from labgrid.binding import StateError
from labgrid.driver.common import Driver
from labgrid.exceptions import NoResourceFoundError
from labgrid.factory import target_factory
from labgrid.resource.common import ManagedResource, NetworkResource
from labgrid.resource.remote import RemotePlaceManager
from labgrid.step import step
from labgrid.strategy import Strategy
from labgrid.util.proxy import proxymanager

import lenslink
from lenslink.errors import LensLinkError, RigError, UsageError

_TIMEOUT_S = 10.0


@target_factory.reg_resource
@attr.s(eq=False)
class NetworkLensModule(NetworkResource, ManagedResource):
    """A lens module that an exporter serves at ``host`` and ``port``.

    It is managed, so that ``avail`` and ``port`` follow what the exporter says.
    """

    manager_cls = RemotePlaceManager
    port: int | None = attr.ib(
        default=None, validator=attr.validators.optional(attr.validators.instance_of(int))
    )
    serial: str = attr.ib(default="", validator=attr.validators.instance_of(str))

    def __attrs_post_init__(self) -> None:
        self.timeout = _TIMEOUT_S
        super().__attrs_post_init__()


@target_factory.reg_driver
@attr.s(eq=False)
class LensModuleDriver(Driver):
    """Opens the module of a :class:`NetworkLensModule` while the driver is active."""

    bindings = {"resource": {"NetworkLensModule"}}  # noqa: RUF012 - labgrid's interface
    timeout: float = attr.ib(default=_TIMEOUT_S, validator=attr.validators.instance_of(float))

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self._module: lenslink.Device | None = None

    @property
    @Driver.check_active
    def module(self) -> lenslink.Device:
        """The open module. Raises labgrid's ``StateError`` while the driver is not active."""
        assert self._module is not None
        return self._module

    def on_activate(self) -> None:
        """Open the module. Raises :exc:`~lenslink.RigError` if that fails."""
        if not self.resource.avail or not self.resource.port:
            raise RigError("the lens module is not there; see what its exporter says")
        host, port = proxymanager.get_host_and_port(self.resource)
        try:
            self._module = lenslink.open(f"tcp:{host}:{port}", timeout=self.timeout)
        except LensLinkError as error:
            raise RigError(f"the lens module cannot be opened: {error}") from error

    def on_deactivate(self) -> None:
        """Close the module."""
        module, self._module = self._module, None
        if module is not None:
            module.close()


class Status(enum.Enum):
    """Where a lens module stands."""

    unknown = 0
    off = 1
    ready = 2


@target_factory.reg_driver
@attr.s(eq=False)
class LensModuleStrategy(Strategy):
    """Takes a lens module to ``off`` (closed) or ``ready`` (open, in a new session).

    ::

        state          wanted   what is done
        -------------  -------  ----------------------------------------------
        unknown, off   ready    ask labgrid for the resource; open the module
        ready          ready    open the module again, if labgrid has closed it
        any            off      close the module
    """

    bindings = {"driver": "LensModuleDriver"}  # noqa: RUF012 - labgrid's interface
    status: Status = attr.ib(default=Status.unknown)

    @step(args=["status"])
    def transition(self, status: Status | str, *, step: Any) -> None:
        """Go to *status*, by value or name. Raises :exc:`~lenslink.RigError`."""
        if not isinstance(status, Status):
            if status not in Status.__members__:
                raise UsageError(f"there is no state '{status}' (known: off, ready)")
            status = Status[status]
        with _explain_faults():
            self.target.update_resources()
            if status is Status.off:
                self.target.deactivate(self.driver)
            else:
                self.target.activate(self.driver)
        self.status = status


@contextmanager
def _explain_faults() -> Iterator[None]:
    """Turn what labgrid raises for a fault of the rig into a rig error."""
    try:
        yield
    except (KeyError, AssertionError) as error:
        # An exporter that has ended leaves an empty entry, which labgrid 26 does not expect.
        raise RigError(
            "the exporter of the lens module has ended; type on its machine: lenslink rig exporter "
            "RIG.toml"
        ) from error
    except (NoResourceFoundError, StateError) as error:
        raise RigError(f"the lens module is not there: {error}") from error
