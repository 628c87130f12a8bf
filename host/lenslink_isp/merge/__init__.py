"""Merge RAW frames of one scene to one RAW picture with less noise or a wider range.

A merge goes through these steps, all on mosaics::

    scene_light     digital numbers -> light of the scene, in the same unit for all frames
    alignment       where each tile of the reference frame is found in another frame
    aligned_frame   a frame moved to where the reference sees the scene
    robust_merge    the weighted mean of what agrees with the reference, by the noise model
    bracket_merge   frames of different exposures: a wide range, saturated pixels left out
    burst_merge     frames of one exposure: less noise
    pair_merge      two frames of different exposures, fast: for the preview
    merge_frames    the one or the other, as the exposures are
    merged_raw      the result, with the variance of each pixel
    hdr_preview     each frame of a stream of alternating exposures, with the one before

The result is linear light, so it is developed like any RAW.
"""
