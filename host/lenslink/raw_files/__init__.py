"""A camera's RAW file as numbers.

The plant uses RAW files as scenes, and ``lenslink_isp`` develops them::

    raw_mosaic      reads a file: pixels, levels, colours, margins
    raw_kind        tells a RAW file from a picture, and names its camera
    tiff_tags       the tags of a TIFF or a DNG
    dng_color       the colour matrix of a DNG for the light of its picture
    file_exposure   how the picture was exposed
"""
