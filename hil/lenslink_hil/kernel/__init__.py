"""A stock Linux kernel in QEMU, and in it the driver: ``usb:`` and ``serial:`` without hardware.

``python -m lenslink_hil.kernel`` (``make test-kernel``) boots the guest, which sees the files of
the host as they are, serves virtual boards by USB/IP, and has the guest attach them and run the
suites.
"""
