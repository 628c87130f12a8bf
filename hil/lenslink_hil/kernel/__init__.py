"""A stock Linux kernel in QEMU, and in it the driver: ``usb:`` and ``serial:`` without a USB port.

``python -m lenslink_hil.kernel`` (``make test-kernel``) boots the guest, which sees the host's files
as they are, serves virtual boards by USB/IP, and has the guest attach them and run the suites.
"""
