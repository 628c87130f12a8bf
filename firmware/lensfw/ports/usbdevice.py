"""A stand-in for ``machine.USBDevice``, with its rules, on a machine without a USB controller.

It does what TinyUSB and MicroPython's runtime driver do on a board. The controller and the cable
are a process at the other end of *bus*. ``lenslink_hil.usbip.cable`` defines the records. Rules:

- submit_xfer() raises OSError(EBUSY) while a transfer is in flight on that endpoint or the endpoint
  is halted, and OSError(EINVAL) while the device is inactive. A length is taken modulo 65,536.
- After a bus reset, and after a halt, no callback comes for the transfer that was in flight. An OUT
  endpoint that is halted during a transfer stays busy until the next bus reset, even if cleared.
- Callbacks run in a task of micropython.schedule(): between any two bytecodes, and maybe before
  submit_xfer() has returned. An exception in a callback is printed.
- Standard requests do not reach Python, but requests to an endpoint are reported afterwards. Class
  requests reach Python; vendor requests do not.
- Any endpoint accepts transfers, those of the built-in driver too. Then the driver hears of their
  end, and Python does not.

The buffer of a transfer belongs to the controller until the callback. It is read when the bus takes
it, not before.
"""

import struct
import sys

from . import usbcdc

_EBUSY, _EINVAL = 16, 22

_RECORD = "<BBHHHI"
_RECORD_BYTES = 12
_ATTACH, _DETACH, _ARM, _STALL, _REPLY = 1, 2, 3, 4, 5
_RESET, _OPEN, _DONE, _CONTROL, _HALT = 16, 17, 18, 19, 20
_IN = 0x80
_MOST_CONTROL = 4096
_ENDPOINTS = 16
_STAGE_SETUP, _STAGE_DATA, _STAGE_ACK = 1, 2, 3


class _BuiltinNone:
    itf_max = 0
    ep_max = 0
    str_max = 1
    desc_dev = usbcdc.DEVICE
    desc_cfg = b""


class _Transfer:
    def __init__(self, buffer, length, generation):
        self.buffer = buffer
        self.length = length
        self.generation = generation


class USBDevice:
    """Stand in for the one object of ``machine.USBDevice``.

    *speed* is 2 (full) or 3 (high), as Linux counts. *bus* is a stream that does not block.
    *schedule* is micropython.schedule.
    """

    XFER_SUCCESS, XFER_FAILED, XFER_STALLED = 0, 1, 2
    BUILTIN_NONE = _BuiltinNone

    def __init__(self, bus, speed, schedule):
        self.cdc = usbcdc.BuiltinCdc(self, 512 if speed == 3 else 64)
        self.BUILTIN_DEFAULT = self.cdc
        self._driver = _BuiltinNone
        self._bus = bus
        self._schedule_task = schedule
        self._speed = speed
        self._active = False
        self._descriptors = None
        self._callbacks = (None, None, None, None)
        self._transfers = {}
        self._halted = set()
        self._kept = set()
        self._opened = set()
        self._generations = {}
        self._generation = 0
        self._backlog = []
        self._claimable = set()
        self._scheduled = False
        self._task_ref = self._task
        self.gone = False
        self._record = memoryview(bytearray(_RECORD_BYTES))
        self._have = 0
        self._fields = None
        self._payload = None
        self._filled = 0

    # --- machine.USBDevice ----------------------------------------------------------------

    @property
    def builtin_driver(self):
        return self._driver

    @builtin_driver.setter
    def builtin_driver(self, driver):
        if self._active:
            raise OSError(_EINVAL)
        self._driver = driver

    def config(self, desc_dev, desc_cfg, desc_strs, open_itf_cb=None, reset_cb=None,
               control_xfer_cb=None, xfer_cb=None):  # fmt: skip
        self._descriptors = (desc_dev, desc_cfg, desc_strs)
        self._callbacks = (open_itf_cb, reset_cb, control_xfer_cb, xfer_cb)

    def active(self, *value):
        was = self._active
        if value and bool(value[0]) != was:
            self._active = bool(value[0])
            if not self._active:
                self._transfers = {}
                self._opened = set()
                self._send(_DETACH)
            else:
                self._attach()
        return was

    def submit_xfer(self, ep, buffer):
        if not self._active:
            raise OSError(_EINVAL)
        memoryview(buffer)
        if not 0 < ep & 15 < _ENDPOINTS:
            raise ValueError("ep")
        done = self.submit(ep, buffer)
        self._schedule()
        return done

    def claimed(self, ep):
        """Return True if the endpoint accepts no transfer: one is in flight, or it is halted."""
        if ep in self._halted or ep in self._kept:
            return True
        return ep in self._transfers and ep not in self._claimable

    def submit(self, ep, buffer):
        """Start a transfer of the built-in driver. It runs in the task and schedules none."""
        if self.claimed(ep):
            raise OSError(_EBUSY)
        if ep not in self._opened:
            return False
        length = len(buffer) & 0xFFFF
        generation = self._generations.get(ep, self._generation)
        self._claimable.discard(ep)
        self._transfers[ep] = _Transfer(buffer, length, generation)
        if ep & _IN:
            self._send(_ARM, ep, generation, 0, memoryview(buffer)[:length])
        else:
            self._send(_ARM, ep, generation, length)
        return True

    def stall(self, ep, *value):
        was = ep in self._halted
        if value and bool(value[0]) != was:
            self._set_halt(ep, bool(value[0]))
            self._send(_STALL, ep, self._generations.get(ep, self._generation), int(value[0]))
        return was

    def remote_wakeup(self):
        return False

    # --- the machine ----------------------------------------------------------------------

    def pump(self):
        """Run the controller's task. Raise EOFError if the other end of the cable has gone."""
        self._schedule()
        while self._scheduled:
            pass
        if self.gone:
            raise EOFError("the bus has ended")

    def _schedule(self):
        if not self._scheduled:
            self._scheduled = True
            self._schedule_task(self._task_ref, 0)

    def _task(self, _):
        self._scheduled = False
        while self._read():
            kind, ep, generation, value, _, _ = self._fields
            payload = self._payload
            self._fields = None
            self._have = 0
            self._happened(kind, ep, generation, value, payload)
        self.flush()

    def flush(self):
        """Write the backlog. Return True if the bus accepts no more at the moment."""
        while self._backlog:
            view = self._backlog[0]
            count = self._bus.write(view)
            if not count:
                return True
            if count == len(view):
                self._backlog.pop(0)
            else:
                self._backlog[0] = view[count:]
        return False

    def _attach(self):
        device, configuration, strings = self._descriptors
        blob = bytes(device) + bytes(configuration)
        for index, text in enumerate(strings or []):
            if text is None:
                text = self._driver.strings.get(index) if self._driver is self.cdc else None
            if index and text:
                data = text.encode()[:126]
                blob += bytes([index, len(data)]) + data
        self._send(_ATTACH, 0, 0, self._speed, blob)

    def _send(self, kind, ep=0, generation=0, value=0, data=b""):
        self._backlog.append(struct.pack(_RECORD, kind, ep, generation, value, 0, len(data)))
        if len(data):
            self._backlog.append(memoryview(data))
        self.flush()

    def _read(self):
        """Read a record. Return True once it is complete."""
        while self._fields is None:
            count = self._bus.readinto(self._record[self._have :])
            if not count:
                return self._nothing(count)
            self._have += count
            if self._have == _RECORD_BYTES:
                self._fields = struct.unpack(_RECORD, self._record)
                self._filled = 0
                self._payload = self._target()
        while self._filled < len(self._payload):
            count = self._bus.readinto(self._payload[self._filled :])
            if not count:
                return self._nothing(count)
            self._filled += count
        return True

    def _nothing(self, count):
        if count is not None:
            self.gone = True
        return False

    def _target(self):
        """Return the buffer for the payload: the transfer's own if it is received data."""
        kind, ep, generation, _, _, length = self._fields
        if kind == _DONE and length:
            transfer = self._transfers.get(ep)
            if transfer and transfer.generation == generation and length <= transfer.length:
                return memoryview(transfer.buffer)[:length]
        if length > max(_MOST_CONTROL, 0xFFFF):
            raise OSError(_EINVAL)
        return memoryview(bytearray(length))

    def _happened(self, kind, ep, generation, value, payload):
        if kind == _DONE:
            transfer = self._transfers.get(ep)
            if transfer is None or transfer.generation != generation:
                return
            del self._transfers[ep]
            if ep & 15 >= self._driver.ep_max:
                self._call(3, ep, self.XFER_SUCCESS, value)
            elif self._driver is self.cdc:
                self.cdc.completed(ep, value, payload)
        elif kind == _RESET:
            self._generation = generation
            self._generations = {}
            self._transfers = {}
            self._halted = set()
            self._kept = set()
            self._claimable = set()
            self._opened = set()
            self.cdc.reset()
            self._call(1)
        elif kind == _OPEN:
            self._generation = generation
            self._configured(value)
        elif kind == _HALT:
            self._generations[ep] = generation
            self._set_halt(ep, bool(value))
            if ep & 15 >= self._driver.ep_max:
                request = struct.pack("<BBHHH", 2, 3 if value else 1, 0, ep, 0)
                self._call(2, _STAGE_SETUP, request)
                self._call(2, _STAGE_ACK, request)
            elif self._driver is self.cdc:
                self.cdc.restarted(ep)
        elif kind == _CONTROL:
            self._class_request(payload)

    def _set_halt(self, ep, halted):
        if halted:
            self._halted.add(ep)
            # The transfer is lost without a callback.
            if self._transfers.pop(ep, None) is not None and not ep & _IN:
                self._kept.add(ep)
        else:
            self._halted.discard(ep)
            # It accepts a transfer again. If it was not halted, one may still be in flight.
            self._claimable.add(ep)

    def _configured(self, value):
        self._opened = set()
        if not value:
            return
        configuration = memoryview(self._descriptors[1])
        at = configuration[0]
        start, number = 0, -1
        spans = []
        while at < len(configuration) and configuration[at]:
            if configuration[at + 1] == 4 and configuration[at + 3] == 0:
                start, number = at, configuration[at + 2]
                spans.append([number, start, start])
            elif configuration[at + 1] == 5:
                self._opened.add(configuration[at + 2])
            if spans:
                spans[-1][2] = at + configuration[at]
            at += configuration[at]
        if self._driver is self.cdc:
            self.cdc.opened()
        for number, start, end in spans:
            if number >= self._driver.itf_max:
                self._call(0, configuration[start:end])

    def _class_request(self, payload):
        request, data = payload[:8], payload[8:]
        interface = request[4]
        if self._driver is self.cdc and interface < self.cdc.itf_max:
            answer = self.cdc.request(request, data)
        else:
            answer = self._call(2, _STAGE_SETUP, request)
            if answer not in (None, True, False) and not request[0] & _IN:
                memoryview(answer)[: len(data)] = data
                answer = self._call(2, _STAGE_DATA, request)
            if answer:
                self._call(2, _STAGE_ACK, request)
        if not answer:
            self._send(_REPLY, 0, self._generation, 0)
        else:
            self._send(_REPLY, 0, self._generation, 1, b"" if answer is True else answer)

    def _call(self, which, *arguments):
        """Call a callback. An exception in it is printed."""
        callback = self._callbacks[which]
        if callback is None:
            return None
        try:
            return callback(*arguments)
        except Exception as error:
            sys.print_exception(error)
            return None
