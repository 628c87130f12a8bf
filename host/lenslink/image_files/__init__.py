"""A frame as a file: DNG, TIFF, NPY and PNG.

:func:`.save.save` chooses the format by the extension and calls one writer::

    save           the formats, and a check of the file's name before a picture is taken
    dng, exif      a DNG and its EXIF directory
    float_raw      the result of a merge, in place of a frame
    render         a frame as an sRGB picture, developed by LibRaw
    describe       the caption and the JSON that a file carries
    atomic_file    a file that appears whole or not at all
"""
