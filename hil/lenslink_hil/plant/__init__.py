"""The plant: the simulated physical world in front of the firmware on ``sim:``.

It runs as a process of its own (``python -m lenslink_hil.plant``, see :mod:`.server`), computes
with numpy what a sensor would read out of a scene, and plays contacts, supply, heat, focus motor
and focus ring. Data goes down this list and never back up::

    sensor, modes      what the sensor is: levels, CFA, colour, readout modes
    binning            frames in bands of rows, and 2x2 same-colour binning
    patterns           bit-exact test patterns; callable as an oracle
    picture, photo     any picture, upright, as sRGB; the default photograph
    unprocess          picture -> RAW rows, with photon and read noise
    rawfile            a camera's RAW file, exactly as it is
    scene              options -> one of the above behind one interface
    pins, body         contacts, ADC, motor and ring behind 8-byte records
    rowservice         32-byte requests -> rows, computed ahead of the socket
    server, __main__   the process: one thread, three file descriptors

Nothing is imported here, so that the process starts fast and pays only for the scene it shows.
"""
