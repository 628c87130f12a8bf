"""A module without a focus motor: no FOCUS control, and a lens that stands still."""

import struct

from helpers import module_world

from lensfw import wire

PREVIEW, SMALL = 0, 1


def camera():
    config = module_world.configuration()
    del config["motor"]
    config["optics"]["focus_mdpt"] = 500
    made, ports, time = module_world.camera(config)
    host = module_world.Peer(made, time)
    host.hello()
    return made, ports, time, host


def capture(host, number, entries):
    tail = b"".join([struct.pack(wire.SETTING, *each) for each in entries])
    return host.send(wire.T_CAPTURE, number, (PREVIEW, 0, 1), tail)


def test_the_manifest_has_no_focus():
    made, _, _, _ = camera()
    controls, keys, at, data = [], [], 0, made.manifest
    while at < len(data):
        key, length = struct.unpack_from("<HH", data, at)
        keys.append(key)
        if key == wire.KEY_CONTROL:
            controls.append(struct.unpack_from("<H", data, at + 4)[0])
        at += 4 + length
    others = [wire.CONTROL_EXPOSURE, wire.CONTROL_GAIN, wire.CONTROL_APERTURE]
    assert controls == others + [wire.CONTROL_SETTLED, wire.CONTROL_ROI_X, wire.CONTROL_ROI_Y]
    assert wire.KEY_FOCUS not in keys


def test_a_focus_setting_is_refused_and_frames_state_the_fixed_one():
    _, _, time, host = camera()
    host.send(wire.T_CONFIGURE, 2, (PREVIEW, 0, SMALL, 0, 0))
    host.send(wire.T_HEARTBEAT, 0, (1 << 20, 1 << 20, 0, 0))
    said = capture(host, 3, [(wire.CONTROL_FOCUS, wire.EVERY_FRAME, 100)])
    assert module_world.only(said, wire.T_ERROR)[0] == wire.ERR_UNSUPPORTED
    said = capture(host, 4, [(wire.CONTROL_GAIN, wire.EVERY_FRAME, 2000)])
    for _ in range(20):
        time.us += 1000
        said = said + host.turn()
    start = module_world.only(said, wire.T_FRAME_START)
    assert start[19:21] == (2000, 500), "gain and focus"
    assert not start[12] & wire.APPLIED_MOVING


def test_what_would_move_a_motor_moves_nothing():
    made, ports, time, _ = camera()
    ports.events.append((ports.CONTACT, 2, 0))
    made.focus_ring.add_edge(0, 1)
    for _ in range(50):
        made.step()
        time.us += 1000
    assert made.focus_motor.is_settled
    assert made.focus_motor.get_mdpt_at(time.us) == 500
    assert made.focus_motor.step_count == 0
