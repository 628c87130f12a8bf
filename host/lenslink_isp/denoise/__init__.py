"""Take the noise out of one RAW picture: ``lenslink denoise``.

A small network looks at light in units of its noise, so the picture's NoiseProfile is all that it
needs to know about the camera and the ISO::

    noise_units     light in units of its noise, and what the network sees of it
    noise_estimate  the noise of a picture that does not state it
    network         the network: OpenCV runs it, or onnxruntime where it is installed
    raw_denoiser    a whole picture in tiles, so that memory is bounded
    denoiser.onnx   the weights, which `make train-denoiser` wrote
    denoiser.json   how they were trained: pictures, seed, versions, losses

The result is linear light, so it is developed like any RAW.
"""
