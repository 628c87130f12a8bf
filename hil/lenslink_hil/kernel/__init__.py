"""A stock Linux kernel in QEMU, with the driver in it: ``usb:`` and ``serial:`` without hardware.

``python -m lenslink_hil.kernel`` (``make test-kernel``) boots the guest. The guest sees the files
of the host. The host serves virtual boards by USB/IP; the guest's kernel attaches them, and the
test suites run there::

    host    __main__ -> guest (QEMU) -> initrd, kernel_package        boots the kernel
                     -> host_boards                                   starts virtual boards
    guest   guest.sh -> inside -> guest_plugin -> guest_boards -> vhci    attaches them, runs suites
                               -> suite_results                       what __main__ reports
"""
