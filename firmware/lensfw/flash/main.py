"""Serve hosts until the user ends it. MicroPython runs this file after boot.py, with its names."""

firmware = globals().get("firmware")
if firmware is False:
    import lensboot

    firmware = lensboot.load()
if firmware is not None:
    try:
        firmware.serve()
    except Exception as error:
        import lensboot

        lensboot.fail(error)
