"""Autofocus: where the lens must go to make a part of the picture sharp.

Two frames at known positions of the lens hold the answer: of two blurred pictures of the same
thing, the less blurred one is nearer to its depth, and the calibrated lens says by how much. So a
few frames replace a search::

    blur_model      how defocus weakens fine detail, from the lens's calibration
    defocus         depth of each block of a region, from frames at different positions
    auto_focus      AutoFocus: which frame to take next, and when the search has ended

Depth and position are milli-dioptres: 0 is infinity, a larger value is closer.
"""
