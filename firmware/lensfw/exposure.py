"""The exposure of the next frame on a channel of the sensor.

``module`` chooses the frame, moves lens and iris, and reads the frame out after its exposure.

=========  ========================================  ==================================  =========
state      meaning                                   event                               next state
=========  ========================================  ==================================  =========
IDLE       no frame was chosen                       a frame of a stream is due          WAITING
WAITING    the frame before is read, or another      both are over: lens and iris go     SETTLING
           frame has lens and iris                   where this frame wants them
SETTLING   lens and iris move, or stand still        the settings change, settle()       WAITING
SETTLING   the same                                  they stand still, or the frame      EXPOSING
                                                     does not wait: begin()
EXPOSING   the sensor collects light                 the time is over, and the frame     IDLE
                                                     before has been read
any        any                                       the stream stops, drop()            IDLE
=========  ========================================  ==================================  =========

A sensor has one lens and one iris. A frame has them from SETTLING to the end of its exposure, and
a frame of another channel that wants them elsewhere waits for that.

The sensor has a rolling shutter. So the exposure of a frame may begin when the readout of the frame
before has begun.
"""

from . import setting_list

IDLE = 0
WAITING = 1
SETTLING = 2
EXPOSING = 3


class Exposure:
    """The next frame: its stream, its number, its settings and its time. It is used again."""

    def __init__(self):
        self.state = IDLE
        self.stream = 0
        self.number = 0
        # The values asked for, then the values applied; see ``setting_list``.
        self.values = [None] * setting_list.COUNT
        self.is_adjusted = False
        self.is_moving = False
        self.start_us = 0
        self.end_us = 0
        # The position of the lens in the middle of the exposure, or None before that.
        self.focus_mdpt = None
        self._steps = 0
        self._moves = 0

    def choose(self, stream, number):
        """Take frame *number* of *stream* as the next one."""
        self.state = WAITING
        self.stream = stream
        self.number = number

    def settle(self, stream, ranges, iris):
        """Choose the values of the frame, as its stream has them now."""
        self.state = WAITING
        values = self.values
        self.is_adjusted = False
        for control in range(setting_list.COUNT):
            values[control] = stream.values[control]
        if stream.entries:
            setting_list.read_values(stream.entries, stream.frame_index, values)
        for control in range(setting_list.COUNT):
            value = values[control]
            if value is None:
                if control != setting_list.FOCUS:
                    values[control] = ranges[control][3]
                continue
            minimum, maximum, _, _ = ranges[control]
            applied = min(max(value, minimum), maximum)
            if control == setting_list.APERTURE:
                applied = iris.find_stop(applied)
            elif control >= setting_list.ROI_X:
                applied = stream.fit_crop(control, value)
            elif control == setting_list.FOCUS and stream.is_focus_manual:
                applied = None
            if applied != value:
                self.is_adjusted = True
                values[control] = applied

    def needs_move(self, motor, iris):
        """Return True if lens or iris are not where the frame wants them."""
        distance = self.values[setting_list.FOCUS]
        return self.values[setting_list.APERTURE] != iris.aperture_milli or (
            distance is not None and motor.has_to_move(distance)
        )

    def has_optics(self):
        """Return True if lens and iris are kept where they are for this frame."""
        return self.state >= SETTLING

    def begin(self, motor, iris, now):
        """Begin to collect light, with lens and iris where they are."""
        self.state = EXPOSING
        values = self.values
        if values[setting_list.APERTURE] != iris.aperture_milli:
            values[setting_list.APERTURE] = iris.aperture_milli
            self.is_adjusted = True
        if motor.is_parked and values[setting_list.FOCUS] is not None:
            self.is_adjusted = True
        self.start_us = now
        self.end_us = now + values[setting_list.EXPOSURE]
        self.focus_mdpt = None
        self.is_moving = not (motor.is_settled and iris.is_settled(now))
        self._steps, self._moves = motor.step_count, iris.move_count

    def poll(self, motor, now):
        """Record the position of the lens in the middle of the exposure."""
        if self.state == EXPOSING and self.focus_mdpt is None:
            middle = self.start_us + (self.values[setting_list.EXPOSURE] >> 1)
            if now >= middle:
                self.focus_mdpt = motor.get_mdpt_at(middle)

    def is_over(self, now):
        return self.state == EXPOSING and now >= self.end_us

    def finish(self, motor, iris, now):
        """End the exposure. Its frame is read out now."""
        self.poll(motor, now)
        if motor.step_count != self._steps or iris.move_count != self._moves:
            self.is_moving = True
        self.state = IDLE

    def drop(self):
        """Forget the frame: its stream has stopped."""
        self.state = IDLE
