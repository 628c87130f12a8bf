"""The denoiser's network in numpy, read from the ONNX file without any library for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

_GRAPH, _INITIALIZER = 7, 5
_DIMS, _DATA_TYPE, _NAME, _RAW = 1, 2, 8, 9
_FLOAT16 = 10


def read_weights(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of an ONNX file by name: 16-bit floats, as 32-bit ones."""
    (graph,) = (value for field, value in _iterate_fields(path.read_bytes()) if field == _GRAPH)
    found = {}
    for field, value in _iterate_fields(graph):
        if field != _INITIALIZER:
            continue
        parts = list(_iterate_fields(value))
        first = dict(reversed(parts))
        assert first[_DATA_TYPE] == _FLOAT16
        shape = [part for number, part in parts if number == _DIMS]
        values = np.frombuffer(first[_RAW], np.float16).reshape(shape)
        found[bytes(first[_NAME]).decode()] = values.astype(np.float32)
    return found


def run_reference(weights: dict[str, np.ndarray], features: np.ndarray) -> np.ndarray:
    """Return the noise, (4, H, W), of the features, (12, H, W). See train_denoiser.Network."""

    def convolve(name, planes):
        return _convolve(planes, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def enlarge(name, planes):
        blocks = np.einsum("ihw,ioyx->ohywx", planes, weights[f"{name}.weight"])
        outputs, high, _, wide, _ = blocks.shape
        bias = weights[f"{name}.bias"][:, None, None]
        return blocks.reshape(outputs, 2 * high, 2 * wide) + bias

    def reduce(name, planes):
        inputs, high, wide = planes.shape
        blocks = planes.reshape(inputs, high // 2, 2, wide // 2, 2)
        bias = weights[f"{name}.bias"][:, None, None]
        return np.einsum("ihywx,oiyx->ohw", blocks, weights[f"{name}.weight"]) + bias

    def relu(planes):
        return np.maximum(planes, 0)

    fine = relu(convolve("enter", features))
    middle = relu(convolve("before", relu(reduce("reduce_1", fine))))
    coarse = relu(convolve("coarse_1", relu(reduce("reduce_2", middle))))
    coarse = relu(convolve("coarse_2", coarse))
    middle = relu(convolve("after", relu(middle + enlarge("enlarge_2", coarse))))
    fine = relu(convolve("finish", relu(fine + enlarge("enlarge_1", middle))))
    return convolve("leave", fine)


def _convolve(planes, weight, bias):
    padded = np.pad(planes, ((0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.einsum("ihwyx,oiyx->ohw", windows, weight, optimize=True) + bias[:, None, None]


def _iterate_fields(data: bytes):
    """Yield number and value of each field of a protobuf message: an int, or bytes."""
    data, position = memoryview(data), 0
    while position < len(data):
        key, position = _read_varint(data, position)
        kind = key & 7
        if kind == 0:
            value, position = _read_varint(data, position)
        else:
            assert kind == 2, kind
            length, position = _read_varint(data, position)
            value, position = data[position : position + length], position + length
        yield key >> 3, value


def _read_varint(data, position):
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, position
