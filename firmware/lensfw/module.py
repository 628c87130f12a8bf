"""The camera: its streams, and the requests that a host may make.

A main loop calls step(). Module takes edges, samples and rows from the ports, and owns the Link.

============  =============================  ==============================  ============
state         meaning                        event                           next state
============  =============================  ==============================  ============
UNCONFIGURED  the stream has no mode         Configure                       CONFIGURED
CONFIGURED    no frame is owed               Configure                       CONFIGURED
CONFIGURED    no frame is owed               Capture or StartStream          STREAMING
CONFIGURED    no frame is owed               SetSettings                     CONFIGURED
STREAMING     frames are owed, no Capture    SetSettings                     STREAMING
STREAMING     frames are owed                the last frame ends             CONFIGURED
STREAMING     frames are owed                Stop or Flush                   CONFIGURED
any           any                            the session ends                UNCONFIGURED
============  =============================  ==============================  ============
"""

import struct

from . import (
    contacts,
    exposure,
    focus_motor,
    focus_ring,
    frame_history,
    heat,
    iris,
    link,
    manifest,
    power,
    sensor,
    setting_list,
    state_events,
    wire,
)
from .outbox import ALL_STREAMS, Item

UNCONFIGURED = 0
CONFIGURED = 1
STREAMING = 2

# The streams.
PREVIEW = 0
STILL = 1
ROI = 2

# The order in which frames that are due begin, by the number of channels.
_PRIORITIES = {1: ((STILL, ROI, PREVIEW),), 2: ((ROI, PREVIEW), (STILL,))}
_IRIS_SETTLE_US = 20000
_NONE = b""
# A number below it is no large integer, on 32 bits either.
_SMALL = (1 << 30) - 1
# So long a FrameEnd waits for the gauge of energy.
_GAUGE_US = 50000
_ENERGY_OFFSET = 28
# A module that is still attached so long after its release button was pressed stays on.
_RELEASE_HOLD_US = 2000000


class Stream:
    """A stream. It owes the host ``frames_left`` frames, or -1 until the host stops it.

    ``values`` last until the session ends. ``entries`` is the settings list of a Capture that has
    settings for single frames. A crop is ``width`` x ``height`` pixels of the mode; ``values`` has
    its first column and row.
    """

    def __init__(self, values=None):
        self.values = [None] * setting_list.COUNT if values is None else values
        self.entries = _NONE
        self.mode = None
        self.width = 0
        self.height = 0
        self.pixel_format = 0
        self.bits = 16  # of a pixel in a row
        # How the ports deliver the rows: as words for a rice format.
        self.rows_format = 0
        self.tile_columns = 0
        self.tile_rows = 0
        # The power of its frames.
        self.active_mw = 0
        self.frames_left = 0
        # Frames whose exposure has not begun, and frames of the request that were chosen.
        self.unexposed = 0
        self.frame_index = 0
        self.has_begun = False
        self.request_id = 0
        # The focus ring was turned after the request: its focus settings are over.
        self.is_focus_manual = False
        self.interval_us = 0
        # When the readout of the last frame of the request began, or None.
        self.last_start = None

    @property
    def state(self):
        if self.mode is None:
            return UNCONFIGURED
        return STREAMING if self.frames_left else CONFIGURED

    @property
    def is_burst(self):
        """True inside a Capture of several frames: no frame of another stream may begin."""
        return self.unexposed > 0 and self.frame_index > 0

    def fit_crop(self, control, value):
        """Return the valid first column or row of the crop that is nearest to *value*."""
        if control == setting_list.ROI_X:
            most = self.mode["width"] - self.width
        else:
            most = self.mode["height"] - self.height
        return min(max(value, 0), most) & ~1

    @property
    def stride(self):
        return sensor.count_bytes(self.width, self.bits)

    @property
    def tile_bytes(self):
        return sensor.count_bytes(self.tile_columns, self.bits) * self.tile_rows


class Channel:
    """A channel of the sensor: it reads one frame at a time from *ports*, for *streams*."""

    def __init__(self, ports, streams):
        self.ports = ports
        self.streams = streams
        self.readout = None
        self.stream = 0
        # Of the frame that is read out: x, y, columns and rows.
        self.crop = (0, 0, 0, 0)
        self.began = 0
        self.has_started = False
        # A frame of the ROI was chosen since the last one of the preview.
        self.is_previews_turn = False
        # Flags of the FrameStart of the frame that is read out.
        self.flags = 0
        # The frame after the one that is read out.
        self.exposure = exposure.Exposure()


class Module:
    """The camera between the ports and the link. step() never waits."""

    def __init__(self, config, ports, clock):
        self.config = config
        self.ports = ports
        self.clock = clock
        # Prove that the module is genuine: by the scheme HMAC_SHA256 if the module has a key, and
        # by those of ports that have auth_schemes and authenticate(scheme, challenge). That returns
        # the proof in bytes within SILENCE_MS / 2, or None if it does not have the scheme.
        schemes = tuple(getattr(ports, "auth_schemes", ()))
        self._authenticate = getattr(ports, "authenticate", None)
        self._key_holder = None
        if config.get("auth_key"):
            from . import key_holder

            self._key_holder = key_holder.make_key_holder(config["auth_key"], config["serial"])
            if self._key_holder is not None:
                schemes = (wire.AUTH_HMAC_SHA256,) + schemes
        self.manifest = manifest.build(config, schemes)
        board = config["limits"]
        self.link = link.Link(self, clock, config["boot_count"], config["reset_reason"])
        self._fault_injection = None
        if config.get("test"):
            from . import fault_injection

            self._fault_injection = fault_injection.FaultInjection(self.link, clock)
            self.link.capabilities |= wire.CAP_TEST
        if schemes or self._authenticate is not None:
            self.link.capabilities |= wire.CAP_AUTH
        # Ports that can switch the module off its supply have set_switch(closed).
        self._set_switch = getattr(ports, "set_switch", None)
        self.contacts = contacts.Contacts()
        needs = config["power"]
        self.power = power.Power(ports, needs["idle_mw"], needs.get("motor_mw", 0))
        # The FrameEnds that wait for the gauge, oldest first, and since when the first one waits.
        self._waiting_ends = []
        self._ends_since = 0
        self.heat = heat.Heat()
        self.events = state_events.Events(self)
        optics = config["optics"]
        if "motor" in config:
            self.focus_motor = focus_motor.Focus(ports, config["motor"], optics["focus_max_mdpt"])
        else:
            from . import fixed_focus

            self.focus_motor = fixed_focus.FixedFocus(optics["focus_mdpt"])
        self.focus_ring = focus_ring.FocusRing()
        self._ranges = setting_list.list_ranges(config)
        self.iris = iris.Iris(
            ports,
            setting_list.list_stops(config),
            self._ranges[setting_list.APERTURE][3],
            _IRIS_SETTLE_US,
        )
        if hasattr(ports, "connect_ring"):
            # The interrupts of the ring's pins call the decoder. Other ports queue RING events.
            ports.connect_ring(self.focus_ring)
        self._released_at = None
        # The CRCs of a sensor that computes them come with its rows.
        crc_bytes = 4 if config["sensor"].get("crc") else 0
        self.tiles = sensor.Tiles(
            board["tile_bytes"], board["tiles"], board["in_flight"], crc_bytes
        )
        self.frame_history = frame_history.FrameHistory(self.tiles, self.link.outbox)
        self.streams = [Stream() for _ in range(wire.MAX_STREAMS)]
        self.next_frame = 0
        self._modes = {mode["id"]: mode for mode in config["sensor"]["modes"]}
        self._cfa = manifest.cfa(config["sensor"])
        self._formats = manifest.pixel_formats(config["sensor"])
        self._black_milli = [int(v * 1000 + 0.5) for v in config["sensor"]["black"]]
        self._row_time_ns = config["sensor"].get("row_time_ns", 0)
        # At gain g, S of the noise profile is a * g in 1e-9, and O is b * g * g + c in 1e-12.
        self._noise = config["sensor"].get("noise", (0, 0, 0))
        # A sensor with two channels reads the still at the same time as the others.
        ways = getattr(ports, "channels", None) or [ports]
        priorities = _PRIORITIES[len(ways)]
        self._channels = [Channel(way, priorities[number]) for number, way in enumerate(ways)]
        # The order in which channels read a tile. Two of three are the preview's: on a full link a
        # still costs the preview a third of its rate. At most half would be allowed.
        self._schedule = (0, 0, 1) if len(ways) == 2 else (0,)
        self._position = 0

    # --- the main loop --------------------------------------------------------------------

    def step(self):
        """Handle events, answer the host, move the motor, begin frames, and read a tile.

        Return True if a tile was read. Then send it before the next step.
        """
        now = self.clock.now()
        self._handle_events(now)
        self.link.poll()
        if self._fault_injection is not None:
            self._fault_injection.poll(now)
        self.power.poll(now)
        if self._waiting_ends and now - self._ends_since > _GAUGE_US:
            self.power.meter.give_up_end()
            self._complete_end(0, now)
        for channel in self._channels:
            if channel.exposure.state == exposure.EXPOSING:
                channel.exposure.poll(self.focus_motor, now)
        self._poll_motor(now)
        self.events.poll(now)
        for channel in self._channels:
            self._poll_exposure(channel, now)
        return self._read_next(now)

    def _read_next(self, now):
        """Read one tile, so that no stream waits for the other's frame. Return True if it did.

        The next step goes on behind this channel. Otherwise one stream could take every tile that
        gets free.
        """
        left = len(self._schedule)
        while left:
            left -= 1
            channel = self._channels[self._schedule[self._position]]
            self._position = (self._position + 1) % len(self._schedule)
            if channel.readout is not None and self._read_channel(channel, now):
                return True
        return False

    def get_idle_ms(self):
        """Return for how many milliseconds step() may wait if nothing arrives."""
        if not self.focus_motor.is_settled:
            return 1
        if self.contacts.state != contacts.ATTACHED:
            return 5
        now = self.clock.now()
        wait = 20000
        for channel in self._channels:
            if channel.readout is None and channel.exposure.state == exposure.EXPOSING:
                wait = min(wait, channel.exposure.end_us - now)
        for stream in self.streams:
            if stream.unexposed and stream.interval_us:
                wait = min(wait, self._get_due_us(stream, now) - now)
        return max(wait, 0) // 1000

    def has_row_space(self, number=0):
        """Return True if rows of a sensor channel can be read now."""
        readout = self._channels[number].readout
        return readout is not None and readout.has_space()

    def _handle_events(self, now):
        event = self.ports.take_event()
        while event is not None:
            self._handle_event(event, now)
            event = self.ports.take_event()
        if self.contacts.poll(now):
            self._handle_contacts()
            if self.contacts.state == contacts.ATTACHED:
                self._end_removal(now)
        ticks = self.focus_ring.take_ticks()
        if ticks:
            self.events.mark_ring(ticks)
            self.focus_motor.turn_ring(ticks, now)
            for stream in self.streams:
                # The ring wins over the settings that were made before.
                stream.values[setting_list.FOCUS] = None
                stream.is_focus_manual = True

    def _poll_motor(self, now):
        """Home the motor once it has a supply, go back after a false warning, and step."""
        motor = self.focus_motor
        # Almost always neither is to be done, so this comes before the calls that a board pays for.
        is_unhomed = motor.state == focus_motor.UNHOMED
        is_held = self._released_at is not None and now - self._released_at >= _RELEASE_HOLD_US
        if (is_unhomed or is_held) and self.is_attached() and self.contacts.has_power:
            if is_unhomed:
                motor.home(now)
            if is_held:
                self._end_removal(now)
        motor.poll(now)

    def _prepare_removal(self, now):
        """Park the lens and close the iris: the supply will be gone when the contacts open."""
        self._released_at = now
        self.focus_motor.park(now)
        self.iris.close(now)

    def _end_removal(self, now):
        """Let lens and iris work again: the module was put on, or was not taken off after all."""
        self._released_at = None
        self.focus_motor.unpark(now)
        self.iris.open(now)

    def _handle_contacts(self):
        """React to a new state of the contacts."""
        state = self.contacts.state
        is_dangerous = state == contacts.SHORTED or state == contacts.WET
        if is_dangerous:
            self.focus_motor.lose()
        if self._set_switch is not None:
            self._set_switch(not is_dangerous)
        self.events.mark_contacts(state, is_dangerous or state == contacts.HALF_SEATED)
        if state != contacts.ATTACHED:
            self.link.end_session(wire.CLOSE_POWER if is_dangerous else wire.CLOSE_DETACH)

    def _handle_event(self, event, now):
        kind, channel, value = event
        if kind == self.ports.CONTACT:
            if channel == focus_motor.END_STOP_PIN:
                self.focus_motor.is_end_stop_closed = value != 0
                return
            if channel == contacts.POWER_PIN:
                if value:
                    self.power.restart()
                else:
                    self.focus_motor.lose()
            demand = self.contacts.add_edge(channel, value, now)
            if demand == contacts.RELEASED:
                self._prepare_removal(now)
                self.link.send_message(wire.T_NOTICE, (wire.NOTICE_RELEASE, 0, 0))
            elif demand == contacts.FAULT:
                self._handle_contacts()
        elif kind == self.ports.ADC:
            if channel == power.LEAKAGE_CHANNEL:
                if self.contacts.add_leakage(value):
                    self._handle_contacts()
            elif channel == power.ENERGY_CHANNEL:
                microjoules = self.power.meter.add_sample(value)
                if microjoules is not None:
                    self._complete_end(microjoules, now)
            elif channel == power.TEMPERATURE_CHANNEL:
                self.power.add_sample(channel, value)
                self._update_heat(now)
            elif channel == power.VBUS_CHANNEL and not self.contacts.has_power:
                # A bounce of the contact is no low supply. It is sampled again when it closes.
                pass
            elif self.power.add_sample(channel, value):
                text = "supply %s: %d mV"
                state = "good" if self.power.is_good else "low"
                self.link.send_log(wire.LOG_WARNING, text % (state, self.power.vbus_mv))
                self.events.mark(wire.EVENT_POWER)
                if not self.power.is_good:
                    self.link.send_message(wire.T_NOTICE, (wire.NOTICE_SUPPLY, 0, 0))
        elif kind == self.ports.RING:
            self.focus_ring.add_edge(channel, value)

    def _update_heat(self, now):
        """Take the temperature, and announce a step that will cost frames."""
        before = self.heat.state
        if not self.heat.add_temperature(self.power.temperature_mc, now):
            return
        state = self.heat.state
        self.events.mark(wire.EVENT_HEAT)
        self.link.send_log(wire.LOG_WARNING, "heat: state %d" % state)
        if state == heat.SHUTDOWN:
            self.link.end_session(wire.CLOSE_POWER)
        elif state > before and self.heat.is_throttled():
            self.link.send_message(wire.T_NOTICE, (wire.NOTICE_HEAT, 0, heat.NOTICE_MS))

    # --- called by the link ---------------------------------------------------------------

    def is_attached(self):
        """Return True if the module answers a Hello: seated, with a good supply, not too hot."""
        is_seated = self.contacts.state == contacts.ATTACHED
        return is_seated and self.power.is_good and self.heat.state != heat.SHUTDOWN

    def set_budget(self, milliwatts):
        """Take the power that the host grants until the session ends.

        Streams that need more end. Return them as bits, or None if an idle module needs more.
        """
        if not self.power.set_budget(milliwatts):
            return None
        ended = 0
        for index in range(len(self.streams)):
            stream = self.streams[index]
            if stream.state == STREAMING and self._get_need_mw(stream) > milliwatts:
                self._stop_stream(index)
                ended |= 1 << index
        self._update_load()
        return ended

    def on_session_open(self):
        """Log the state of contacts and supply, and report all states."""
        self.events.open_session()
        text = "session open, %d bounces while seating, supply %d mV"
        self.link.send_log(wire.LOG_INFO, text % (self.contacts.bounces, self.power.vbus_mv))

    def on_session_end(self):
        """Abort all readouts and forget the streams, tiles and frames of the session."""
        if self._fault_injection is not None:
            self._fault_injection.end_session()
        for channel in self._channels:
            channel.exposure.drop()
            if channel.readout is not None:
                channel.readout.abort()
                channel.readout = None
        for number in range(len(self.streams)):
            self.streams[number] = Stream()
        self.tiles.forget_session()
        self.frame_history.clear()
        self.power.set_active(0)
        self.power.budget_mw = power.UNLIMITED_MW

    def list_unstarted(self):
        """Return the ids of accepted requests that have started no frame yet."""
        return [each.request_id for each in self.streams if each.frames_left and not each.has_begun]

    def resend_ranges(self, stream, number, flags, ranges):
        """Queue the held tiles in *ranges* again, then a Resent that names those that are gone."""
        record = self.frame_history.find(stream, number)
        items = []
        gone = ranges
        state = wire.FRAME_UNKNOWN
        answered = 0
        if record is not None:
            held, gone = self.frame_history.sort_ranges(record, ranges)
            if flags & wire.RESEND_START:
                answered |= wire.RESEND_START
                items.append(Item(wire.T_FRAME_START, number, stream, record.start))
            for tile in held:
                if tile.state == sensor.HELD:
                    items.append(tile.make_item(wire.FLAG_RESENT))
            state = wire.FRAME_UNDER_WAY
            # A FrameEnd that still waits will be sent anyway, behind the tiles before it.
            waits = self.link.outbox.has_packet(wire.T_FRAME_END, stream, number)
            if record.end is not None and not waits:
                state = wire.FRAME_ENDED
                if flags & wire.RESEND_END:
                    answered |= wire.RESEND_END
        tail = b"".join([struct.pack("<4H", x, y, w, h) for x, y, w, h in gone])
        payload = wire.encode(wire.T_RESENT, (answered, state, len(gone)), tail)
        items.append(Item(wire.T_RESENT, number, stream, payload))
        if answered & wire.RESEND_END:
            items.append(Item(wire.T_FRAME_END, number, stream, record.end))
        self.link.outbox.queue_first(items)

    def handle_request(self, kind, number, fields):
        """Execute a request and answer it, or raise Refusal."""
        if kind == wire.T_CONFIGURE:
            self._configure(number, fields)
        elif kind == wire.T_CAPTURE:
            index, _, count, entries = fields
            _check_list(entries, count)
            if count == 0:
                raise link.Refusal(wire.ERR_UNSUPPORTED, "no frames asked for")
            self._start_stream(number, index, count, 0, entries)
        elif kind == wire.T_STREAM:
            index, _, _, interval, entries = fields
            _check_list(entries, 0)
            self._start_stream(number, index, -1, interval, entries)
        elif kind == wire.T_SET_SETTINGS:
            index, _, entries = fields
            _check_list(entries, 0)
            self._set_settings(number, index, entries)
        elif kind == wire.T_STOP:
            index = fields[0]
            self._stop_stream(index)
            answer = (index, 0, self.next_frame)
            self.link.send_answer(number, wire.T_ACCEPTED, answer, ordered=1 << index)
        elif kind == wire.T_FLUSH:
            last = self.link.previous_request
            for index in range(len(self.streams)):
                self._stop_stream(index)
            answer = (self.link.lanes, 0, last, 0, 0, 0, 0)
            self.link.send_answer(number, wire.T_FLUSHED, answer, ordered=ALL_STREAMS)
        elif kind == wire.T_GET_CALIBRATION:
            self._send_calibration(number, fields[0], fields[1])
        elif kind == wire.T_SET_BUDGET:
            ended = self.set_budget(fields[1])
            if ended is None:
                need = self.power.idle_need_mw
                raise link.Refusal(wire.ERR_POWER, "idle needs %d of %d mW" % (need, fields[1]))
            # A stream that goes on may wait for credits, and the answer must not.
            answer = (0, 0, self.next_frame)
            self.link.send_answer(number, wire.T_ACCEPTED, answer, ordered=ended)
        elif kind == wire.T_CHALLENGE:
            self._answer_challenge(number, fields[0], fields[1])
        else:  # TEST
            if not self.link.has_capability(wire.CAP_TEST):
                raise link.Refusal(wire.ERR_UNSUPPORTED, "not a session for tests")
            self._fault_injection.start_action(number, fields, self.next_frame)

    def _send_calibration(self, number, kind, offset):
        """Send a piece of a calibration. It is read from flash where it is: nothing is kept."""
        for known, start, total, _ in self.config.get("calibrations", ()):
            if known == kind and offset < total:
                most = wire.MAX_CONTROL - wire.FORMATS[wire.T_CALIBRATION][1]
                piece = self.ports.read_calibration(start + offset, min(most, total - offset))
                if piece:
                    answer = (kind, offset, total)
                    self.link.send_answer(number, wire.T_CALIBRATION, answer, piece)
                    return
        raise link.Refusal(wire.ERR_UNSUPPORTED, "no byte %d of calibration %d" % (offset, kind))

    def _answer_challenge(self, number, scheme, challenge):
        proof = None
        if self.link.has_capability(wire.CAP_AUTH):
            if scheme == wire.AUTH_HMAC_SHA256 and self._key_holder is not None:
                proof = self._key_holder.prove(challenge, self.link.nonce)
            elif self._authenticate is not None:
                proof = self._authenticate(scheme, challenge)
        if not proof or len(proof) > wire.MAX_CONTROL - wire.FORMATS[wire.T_PROOF][1]:
            raise link.Refusal(wire.ERR_UNSUPPORTED, "no scheme %d" % scheme)
        self.link.send_answer(number, wire.T_PROOF, (scheme,), proof)

    def _find_stream(self, index):
        if index >= len(self.streams):
            raise link.Refusal(wire.ERR_UNSUPPORTED, "no stream %d" % index)
        return self.streams[index]

    def _configure(self, number, fields):
        index, flags, mode_id, pixel_format, tile_bytes, x, y, width, height = fields
        stream = self._find_stream(index)
        if stream.state == STREAMING:
            raise link.Refusal(wire.ERR_STATE, "stream %d is running" % index)
        mode = self._modes.get(mode_id)
        if mode is None:
            raise link.Refusal(wire.ERR_UNSUPPORTED, "no mode %d" % mode_id)
        if not x | y | width | height:
            width, height = mode["width"], mode["height"]
        elif not _is_crop(mode, x, y, width, height):
            raise link.Refusal(wire.ERR_UNSUPPORTED, "no such crop of mode %d" % mode_id)
        adjusted = 0
        fresh = Stream(stream.values)
        fresh.mode, fresh.width, fresh.height = mode, width, height
        fresh.active_mw = power.get_mode_mw(self.config["power"], mode)
        fresh.pixel_format = self._formats[0]
        if pixel_format in self._formats:
            fresh.pixel_format = pixel_format
        elif pixel_format:
            adjusted = wire.CONFIGURE_ADJUSTED
        fresh.bits = fresh.pixel_format >> 16 & 0xFF
        fresh.rows_format = fresh.pixel_format
        size = self.tiles.size
        # Bits 8 to 15 of a rice format's code.
        if fresh.pixel_format >> 8 & 0xFF == 0x80:
            # A tile has to hold the pixels as words, too.
            fresh.rows_format = manifest.pixel_format(self.config["sensor"])
            size = sensor.count_bytes(size // 2, fresh.bits)
        # The smallest tile has a few pixels.
        least = sensor.count_bytes(sensor.get_min_pixels(fresh.bits), fresh.bits)
        limit = max(least, min(size, self.link.max_payload))
        if tile_bytes:
            limit = max(least, min(limit, tile_bytes))
            if limit != tile_bytes:
                adjusted = wire.CONFIGURE_ADJUSTED
        fresh.tile_columns, fresh.tile_rows = sensor.choose_tile_shape(
            fresh.width, fresh.height, limit, fresh.bits
        )
        if not flags & wire.CONFIGURE_TEST_ONLY:
            fresh.values[setting_list.ROI_X] = x
            fresh.values[setting_list.ROI_Y] = y
            self.streams[index] = fresh
        answer = (
            index, flags & wire.CONFIGURE_TEST_ONLY | adjusted, mode_id, fresh.pixel_format,
            fresh.width, fresh.height, fresh.stride, fresh.stride * fresh.height, fresh.tile_bytes,
            x, y,
        )  # fmt: skip
        self.link.send_answer(number, wire.T_CONFIGURED, answer)

    def _start_stream(self, number, index, count, interval, entries):
        stream = self._find_stream(index)
        if stream.state != CONFIGURED:
            name = "not configured" if stream.state == UNCONFIGURED else "running"
            raise link.Refusal(wire.ERR_STATE, "stream %d is %s" % (index, name))
        _check_controls(entries, self._ranges)
        if not self.power.is_good:
            raise link.Refusal(wire.ERR_POWER, "supply is %d mV" % self.power.vbus_mv)
        need = self._get_need_mw(stream)
        if need > self.power.budget_mw:
            raise link.Refusal(wire.ERR_POWER, "needs %d of %d mW" % (need, self.power.budget_mw))
        if self.heat.state >= heat.EMERGENCY:
            raise link.Refusal(wire.ERR_POWER, "%d degrees" % (self.power.temperature_mc // 1000))
        # SETTLED is a matter of the request, unless its list says otherwise.
        stream.values[setting_list.SETTLED] = 1 if count > 0 else 0
        setting_list.read_values(entries, wire.EVERY_FRAME, stream.values)
        stream.entries = entries if setting_list.has_single_frames(entries) else _NONE
        stream.is_focus_manual = False
        stream.frames_left = count
        stream.unexposed = count
        stream.frame_index = 0
        stream.has_begun = False
        stream.request_id = number
        stream.interval_us = interval
        stream.last_start = None
        self.link.send_answer(number, wire.T_ACCEPTED, (index, 0, self.next_frame))

    def _get_need_mw(self, stream):
        return self.power.get_need_mw(stream.active_mw)

    def _set_settings(self, number, index, entries):
        """Change the settings of a stream. The answer names the first frame that has them."""
        stream = self._find_stream(index)
        if stream.state == UNCONFIGURED or stream.frames_left > 0:
            name = "not configured" if stream.state == UNCONFIGURED else "in a Capture"
            raise link.Refusal(wire.ERR_STATE, "stream %d is %s" % (index, name))
        _check_controls(entries, self._ranges)
        setting_list.read_values(entries, wire.EVERY_FRAME, stream.values)
        stream.is_focus_manual = False
        first = self.next_frame
        for channel in self._channels:
            frame = channel.exposure
            is_waiting = frame.state in (exposure.WAITING, exposure.SETTLING)
            if is_waiting and frame.stream == index:
                frame.settle(stream, self._ranges, self.iris)
                first = frame.number
        self.link.send_answer(number, wire.T_ACCEPTED, (index, 0, first))

    # --- exposures ------------------------------------------------------------------------

    def _poll_exposure(self, channel, now):
        """Choose the next frame of a channel, expose it, and begin its readout."""
        frame = channel.exposure
        if frame.state == exposure.IDLE:
            is_free = channel.readout is None or channel.has_started
            if not is_free or not self._choose_frame(channel, now):
                self._update_load()
                return
        if frame.state == exposure.WAITING:
            if frame.needs_move(self.focus_motor, self.iris):
                if channel.readout is not None or self._others_have_optics(channel):
                    return
                self._move(frame.values, now)
            frame.state = exposure.SETTLING
        if frame.state == exposure.SETTLING:
            if frame.values[setting_list.SETTLED] and not (
                self.focus_motor.is_settled and self.iris.is_settled(now)
            ):
                return
            frame.begin(self.focus_motor, self.iris, now)
        if channel.readout is None and frame.is_over(now):
            frame.finish(self.focus_motor, self.iris, now)
            self._begin_readout(channel, now)

    def _others_have_optics(self, channel):
        """Return True if a frame of another channel keeps lens and iris where they are."""
        for each in self._channels:
            if each is not channel and each.exposure.has_optics():
                return True
        return False

    def _update_load(self):
        """Draw the power of the frames that are exposed or read out, less if there are none."""
        most = 0
        for each in self._channels:
            if each.readout is not None:
                most = max(most, each.readout.plan.active_mw)
            if each.exposure.state != exposure.IDLE:
                most = max(most, self.streams[each.exposure.stream].active_mw)
        self.power.set_active(most)

    def _choose_frame(self, channel, now):
        """Choose the frame that is exposed next. Return True if one is due."""
        if not self.heat.may_begin(now) or (
            channel.readout is not None and self.heat.is_throttled()
        ):
            return False
        for index in range(len(self.streams)):
            if self.streams[index].is_burst and index not in channel.streams:
                return False
        for index in channel.streams:
            if self.streams[index].is_burst:
                self._take_frame(channel, index)
                return True
        for index in channel.streams:
            if not self._is_due(index, now):
                continue
            if index == ROI and channel.is_previews_turn and self._is_due(PREVIEW, now):
                continue
            self._take_frame(channel, index)
            return True
        return False

    def _is_due(self, index, now):
        """Return True if the exposure of a stream's next frame may begin."""
        stream = self.streams[index]
        return stream.unexposed and now >= self._get_due_us(stream, now)

    def _get_due_us(self, stream, now):
        """Return when the exposure of a stream's next frame may begin."""
        if stream.last_start is None or not stream.interval_us:
            return now
        return stream.last_start + stream.interval_us - self._limit(stream, setting_list.EXPOSURE)

    def _limit(self, stream, control):
        """Return a value of a stream within its range."""
        minimum, maximum, _, default = self._ranges[control]
        value = stream.values[control]
        return default if value is None else min(max(value, minimum), maximum)

    def _take_frame(self, channel, index):
        """Give the next number to a frame of a stream, and settle its values."""
        stream = self.streams[index]
        frame = channel.exposure
        number = self.next_frame
        # The mask is a large integer, which takes memory. Small numbers need none.
        self.next_frame = number + 1 if number < _SMALL else (number + 1) & 0xFFFFFFFF
        frame.choose(index, number)
        frame.settle(stream, self._ranges, self.iris)
        stream.frame_index = (stream.frame_index + 1) & 0xFFFF
        if stream.unexposed > 0:
            stream.unexposed -= 1
        if index != STILL:
            channel.is_previews_turn = index == ROI
        self._update_load()

    def _move(self, values, now):
        """Move lens and iris to the values of a frame."""
        self.iris.move_to(values[setting_list.APERTURE], now)
        if values[setting_list.FOCUS] is not None:
            self.focus_motor.move_to(values[setting_list.FOCUS], now)

    # --- frames ---------------------------------------------------------------------------

    def _begin_readout(self, channel, now):
        """Start the readout of the frame that was exposed."""
        frame = channel.exposure
        stream = self.streams[frame.stream]
        stream.has_begun = True
        values = frame.values
        applied = (
            values[setting_list.EXPOSURE], values[setting_list.GAIN], frame.focus_mdpt,
            values[setting_list.APERTURE],
        )  # fmt: skip
        tile = (stream.tile_columns, stream.tile_rows)
        channel.crop = (
            values[setting_list.ROI_X], values[setting_list.ROI_Y], stream.width, stream.height,
        )  # fmt: skip
        channel.ports.request_rows(
            frame.number,
            stream.mode["id"],
            applied,
            stream.rows_format,
            tile,
            channel.crop,
        )
        channel.readout = sensor.Readout(
            channel.ports, self.tiles, stream, frame.number, applied, now
        )
        channel.flags = (wire.APPLIED_ADJUSTED if frame.is_adjusted else 0) | (
            wire.APPLIED_MOVING if frame.is_moving else 0
        )
        channel.stream = frame.stream
        channel.began = frame.start_us
        channel.has_started = False

    def _read_channel(self, channel, now):
        """Queue the next tile of a channel. Return True if the sensor had delivered one."""
        readout, index = channel.readout, channel.stream
        full = readout.read_tile(now)
        if readout.start_us is not None and not channel.has_started:
            channel.has_started = True
            self._send_frame_start(channel, readout, index)
        if full is not None:
            full.stream = index
            self.link.outbox.queue_data(full.make_item())
        if readout.failed:
            readout.abort()
            self.link.send_log(wire.LOG_ERROR, "the sensor delivered nothing")
            self._finish_frame(channel, wire.END_SENSOR, now)
        elif readout.done:
            self._finish_frame(channel, wire.END_OK, now)
        return full is not None

    def _finish_frame(self, channel, status, now):
        readout, index = channel.readout, channel.stream
        channel.readout = None
        self.heat.end_frame(channel.began, now)
        stream = self.streams[index]
        if stream.frames_left > 0:
            stream.frames_left -= 1
        if not channel.has_started:
            # The host knows nothing of this frame. Its own deadline ends the request.
            return
        fields = (
            status, self.link.lanes, readout.tile_count, now - readout.start_us, 0, 0, 0, 0, 0,
        )  # fmt: skip
        payload = wire.encode(wire.T_FRAME_END, fields)
        record = self.frame_history.find(index, readout.number)
        if record is not None:
            record.end = payload
        item = Item(wire.T_FRAME_END, readout.number, index, payload)
        if self.power.meter.end_frame():
            if not self._waiting_ends:
                self._ends_since = now
            item.is_incomplete = True
            self._waiting_ends.append(item)
        self.link.outbox.queue_data(item)

    def _complete_end(self, microjoules, now):
        """Let the first FrameEnd that waits for the gauge be sent."""
        if self._waiting_ends:
            item = self._waiting_ends.pop(0)
            struct.pack_into("<I", item.payload, _ENERGY_OFFSET, microjoules)
            item.is_incomplete = False
            self._ends_since = now

    def _stop_stream(self, index):
        stream = self._find_stream(index)
        stream.frames_left = stream.unexposed = 0
        unsent = self.link.outbox.drop_tiles(index)
        for channel in self._channels:
            if channel.exposure.stream == index:
                channel.exposure.drop()
            if channel.readout is not None and channel.stream == index:
                channel.readout.abort()
                self._finish_frame(channel, wire.END_ABORTED, self.clock.now())
        for number in unsent:
            # Such a frame may have been read to its end. Its queued FrameEnd is corrected.
            record = self.frame_history.find(index, number)
            if record is not None and record.end is not None:
                _, lanes, tiles = struct.unpack_from("<BBI", record.end, 2)
                struct.pack_into("<BBI", record.end, 2, wire.END_ABORTED, lanes, tiles - 1)

    def _send_frame_start(self, channel, readout, index):
        plan = readout.plan
        applied = readout.settings
        sensor_config = self.config["sensor"]
        before = plan.last_start
        plan.last_start = readout.start_us
        gain = applied[1]
        slope, squared, constant = self._noise
        offset = (squared * gain // 1000 * gain // 1000 + constant) // 1000
        fields = (
            plan.mode["id"], readout.request_id, readout.start_us, plan.width, plan.height,
            self._cfa, sensor_config["orientation"], sensor_config["bits"], 0,
            plan.pixel_format, plan.stride, sensor_config["white"], channel.flags, 0,
            self._black_milli[0], self._black_milli[1], self._black_milli[2], self._black_milli[3],
            applied[0], gain, applied[2], applied[3],
            0 if before is None else min(readout.start_us - before, 0xFFFFFFFF),
            self._row_time_ns, slope * gain // 1000, offset,
            self.focus_ring.position, self.power.temperature_mc, channel.crop[0], channel.crop[1],
        )  # fmt: skip
        payload = wire.encode(wire.T_FRAME_START, fields)
        self.frame_history.add(frame_history.Record(readout, index, payload))
        self.link.outbox.queue_data(Item(wire.T_FRAME_START, readout.number, index, payload))


def _is_crop(mode, x, y, width, height):
    """Return True if a crop has pixels, begins and ends at even numbers, and is in the mode."""
    if not width or not height or (x | y | width | height) & 1:
        return False
    return x + width <= mode["width"] and y + height <= mode["height"]


def _check_list(entries, frames):
    fault = setting_list.find_fault(entries, frames)
    if fault is not None:
        raise link.Refusal(wire.ERR_MALFORMED, fault)


def _check_controls(entries, ranges):
    fault = setting_list.find_unsupported(entries, ranges)
    if fault is not None:
        raise link.Refusal(wire.ERR_UNSUPPORTED, fault)
