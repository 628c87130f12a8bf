"""Modules that prove that they are genuine, and others: the firmware's own, on virtual time."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

import pytest
from helpers import attach_harness, toy_scheme
from helpers.attach_harness import Bay, Lens, Prove

import lenslink
from lenslink.attachment import attach
from lenslink.device import open as open_device
from lenslink.errors import NotGenuine, ProtocolError, Timeout, UsageError
from lenslink_protocol.framing import encode_packet
from lenslink_protocol.ids import Capability, MessageType
from lenslink_protocol.manifest import Manifest
from lenslink_protocol.messages import HEADER, Proof
from lenslink_protocol.params import MAX_CONTROL

URL = "fake:one"
SERIAL = "LENS-1"


class Toy:
    """The host's end of a scheme that proves nothing; it remembers what it was asked."""

    scheme = toy_scheme.SCHEME

    def __init__(self) -> None:
        self.challenges: list[bytes] = []
        self.checked: list[tuple[bytes, str]] = []

    def challenge(self) -> bytes:
        self.challenges.append(secrets.token_bytes(16))
        return self.challenges[-1]

    def check(self, challenge: bytes, proof: bytes, manifest: Manifest) -> bool:
        self.checked.append((challenge, manifest.serial))
        return proof == toy_scheme.proof(challenge)


@pytest.fixture
def bay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bay:
    return attach_harness.install(monkeypatch, tmp_path)


def plug(
    bay: Bay,
    secure: Prove | None = toy_scheme.authenticate,
    serial: str = SERIAL,
) -> Lens:
    lens = Lens(bay.clock, serial, secure=secure)
    bay.plug(URL, lens)
    return lens


def configured(lens: Lens) -> list[Any]:
    """Streams that were ever prepared."""
    return [each for each in lens.camera.streams if each.mode is not None]


def test_a_genuine_module_is_asked_once_in_a_session(bay: Bay) -> None:
    plug(bay)
    toy = Toy()
    with open_device(URL, authenticate=toy) as module:
        with module.capture() as frame:
            attach_harness.assert_picture(frame, 1)
        assert toy.checked == [(toy.challenges[0], SERIAL)]
        module.renew()
    assert len(toy.checked) == 2
    assert toy.challenges[0] != toy.challenges[1]


def test_a_host_that_does_not_ask_is_not_told(bay: Bay) -> None:
    asked: list[int] = []
    plug(bay, lambda scheme, challenge: asked.append(scheme))  # type: ignore[func-returns-value]
    with open_device(URL) as module:
        assert module.session_info.capabilities & Capability.AUTH
        module.capture().release()
    assert asked == []


def wrong(scheme: int, challenge: bytes) -> bytes:
    del scheme
    return toy_scheme.proof(challenge + b"!")


@pytest.mark.parametrize(
    ("secure", "why"),
    [
        (None, "has no authentication"),
        (wrong, "its proof is wrong"),
        (lambda scheme, challenge: None, "unsupported: no scheme 32768"),
        (lambda scheme, challenge: b"", "unsupported: no scheme 32768"),
        (lambda scheme, challenge: bytes(MAX_CONTROL), "unsupported: no scheme 32768"),
    ],
    ids=["none", "wrong", "another scheme", "empty", "too long"],
)
def test_who_cannot_prove_it_is_not_opened(bay: Bay, secure: Prove | None, why: str) -> None:
    lens = plug(bay, secure)
    with pytest.raises(NotGenuine, match=why) as caught:
        open_device(URL, authenticate=Toy())
    assert caught.value.exit_code == ProtocolError.exit_code == 6
    assert "\n" not in str(caught.value)
    assert lens.camera.link.nonce is None, "the session was not closed"
    assert not configured(lens)
    assert not bay.open


class Edited:
    """A transport whose module says something else in its proofs."""

    def __init__(self, inner: Any, answer: bytes | None) -> None:
        self._inner = inner
        self._answer = answer
        self._bytes = b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def receive_into(self, buffers: Any, seconds: float) -> int:
        if not self._bytes:
            memory = bytearray(4096)
            count = self._inner.receive_into([memoryview(memory)], seconds)
            self._bytes = self._edit(bytes(memory[:count]))
        taken = 0
        for buffer in buffers:
            piece = self._bytes[: len(buffer)]
            buffer[: len(piece)] = piece
            self._bytes = self._bytes[len(piece) :]
            taken += len(piece)
        return taken

    def _edit(self, data: bytes) -> bytes:
        out = b""
        while data:
            size = HEADER.size + int.from_bytes(data[28:32], "little")
            packet, data = data[:size], data[size:]
            if packet[5] == MessageType.PROOF:
                packet = self._sealed(packet)
            out += packet
        return out

    def _sealed(self, packet: bytes) -> bytes:
        if self._answer is None:
            return b""
        _, _, _, _, _, nonce, sequence, frame, *_ = HEADER.unpack_from(packet)
        kind = MessageType.PROOF
        return encode_packet(kind, self._answer, nonce=nonce, sequence=sequence, frame=frame)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (Proof(toy_scheme.SCHEME, b"").encode(), "its proof is wrong"),
        (Proof(toy_scheme.SCHEME + 1, b"xxxx").encode(), "proves by scheme 32769"),
        (Proof(0, b"xxxx").encode(), "proves by scheme 0"),
    ],
    ids=["empty", "another scheme", "scheme 0"],
)
def test_proofs_that_no_firmware_of_ours_sends(bay: Bay, answer: bytes, why: str) -> None:
    lens = plug(bay)
    toy = Toy()
    with pytest.raises(NotGenuine, match=why):
        open_device(URL, authenticate=toy, wrap=lambda inner: Edited(inner, answer))
    assert toy.checked == [], "there was nothing to check"
    assert not configured(lens)


@pytest.mark.parametrize(("timeout", "limit"), [(3.0, 3.2), (60.0, 10.5)])
def test_a_module_that_never_answers(bay: Bay, timeout: float, limit: float) -> None:
    """It lives, and says nothing to the challenge: not for as long as the opening may take."""
    lens = plug(bay)
    began = bay.clock.seconds
    with pytest.raises(Timeout, match="authenticating"):
        open_device(
            URL, timeout=timeout, authenticate=Toy(), wrap=lambda inner: Edited(inner, None)
        )
    assert bay.clock.seconds - began <= limit
    assert not configured(lens)
    assert not bay.open


@pytest.mark.parametrize("challenge", [b"", bytes(MAX_CONTROL)])
def test_a_challenge_that_does_not_fit_is_the_callers_mistake(bay: Bay, challenge: bytes) -> None:
    plug(bay)
    toy = Toy()
    toy.challenge = lambda: challenge  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="1 to 1020 bytes"):
        open_device(URL, authenticate=toy)


def test_a_scheme_that_is_none(bay: Bay) -> None:
    plug(bay)
    toy = Toy()
    toy.scheme = 1 << 16
    with pytest.raises(UsageError, match="0 to 65535"):
        open_device(URL, authenticate=toy)


def test_a_module_that_comes_back_is_asked_again(bay: Bay) -> None:
    lens = plug(bay)
    toy = Toy()
    with attach(URL, authenticate=toy) as module:
        module.capture().release()
        lens.interrupt(0.1, 0.3)
        for number, frame in enumerate(module.stream()):
            frame.release()
            if module.attachments > 1 and number > 3:
                break
    assert module.attachments == 2
    assert len(toy.checked) == 2
    assert len(set(toy.challenges)) == 2


def test_another_module_that_comes_in_its_place_is_found_out(bay: Bay) -> None:
    """It has the serial number of the first, and not its secret."""
    plug(bay)
    with attach(URL, authenticate=Toy(), timeout=10.0) as module:
        module.capture().release()
        bay.pull(URL)
        impostor = plug(bay, wrong)
        with pytest.raises(NotGenuine, match="proof is wrong"):
            module.capture()
        assert not configured(impostor)
        assert not bay.open, "it is let go of"
        # The right one is put on again.
        bay.pull(URL)
        lens = plug(bay)
        module.capture().release()
        assert configured(lens)
    assert module.attachments == 2


def test_a_stranger_is_no_impostor(bay: Bay) -> None:
    """Where another module is found meanwhile, which cannot prove anything, it is just another."""
    first = plug(bay)
    with attach(URL, authenticate=Toy(), timeout=5.0) as module:
        module.capture().release()
        bay.pull(URL)
        plug(bay, None, serial="LENS-2")
        bay.clock.after(1.0, lambda: bay.pull(URL))
        bay.clock.after(1.2, lambda: (first.start(), bay.plug(URL, first)))
        module.capture().release()
    assert module.attachments == 2


def test_attach_does_not_wait_for_an_impostor_to_become_genuine(bay: Bay) -> None:
    plug(bay, wrong)
    began = bay.clock.seconds
    with pytest.raises(NotGenuine):
        attach(URL, authenticate=Toy(), timeout=30.0)
    assert bay.clock.seconds - began < 2
    assert not bay.open


def test_its_names_are_public() -> None:
    assert lenslink.NotGenuine is NotGenuine
    authenticator: lenslink.Authenticator = Toy()
    assert authenticator.scheme == toy_scheme.SCHEME
