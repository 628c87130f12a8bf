"""USB without USB hardware: a USB/IP server, virtual devices on it, and a client for pyusb.

The path of a transfer from the driver to the firmware::

    driver -> pyusb -> backend -> client ~USB/IP~> server -+-> device -> endpoint ~cable~> firmware
                                                           +-> remote_device ~cable~> emulated chip

``exporter`` starts the server as a process. ``firmware_board`` is the board of ``usbip:``. ``tty``
makes a terminal of a board's serial port.
"""
