"""The network that finds the noise, on OpenCV or on onnxruntime.

Its weights are 16-bit floats, and it computes in 32 bits. :mod:`.raw_denoiser` calls it for each
tile.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

WEIGHTS = Path(__file__).with_name("denoiser.onnx")
MULTIPLE = 4
"""Rows and columns of the network's planes are multiples of this: it has three scales."""


class Network(Protocol):
    """What runs the weights."""

    name: str

    def find_noise(self, features: Floats) -> Floats:
        """Return the noise, (4, H, W), of the features, (12, H, W). See :mod:`.noise_units`."""


class OpenCvNetwork:
    """The network on OpenCV's module dnn."""

    name = "OpenCV"

    def __init__(self, weights: Path = WEIGHTS) -> None:
        # From memory: OpenCV cannot open every path that Python can.
        self._network = cv2.dnn.readNetFromONNX(np.fromfile(weights, np.uint8))

    def find_noise(self, features: Floats) -> Floats:
        self._network.setInput(features[None])
        # A copy: the next call writes to the same memory.
        return np.array(self._network.forward()[0], np.float32)


class OnnxRuntimeNetwork:
    """The network on onnxruntime."""

    name = "onnxruntime"

    def __init__(self, weights: Path = WEIGHTS) -> None:
        runtime: Any = importlib.import_module("onnxruntime")
        options = runtime.SessionOptions()
        # As many threads as OpenCV: the caller limits both at one place.
        options.intra_op_num_threads = cv2.getNumThreads()
        self._session = runtime.InferenceSession(
            weights.read_bytes(), options, providers=["CPUExecutionProvider"]
        )

    def find_noise(self, features: Floats) -> Floats:
        (noise,) = self._session.run(None, {"features": features[None]})
        return np.asarray(noise[0], np.float32)


def load_network() -> Network:
    """Return the network on onnxruntime if it is installed, else on OpenCV.

    >>> load_network().find_noise(np.zeros((12, 8, 8), np.float32)).shape
    (4, 8, 8)
    """
    if importlib.util.find_spec("onnxruntime") is None:
        return OpenCvNetwork()
    return OnnxRuntimeNetwork()
