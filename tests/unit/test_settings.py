"""Settings and options: what they refuse, how calls take them, and that nothing is sent before."""

from __future__ import annotations

import doctest
import inspect
import struct
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from helpers.attach_harness import Lens, install

import lenslink
from lenslink import Settings, StreamOptions, settings
from lenslink.device import Device
from lenslink.errors import UsageError
from lenslink_protocol.controls import encode_settings, read_settings
from lenslink_protocol.messages import Capture, StartStream

URL = "bay:1"
LIMITS = {
    "exposure_us": (1, 2**30 - 1),
    "gain_milli": (1, 1_000_000),
    "focus_mdpt": (0, 100_000),
    "aperture_milli": (1, 1_000_000),
    "tile_bytes": (1, 4 << 20),
    "interval_us": (0, 2**32 - 1),
}
NUMBERS = [
    *((Settings, name) for name in ("exposure_us", "gain_milli", "focus_mdpt", "aperture_milli")),
    *((StreamOptions, name) for name in ("tile_bytes", "interval_us")),
]
WRONG_TYPES = [8000.0, "8000", True, (1,), np.float64(8000), np.array([1, 2])]


@pytest.fixture
def lens(monkeypatch, tmp_path):
    bay = install(monkeypatch, tmp_path)
    made = Lens(bay.clock, "LENS-1")
    bay.plug(URL, made)
    return made


# --- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
def test_a_number_may_be_anything_within_its_limits(kind, name):
    for value in LIMITS[name]:
        assert getattr(kind(**{name: value}), name) == value


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
@pytest.mark.parametrize("beyond", [-1, 1])
def test_a_number_out_of_range_names_argument_value_and_range(kind, name, beyond):
    least, most = LIMITS[name]
    value = least - 1 if beyond < 0 else most + 1
    with pytest.raises(UsageError) as raised:
        kind(**{name: value})
    assert str(raised.value) == f"{name}={value} is out of range: it must be {least} to {most}"


@pytest.mark.parametrize(("kind", "name"), NUMBERS)
@pytest.mark.parametrize("value", WRONG_TYPES, ids=repr)
def test_a_number_of_another_type_names_argument_value_and_range(kind, name, value):
    least, most = LIMITS[name]
    with pytest.raises(UsageError) as raised:
        kind(**{name: value})
    assert str(raised.value) == (
        f"{name}={value!r} is not a whole number: it must be {least} to {most}, or None"
    )


def test_whole_numbers_of_numpy_become_ints():
    made = Settings(exposure_us=np.int64(8000), gain_milli=np.uint16(1000))
    assert made == Settings(8000, 1000)
    assert [type(value) for value in (made.exposure_us, made.gain_milli)] == [int, int]


@pytest.mark.parametrize("name", ["mode", "packing"])
def test_a_name_must_be_text(name):
    with pytest.raises(UsageError, match=rf"^{name}=7 is no text: it must be a name, or None$"):
        StreamOptions(**{name: 7})


def test_objects_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Settings().exposure_us = 5


# --- the wire --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "entries"),
    [
        (Settings(), []),
        (
            Settings(7000, 2500, 1651, 2800, True),
            [(1, 7000), (2, 2500), (3, 1651), (4, 2800), (5, 1)],
        ),
        (Settings(focus_mdpt=0, settled=False), [(3, 0), (5, 0)]),
    ],
)
def test_only_what_is_set_has_an_entry(made, entries):
    assert list(made.list_entries()) == [(control, 0xFFFF, value) for control, value in entries]
    assert list(made.list_entries(3)) == [(control, 3, value) for control, value in entries]


def test_a_module_may_state_more_than_one_may_ask_for():
    most = Settings(2**30 - 1, 1_000_000, 100_000, 1_000_000)
    assert Settings.from_applied(2**32 - 1, 2**32 - 1, 2**31 - 1, 2**32 - 1) == most
    assert Settings.from_applied(0, 0, -(2**31), 0) == Settings()


def test_every_allowed_value_can_be_encoded():
    for index in (0, 1):
        made = Settings(*(LIMITS[control][index] for control in list(LIMITS)[:4]), settled=True)
        data = encode_settings([*made.list_entries(), *made.list_entries(15)])
        read = read_settings(data, 16)
        assert read == [*made.list_entries(), *made.list_entries(15)]
        interval = LIMITS["interval_us"][index]
        sent = StartStream(0, interval, data)
        assert StartStream.decode(sent.encode()) == sent


@pytest.mark.parametrize("value", [1, 0, "yes", np.bool_(True)])
def test_settled_is_true_or_false(value):
    with pytest.raises(UsageError, match=r"^settled=.* must be True, False or None"):
        Settings(settled=value)


def test_gaps_are_filled_from_another():
    assert Settings(focus_mdpt=0).filled_from(Settings(5, None, 9)) == Settings(5, None, 0)
    known = StreamOptions("full", "lsb", 64)
    assert StreamOptions(packing="mipi").filled_from(known) == StreamOptions("full", "mipi", 64)


# --- arguments of calls ----------------------------------------------------------------------


def test_the_names_of_arguments_are_the_names_of_fields():
    names = {field.name for kind in (Settings, StreamOptions) for field in fields(kind)}
    assert set(settings.StreamArguments.__annotations__) == names - {"mode"}


def test_a_keyword_argument_wins_over_an_object():
    found = settings.read_arguments(
        settings.StreamArguments,
        {"gain_milli": None, "packing": "lsb", "focus_mdpt": 5},
        "full",
        Settings(1, 2, 3),
        StreamOptions("small", "mipi", 64, 9),
    )
    assert found == (Settings(1, None, 5), StreamOptions("full", "lsb", 64, 9))


def test_no_mode_leaves_that_of_the_options():
    _, options = settings.read_arguments(
        settings.CaptureArguments, {}, None, None, StreamOptions("small")
    )
    assert options.mode == "small"


@pytest.mark.parametrize("call", ["configure", "capture", "start", "stream"])
@pytest.mark.parametrize("opened", [Device, lenslink.attach])
def test_an_unknown_keyword_is_refused(lens, opened, call):
    del lens
    with opened(URL, timeout=5) as module:
        with pytest.raises(TypeError, match="unexpected keyword argument: exposur_us"):
            getattr(module, call)(exposur_us=5)
        known = {"configure": "exposure_us", "capture": "interval_us"}.get(call)
        if known is not None:
            with pytest.raises(TypeError, match=f"unexpected keyword argument: {known}"):
                getattr(module, call)(**{known: 5})


@pytest.mark.parametrize("opened", [Device, lenslink.attach])
@pytest.mark.parametrize("call", ["capture", "start", "stream"])
def test_an_object_of_another_type_is_refused(lens, opened, call):
    del lens
    with opened(URL, timeout=5) as module:
        with pytest.raises(UsageError, match=r"^settings=\{'gain_milli': 5\} must be a lenslink"):
            getattr(module, call)(settings={"gain_milli": 5})
        with pytest.raises(UsageError, match=r"^options='full' must be a lenslink\.StreamOptions"):
            getattr(module, call)(options="full")


def test_both_kinds_of_modules_take_the_same_arguments():
    for call in ("configure", "capture", "start", "stream"):
        one, other = (
            [*inspect.signature(getattr(kind, call)).parameters]
            for kind in (Device, lenslink.Attachment)
        )
        # What a module that comes and goes is asked for, it is asked for again.
        assert [name for name in one if name != "test_only"] == other


def test_settings_reach_the_frame_however_they_are_given(lens):
    del lens
    with Device(URL, 5) as module:
        given = Settings(7000, 2500)
        for frame, applied in (
            (module.capture("mode2", settings=given), (7000, 2500)),
            (module.capture(options=StreamOptions("mode2"), gain_milli=1500), (7000, 1500)),
            (module.capture("mode2", settings=given, exposure_us=5000), (5000, 2500)),
        ):
            assert (frame.exposure_us, frame.gain_milli) == applied
            assert frame.width == 32


@pytest.mark.parametrize("opened", [Device, lenslink.attach])
@pytest.mark.parametrize(
    "wrong",
    [
        {"exposure_us": -1},
        {"gain_milli": 2**32},
        {"exposure_us": 8000.0},
        {"focus_mdpt": -1},
        {"tile_bytes": 0},
        {"packing": 7},
    ],
    ids=repr,
)
def test_a_wrong_argument_sends_nothing_and_spoils_nothing(lens, opened, wrong):
    del lens
    with opened(URL, timeout=5) as module:
        device = module if isinstance(module, Device) else module.wait()
        link = device._session.link
        before = link._sequence
        for call in (module.capture, module.start, module.stream):
            with pytest.raises(UsageError):
                call(**wrong)
        assert link._sequence == before
        assert not link.snapshot().requests
        assert module.capture("mode2").width == 32


def test_a_message_that_cannot_be_encoded_is_no_request(lens):
    del lens
    with Device(URL, 5) as module:
        link = module._session.link
        with pytest.raises(struct.error):
            link.send_request(Capture(1, -1), 0.0)
        assert not link.snapshot().requests
        assert module.capture("mode2").width == 32


def test_the_examples_hold():
    assert doctest.testmod(settings).failed == 0
    assert doctest.testmod(settings).attempted >= 4
