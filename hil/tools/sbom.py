"""List what an installation of a distribution consists of, as CycloneDX JSON.

:mod:`dist` calls this. Names, versions and licences come from the metadata of the packages that are
installed here; they are the versions that requirements.lock names, and that the tests ran with.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from importlib.metadata import Distribution, distribution
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SPEC_VERSION = "1.6"
_MAX_LICENCE = 80


def make_sbom(name: str, extras: set[str], epoch: int, seed: str) -> dict[str, Any]:
    """Return the bill of materials of *name* and of all that it needs.

    Args:
        name: An installed distribution.
        extras: Its extras that are listed too, as optional components.
        epoch: Seconds since 1970 that the bill states as its time.
        seed: What the bill's serial number is made from.

    Raises:
        importlib.metadata.PackageNotFoundError: A package that is needed is not installed.
    """
    needed = _walk(name, {""})
    every = _walk(name, {"", *extras})
    root = distribution(name)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, seed)}",
        "version": 1,
        "metadata": {
            "timestamp": datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": _describe(root) | {"type": "application"},
        },
        "components": [
            _describe(distribution(each)) | {"scope": "required" if each in needed else "optional"}
            for each in sorted(every)
            if each != canonicalize_name(name)
        ],
        "dependencies": [
            {
                "ref": _make_reference(distribution(each)),
                "dependsOn": sorted(_make_reference(distribution(other)) for other in others),
            }
            for each, others in sorted(every.items())
        ],
    }


def _walk(name: str, extras: set[str]) -> dict[str, set[str]]:
    """Return each package that *name* with *extras* needs here, and what that needs directly."""
    found: dict[str, set[str]] = {}
    done: set[tuple[str, frozenset[str]]] = set()
    waiting = [(canonicalize_name(name), frozenset(extras))]
    while waiting:
        package, wanted = waiting.pop()
        if (package, wanted) in done:
            continue
        done.add((package, wanted))
        direct = found.setdefault(package, set())
        for line in distribution(package).requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker and not any(marker.evaluate({"extra": extra}) for extra in wanted):
                continue
            other = canonicalize_name(requirement.name)
            waiting.append((other, frozenset({"", *requirement.extras})))
            # An extra that names another extra of its own package is no dependency.
            direct.update({other} - {package})
    return found


def _make_reference(package: Distribution) -> str:
    return f"pkg:pypi/{canonicalize_name(package.name)}@{package.version}"


def _describe(package: Distribution) -> dict[str, Any]:
    reference = _make_reference(package)
    found = {
        "type": "library",
        "bom-ref": reference,
        "name": canonicalize_name(package.name),
        "version": package.version,
        "purl": reference,
    }
    if licence := _find_licence(package):
        found["licenses"] = [licence]
    return found


def _find_licence(package: Distribution) -> dict[str, Any] | None:
    """Return the licence as an SPDX expression or by name; None if the metadata has none."""
    metadata = package.metadata
    if expression := metadata.get("License-Expression"):
        return {"expression": expression}
    names = [
        each.rpartition(" :: ")[2]
        for each in metadata.get_all("Classifier") or ()
        if each.startswith("License :: ")
    ]
    # Some packages put the whole text of their licence there. It begins with its name.
    lines = (metadata.get("License") or "").strip().splitlines()
    name = lines[0][:_MAX_LICENCE] if lines else ", ".join(names)
    return {"license": {"name": name}} if name else None
