"""``pico:``: a Raspberry Pi Pico, emulated: rp2040js under Node, with a USB bus of our own."""
