"""``pico:``: an emulated Raspberry Pi Pico, on rp2040js under Node, with a USB bus of our own.

The Python files start the emulator (``emulated_board``, ``emulator_process``) and prepare what it
needs (``setup``, ``micropython_image``). The .mjs files are the emulator. ``emulator.mjs`` is its
main program::

    emulator -> chip -> core           instructions
                     -> bootrom        functions of the boot ROM -> floats
                     -> controller     registers and buffers of the USB controller
             -> usb_bus                frames and packets, to and from the controller
             -> emulator_commands -> usb_host -> cable     transfers of the USB/IP server
                                  -> plant_pins            the plant on the pins
             -> emulator_commands, console -> usb_host     the serial port on a socket, or on stdio
"""
