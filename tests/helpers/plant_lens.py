"""A module of the attach harness in front of the plant's body: contacts, dock, supply and motor."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from helpers import module_world
from helpers.attach_harness import Clock, Lens, picture
from lensfw import module
from lenslink_hil.benches.board_profile import FIRMWARE
from lenslink_hil.plant.body import Body
from lenslink_hil.plant.spring_contacts import Edge
from lenslink_hil.virtual_body import BodyPorts

_PRODUCT = tomllib.loads((FIRMWARE / "modules/ll-100.toml").read_text("utf-8"))
_STEP_US = 1000


class _Ports(BodyPorts):
    """Ports whose sensor shows the harness' picture of each mode."""

    def __init__(self, body: Body, clock: Any, boot: int) -> None:
        super().__init__(body, clock, lambda number: b"", readout_us=0)
        self._boot = boot

    def request_rows(self, number: int, *more: Any) -> None:
        self._picture = lambda _: bytes(picture(self._boot, number, more[0]))
        super().request_rows(number)


class PlantLens(Lens):
    """A module with the shipped motor and iris. It is put on the dock when it starts."""

    body: Body

    def __init__(self, clock: Clock, serial: str, key: str | None = None) -> None:
        super().__init__(clock, serial, key=key)

    def start(self) -> None:
        self.boot += 1
        self.time = SimpleNamespace(now=lambda: self._clock.us)
        self.body = self._make_body()
        self.ports: Any = self._make_ports()
        self.camera = module.Module(self._configure(), self.ports, self.time)
        self._is_attached = False
        self.attached_us = 0
        """When the module was attached last."""
        step: Callable[[], bool] = self.camera.step

        def advance_and_step() -> bool:
            self.ports.advance()
            has_read = step()
            is_attached = self.camera.is_attached()
            if is_attached and not self._is_attached:
                self.attached_us = self._clock.us
            self._is_attached = is_attached
            return has_read

        self.camera.step = advance_and_step

    def _configure(self) -> dict[str, Any]:
        """The module's configuration."""
        config = module_world.configuration() | {"serial": self.serial, "boot_count": self.boot}
        return config | {key: _PRODUCT[key] for key in ("motor", "optics")} | {"auth_key": self.key}

    def _make_body(self) -> Body:
        return Body(self.boot, self._clock.us)

    def _make_ports(self) -> BodyPorts:
        return _Ports(self.body, self._clock, self.boot)

    def move(self, edges: list[Edge]) -> None:
        """Schedule edges of contacts from now on, each as (delay, contact, level)."""
        self.body.plan_contacts(edges, self._clock.us)

    def live(self, us: int) -> None:
        """Let the module live for so long while no host listens."""
        for _ in range(0, us, _STEP_US):
            self._clock.pass_us(_STEP_US)
            self.camera.step()
