"""The plant: the simulated physical world around the firmware.

The plant is a process of its own (``python -m lenslink_hil.plant``). It computes with numpy what a
sensor reads out of a scene. It also plays contacts, supply, heat, focus motor and focus ring. A
file imports only files that stand above it in this list::

    sensor_model, modes     what the sensor is: levels, CFA, colour, readout modes
    constants               the physical constants, from constants.toml
    binning                 frames in bands of rows, and 2x2 same-colour binning
    photon_sensor           photons -> digital numbers, after EMVA 1288
    patterns                bit-exact test patterns; tests call them as an oracle
    picture, default_photo  any picture, upright, as sRGB; the default photograph
    scene_names             the scenes that are seen through the lens
    unprocess               picture -> RAW rows, with photon and read noise
    light, optics           photons of three bands; defocus, breathing, vignetting, distortion
    scenery                 layers at depths, and the charts
    image_window            layers -> light on pixels, behind the lens
    camera, camera_scene    all of these as a source of frames; options -> camera
    raw_kind, tiff_tags     tell a RAW file from a picture; read the tags of a TIFF
    dng_color               the colours of a DNG as one matrix
    raw_file                a camera's RAW file, as it is
    scene                   options -> one of the sources above
    truth                   what a frame shows, exactly, for tests and benchmarks
    pin_records             8-byte records between the firmware's pins and the body
    body_constants          constants.toml: every physical constant of the body, with its source
    spring_contacts, dock   the contacts, and the phone's side of them: tests before 5 V, and cuts
    housing, supply, motor  heat; voltage, brown-out and energy; motor and lens
    body                    all of that, motor and ring behind records
    row_service             40-byte requests -> rows, computed ahead of the socket
    plant_process, __main__ the process: one thread, and the sockets to the firmware

This package imports nothing, so that the process starts fast and loads only what its scene needs.
"""
