"""Zoom: a picture of twice the size from a burst that was taken by hand.

The hand moves the sensor by parts of a pixel. So the frames of a burst see the scene at different
places, and together at more places than one frame. A burst goes through these steps::

    merge.alignment   where each tile of the reference frame is found in another frame
    sample_places     where each pixel of a frame lies in the picture, which has twice the size
    fine_picture      a tile of the picture: what a frame would see of it, and what frames add to it
    agreement         how far each frame agrees with the reference: what moves is left out
    detail            the picture's detail without its noise, sharpened
    zoom_burst        all of it, tile by tile, then colours and tones as develop has them
    captured_zoom     the picture of lenslink capture --zoom

The picture begins as the reference frame alone, demosaiced and enlarged. Each step predicts what
every pixel of every frame should read, and adds the errors where they belong (iterated back
projection: Irani and Peleg, "Improving resolution by image registration", 1991). The weights follow
Wronski et al., "Handheld multi-frame super-resolution", ACM Trans. Graphics 38(4), 2019.

:mod:`.zoom_reference` has the steps in plain numpy.
"""
