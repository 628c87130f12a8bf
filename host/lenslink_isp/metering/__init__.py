"""Metering: how to expose the next frame, and what is white in this one.

RAW is linear, and each frame says what exposed it. So one frame that is not clipped gives the
exposure of the next at once, and no loop has to settle::

    statistics      what both need of a frame: the light in 32 x 32 zones, what is clipped
    exposure        AutoExposure: exposure time and gain for the next frame
    illuminants     the sensor's answer to white, by colour temperature
    white_balance   AutoWhiteBalance: the neutral of a frame
"""
