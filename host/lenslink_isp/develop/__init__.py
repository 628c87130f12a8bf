"""Develop a RAW picture: from the sensor's mosaic to sRGB.

A picture goes through these stages. Each has a slow, readable version in :mod:`.reference`::

    scale levels     digital numbers -> linear light, 0 (black) to 1 (saturated), white-balanced
    replace defects  pixels far from all their neighbours -> a neighbour's value
    correct shading  gain over the picture, from the module's calibration
    demosaic         (H, W) mosaic -> (H, W, 3) camera RGB
    convert colours  camera RGB -> linear sRGB, by the matrix for the light of the picture
    map tones        linear light -> sRGB values, 0 to 255
    sharpen          edges that the lens and the demosaicing have softened

Three ways lead through the stages::

    preview   each frame of a stream, on OpenCV: at most 4 ms for 1280 x 960
    still     one picture: directional demosaicing in a perceptual domain
    color     the matrices, and the white point of a picture
    tone      the tables
    local_tone  a gain for each pixel, so that a wide range fits the screen
    save      the picture as JPEG, PNG or TIFF
"""
