"""What a report says of a run besides its verdicts: when, what, on what, and how to repeat it."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from lenslink_protocol.manifest import Manifest
from lenslink_protocol.params import VERSION_MAJOR, VERSION_MINOR

from ..report.run_facts import list_run_facts
from .clauses import hash_clauses


def draw_seed() -> int:
    """Return a seed for a run that was not given one."""
    return random.SystemRandom().getrandbits(32)


@dataclass
class RunInfo:
    """The facts of a run. :meth:`note_manifest` adds the module's identity once it is known."""

    subject: str
    url: str = ""
    seed: int = field(default_factory=draw_seed)
    module: dict[str, str] = field(default_factory=dict)
    """Maker, model, serial and firmware; empty until a manifest was read."""
    capabilities: tuple[str, ...] = ()
    """Names of the capabilities that the module offers."""
    date: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC"))
    _start: float = field(default_factory=time.monotonic)

    def note_manifest(self, manifest: Manifest) -> None:
        """Take the module's identity from its manifest."""
        self.module = {
            "maker": manifest.maker,
            "model": manifest.model,
            "serial": manifest.serial,
            "firmware": manifest.firmware,
        }

    def as_dict(self) -> dict[str, Any]:
        """Return the facts for JSON. ``duration_s`` counts up to this call."""
        return {
            "subject": self.subject,
            "url": self.url,
            "seed": self.seed,
            "module": dict(self.module),
            "capabilities": list(self.capabilities),
            "clauses_sha256": hash_clauses(),
            "date": self.date,
            "duration_s": round(time.monotonic() - self._start, 3),
            "spec": f"{VERSION_MAJOR}.{VERSION_MINOR}",
            **list_run_facts(),
        }

    def as_rows(self) -> list[tuple[str, str]]:
        """Return the facts for people, as names and values; empty ones are left out."""
        facts = self.as_dict()
        module = ", ".join(f"{key} {value}" for key, value in self.module.items())
        rows = [
            ("date", facts["date"]),
            ("duration", f"{facts['duration_s']:.1f} s"),
            ("tested", facts["subject"]),
            ("URL", facts["url"]),
            ("module", module),
            ("LensLink", facts["lenslink"]),
            ("specification", facts["spec"]),
            ("host", facts["host"]),
            ("Python", facts["python"]),
            ("seed", str(facts["seed"])),
        ]
        return [(name, value) for name, value in rows if value]
