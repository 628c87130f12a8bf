"""A simulated module that proves itself: its firmware on MicroPython, and a toy for a scheme."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import bench_scale, toy_scheme

import lenslink
from lenslink_hil.benches import sim
from lenslink_hil.conformance.live import run_modules
from lenslink_hil.conformance.verdicts import find_cases
from lenslink_protocol.manifest import Manifest

SMALL = {"scene": "prbs", "width": 128, "height": 96}


class Toy:
    """The host's end."""

    scheme = toy_scheme.SCHEME

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    def challenge(self) -> bytes:
        return secrets.token_bytes(32)

    def check(self, challenge: bytes, proof: bytes, manifest: Manifest, nonce: int) -> bool:
        return proof == toy_scheme.proof(challenge + self._key)


@pytest.fixture
def proving(
    own_url: Callable[..., str], lens_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str:
    """The URL of a module whose configuration names the toy, which lies beside its firmware."""
    url = own_url(**SMALL)
    if bench_scale.scheme_of(lens_url) not in bench_scale.SERVES:
        pytest.skip(f"{lens_url} has the secrets that it has")
    folder = tmp_path / "board"
    folder.mkdir()
    (folder / "lensfw").symlink_to(sim.FIRMWARE)
    shutil.copy(toy_scheme.__file__, folder / "toy_scheme.py")
    usual = sim.make_configuration

    def configuration(*arguments: Any, **options: Any) -> dict[str, Any]:
        return usual(*arguments, **options) | {"authenticator": "toy_scheme"}

    monkeypatch.setattr(sim, "make_configuration", configuration)
    monkeypatch.setattr(sim, "FIRMWARE", folder / "lensfw")
    return url


def test_it_is_opened_once_it_has_proved_itself(proving: str) -> None:
    with lenslink.open(proving, authenticate=Toy()) as module, module.capture() as frame:
        assert frame.status.value == "complete"


def test_it_is_not_opened_with_another_key(proving: str) -> None:
    with pytest.raises(lenslink.NotGenuine, match="its proof is wrong"):
        lenslink.open(proving, authenticate=Toy(b"another"))


def test_the_usual_module_cannot_prove_anything(scene_url: Callable[..., str]) -> None:
    url = scene_url(**SMALL)
    with pytest.raises(lenslink.NotGenuine, match="has no authentication"):
        lenslink.open(url, authenticate=Toy())


def test_the_conformance_kit_finds_its_scheme(proving: str) -> None:
    for clause in ("M-AUTH-1", "M-AUTH-2"):
        found = list(run_modules(proving, find_cases(clause), clause, 30.0))
        assert found
        assert [each for each in found if each.verdict != "passed"] == []


# --- HMAC_SHA256 ------------------------------------------------------------------------------

KEY = bytes(range(7, 39))


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "a module.key"
    path.write_text(KEY.hex() + "\n")
    return path


def test_a_module_with_a_key_proves_itself(own_url: Callable[..., str], key_file: Path) -> None:
    url = own_url(**SMALL, key=key_file)
    with lenslink.open(url, authenticate=lenslink.read_key_file(key_file)) as module:
        module.authenticate(KEY)
        with pytest.raises(lenslink.NotGenuine, match="its proof is wrong"):
            module.authenticate(bytes(32))
        with module.capture() as frame:
            assert frame.status.value == "complete"


def test_the_kit_checks_the_proof_with_the_key(own_url: Callable[..., str], key_file: Path) -> None:
    url = own_url(**SMALL, key=key_file)
    cases = find_cases("M-AUTH-3")

    def judge(key: bytes | None) -> set[tuple[str, str]]:
        found = run_modules(url, cases, "M-AUTH-3", 30.0, key=key)
        return {(each.case, each.verdict) for each in found}

    assert judge(KEY) == {("hmac_of_whole_challenges", "passed"), ("hmac_is_right", "passed")}
    assert ("hmac_is_right", "failed") in judge(bytes(32))
    assert ("hmac_is_right", "not run") in judge(None)


def test_a_file_that_is_no_key_is_refused(own_url: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "module.key"
    path.write_text("secret")
    with pytest.raises(lenslink.UsageError, match="64 hexadecimal digits"):
        lenslink.open(own_url(**SMALL, key=path))
