"""Run a board with one bulk pair that echoes: ``micropython usb_echo.py CABLE SPEED``.

It runs on the stand-in controller. Each transfer of the host is sent back as one transfer, an empty
one too. It starts anew after a halt, a reset, and a new configuration.
"""

import select
import struct
import sys

import micropython

from lensfw.ports import usbdevice

_OUT, _IN, _MOST = 0x03, 0x83, 65024


class Echo:
    def __init__(self, usbd, packet):
        self.usbd = usbd
        self.buffer = memoryview(bytearray(_MOST))
        builtin = usbd.BUILTIN_DEFAULT
        own = bytes((9, 4, builtin.itf_max, 0, 2, 0xFF, 1, 2, 0))
        for address in (_OUT, _IN):
            own += struct.pack("<BBBBHB", 7, 5, address, 2, packet, 0)
        whole = bytearray(builtin.desc_cfg + own)
        struct.pack_into("<HB", whole, 2, len(whole), builtin.itf_max + 1)
        usbd.builtin_driver = builtin
        usbd.config(
            builtin.desc_dev, whole, [None, None, None, "ECHO"],
            self.opened, self.reset, self.control, self.completed,
        )  # fmt: skip
        usbd.active(True)

    def opened(self, descriptors):
        self.listen()

    def reset(self):
        pass

    def control(self, stage, request):
        if request[0] == 2 and request[1] == 1 and stage == 1 and request[4] == _OUT:
            self.listen()
        return True

    def listen(self):
        self.usbd.submit_xfer(_OUT, self.buffer)

    def completed(self, address, result, count):
        if address == _OUT:
            self.usbd.submit_xfer(_IN, self.buffer[:count])
        else:
            self.listen()
        return True


cable = open(int(sys.argv[1]), "r+b")
usbd = usbdevice.USBDevice(cable, int(sys.argv[2]), micropython.schedule)
echo = Echo(usbd, 512 if int(sys.argv[2]) == 3 else 64)
poll = select.poll()
poll.register(cable, select.POLLIN)
try:
    while True:
        usbd.pump()
        poll.modify(cable, select.POLLIN | (select.POLLOUT if usbd.flush() else 0))
        poll.poll(1000)
except (OSError, EOFError):
    pass
