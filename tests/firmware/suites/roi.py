"""Crops, and the stream of a region of interest: what is read, where, and whose turn it is."""

from helpers import module_world

from lensfw import wire

PREVIEW, STILL, ROI = 0, 1, 2
ROI_X, ROI_Y, EXPOSURE = wire.CONTROL_ROI_X, wire.CONTROL_ROI_Y, wire.CONTROL_EXPOSURE
EVERY = wire.EVERY_FRAME
SIDE = 16
setting = module_world.setting


class Host(module_world.Peer):
    """A host that counts its requests. Mode 1 has 16 x 16 pixels of 16 bits."""

    def __init__(self):
        camera, ports, time = module_world.camera()
        super().__init__(camera, time)
        ports.pitch = SIDE
        self.ports = ports
        self.hello()
        self.grant()
        self.number = 1

    def ask(self, kind, values=(), tail=b""):
        self.number += 1
        return self.send(kind, self.number, values, tail)

    def configure(self, stream, crop, flags=0):
        return self.ask(wire.T_CONFIGURE, (stream, flags, 1, 0, 0) + crop)

    def capture(self, stream, entries=b"", count=1):
        """Capture, and return the frames as (number, place, flags, pixels)."""
        mark = len(self.heard)
        self.ask(wire.T_CAPTURE, (stream, 0, count), entries)
        self.run(60 * count)
        return self.list_frames(mark, stream)

    def run(self, ms):
        for _ in range(ms):
            self.time.us += 1000
            self.turn()

    def list_frames(self, mark, stream):
        found = {}
        for header, payload in self.heard[mark:]:
            if header[4] != stream:
                continue
            if header[2] == wire.T_FRAME_START:
                fields = wire.decode(wire.T_FRAME_START, payload)
                found[header[7]] = [header[7], fields[-2:], fields[12], b""]
            elif header[2] == wire.T_TILE:
                found[header[7]][3] += bytes(payload)
        return list(found.values())

    def list_order(self, mark=0):
        """Return the stream of each frame that began, in order."""
        return [header[4] for header, _ in self.heard[mark:] if header[2] == wire.T_FRAME_START]


def code(said):
    return module_world.only(said, wire.T_ERROR)[0]


def test_a_crop_of_any_stream_is_read_alone():
    for stream in (PREVIEW, STILL, ROI):
        host = Host()
        for crop in ((2, 4, 8, 6), (0, 0, 2, 2), (14, 14, 2, 2), (0, 2, 16, 14)):
            x, y, width, height = crop
            answer = module_world.only(host.configure(stream, crop), wire.T_CONFIGURED)
            assert answer[4:8] == (width, height, 2 * width, 2 * width * height)
            assert answer[-2:] == (x, y)
            ((number, place, flags, pixels),) = host.capture(stream)
            assert (place, flags) == ((x, y), 0)
            whole = bytes(module_world.gradient(number, 1))[: 2 * SIDE * SIDE]
            assert pixels == module_world.cut_rows(whole, SIDE, crop), crop


def test_four_zeros_are_the_whole_mode():
    host = Host()
    for crop in ((2, 2, 4, 4), (0, 0, 0, 0)):
        answer = module_world.only(host.configure(ROI, crop), wire.T_CONFIGURED)
    assert answer[4:6] == (SIDE, SIDE) and answer[-2:] == (0, 0)
    assert len(host.capture(ROI)[0][3]) == 2 * SIDE * SIDE


def test_what_is_no_crop_is_refused_and_changes_nothing():
    host = Host()
    host.configure(ROI, (2, 2, 4, 4))
    for crop in (
        (1, 0, 4, 4), (0, 1, 4, 4), (0, 0, 3, 4), (0, 0, 4, 3), (2, 0, 0, 0), (0, 0, 4, 0),
        (0, 0, 0, 4), (14, 0, 4, 4), (0, 14, 4, 4), (65534, 0, 4, 4), (0, 0, 65534, 65534),
    ):  # fmt: skip
        for flags in (0, wire.CONFIGURE_TEST_ONLY):
            assert code(host.configure(ROI, crop, flags)) == wire.ERR_UNSUPPORTED, crop
    ((_, place, _, pixels),) = host.capture(ROI)
    assert place == (2, 2) and len(pixels) == 32


def test_a_crop_moves_frame_by_frame():
    host = Host()
    host.configure(ROI, (2, 4, 4, 4))
    asked = ((0, 0), (12, 12), (13, 3), (-1, 5), (1000, 14))
    valid = ((0, 0), (12, 12), (12, 2), (0, 4), (12, 12))
    entries = b""
    for at, (x, y) in enumerate(asked):
        entries += setting(ROI_X, x, at) + setting(ROI_Y, y, at)
    found = host.capture(ROI, entries, len(asked))
    assert [each[1] for each in found] == list(valid)
    adjusted = [bool(each[2] & wire.APPLIED_ADJUSTED) for each in found]
    assert adjusted == [one != other for one, other in zip(asked, valid)]
    for number, (x, y), _, pixels in found:
        whole = bytes(module_world.gradient(number, 1))[: 2 * SIDE * SIDE]
        assert pixels == module_world.cut_rows(whole, SIDE, (x, y, 4, 4))
    # What was configured lasts.
    assert host.capture(ROI)[0][1] == (2, 4)


def test_configure_sets_the_place_and_a_trial_does_not():
    host = Host()
    host.configure(ROI, (2, 4, 4, 4))
    assert host.capture(ROI, setting(ROI_X, 6))[0][1] == (6, 4)
    assert host.capture(ROI)[0][1] == (6, 4)
    host.configure(ROI, (8, 8, 4, 4), wire.CONFIGURE_TEST_ONLY)
    assert host.capture(ROI)[0][1] == (6, 4)
    host.configure(ROI, (0, 2, 4, 4))
    assert host.capture(ROI)[0][1] == (0, 2)


def test_a_stream_without_a_crop_stays_at_the_origin():
    host = Host()
    host.configure(STILL, (0, 0, 0, 0))
    ((_, place, flags, _),) = host.capture(STILL, setting(ROI_X, 2))
    assert place == (0, 0) and flags & wire.APPLIED_ADJUSTED


def test_preview_and_roi_take_turns():
    host = Host()
    for stream, crop in ((PREVIEW, (0, 0, 0, 0)), (ROI, (2, 2, 4, 4))):
        host.configure(stream, crop)
        host.ask(wire.T_STREAM, (stream, 0, 0, 0), setting(EXPOSURE, 1000))
    host.run(20)
    mark = len(host.heard)
    host.run(60)
    order = host.list_order(mark)
    assert len(order) >= 20
    assert all(one != other for one, other in zip(order, order[1:])), order


def test_the_previews_interval_at_most_doubles_beside_a_roi():
    """On the module's clock, with any region and exposure: one frame of it fits in between."""
    for crop in ((2, 2, 4, 4), (0, 0, 16, 16)):
        for exposure in (100, 5000):
            host = Host()
            counts = []
            for stream, place in ((PREVIEW, (0, 0, 0, 0)), (ROI, crop)):
                host.configure(stream, place)
                host.ask(wire.T_STREAM, (stream, 0, 0, 0), setting(EXPOSURE, exposure))
                host.run(20)
                mark = len(host.heard)
                host.run(300)
                counts.append(host.list_order(mark).count(PREVIEW))
            alone, beside = counts
            assert beside >= 20 and 2 * beside >= alone - 1, (crop, exposure, counts)


def test_the_roi_has_what_the_preview_leaves():
    host = Host()
    for stream, crop, interval in ((PREVIEW, (0, 0, 0, 0), 20000), (ROI, (2, 2, 4, 4), 0)):
        host.configure(stream, crop)
        host.ask(wire.T_STREAM, (stream, 0, 0, interval), setting(EXPOSURE, 1000))
    host.run(20)
    mark = len(host.heard)
    host.run(200)
    order = host.list_order(mark)
    assert order.count(PREVIEW) in (9, 10)
    assert order.count(ROI) > 2 * order.count(PREVIEW)


def test_a_still_begins_first_and_a_roi_waits_for_a_bracket():
    host = Host()
    for stream in (PREVIEW, STILL, ROI):
        host.configure(stream, (2, 2, 4, 4))
    for stream in (PREVIEW, ROI):
        host.ask(wire.T_STREAM, (stream, 0, 0, 0), setting(EXPOSURE, 1000))
    host.run(20)
    mark = len(host.heard)
    host.ask(wire.T_CAPTURE, (STILL, 0, 4), setting(EXPOSURE, 1000))
    host.run(60)
    order = host.list_order(mark)
    first = order.index(STILL)
    # At most a frame that was being exposed and one that was chosen come before it.
    assert first <= 2
    assert order[first : first + 4] == [STILL] * 4 and order.count(STILL) == 4
    assert PREVIEW in order[first + 4 :] and ROI in order[first + 4 :]


def test_a_bracket_of_the_roi_is_consecutive():
    host = Host()
    for stream in (PREVIEW, ROI):
        host.configure(stream, (2, 2, 4, 4))
    host.ask(wire.T_STREAM, (PREVIEW, 0, 0, 0), setting(EXPOSURE, 1000))
    host.run(20)
    mark = len(host.heard)
    host.ask(wire.T_CAPTURE, (ROI, 0, 5), setting(EXPOSURE, 1000))
    host.run(60)
    order = host.list_order(mark)
    first = order.index(ROI)
    assert order[first : first + 5] == [ROI] * 5 and order.count(ROI) == 5
