"""Camera tests: what any module must do to be a camera, measured through the driver alone.

They follow Android's Camera ITS: the module is asked for settings, and its pictures must show what
its frames report. The scene is whatever stands in front of the lens, so every rule is a ratio of
two frames. A module imports only from modules above it in this list::

    shot               a frame as the tests use it, and how two are compared
    camera_under_test  the module, its exposure for the scene, and the frames of a test
    exposure_cases     exposure, gain, iris, brackets, changes of a running stream
    readout_cases      black level, noise, times of frames and rows, regions
    lens_cases         focus: repeatability and autofocus
    dng_cases          what stands in a DNG
    camera_run         runs the tests on a module, and makes verdicts of their results

The results of a test, its verdicts and its reports are those of :mod:`..conformance`.
"""
