"""Pictures: converts a file's bytes to the model's input, and boxes back to the picture."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from detector.errors import ImageError
from detector.manifest import InputSpec

# A 20 kB file can announce a picture of gigabytes. OpenCV reads this limit when it is loaded.
MAX_PIXELS = 1 << 26
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))

import cv2  # noqa: E402

# One picture at a time, since the model has its own threads; a pool for all of the host's cores is too large for a container.
cv2.setNumThreads(1)

MAX_FILE = 32 << 20
"""Largest picture file in bytes."""

Array = npt.NDArray[Any]
Frame = npt.NDArray[np.uint8]


class Placement(NamedTuple):
    """A picture's place in the model's input: scale per axis and offset, both in input pixels; and the picture's size."""

    scale_x: float
    scale_y: float
    left: int
    top: int
    width: int
    height: int

    def boxes(self, corners: Array) -> Array:
        """Convert corner boxes in input pixels to [x, y, w, h] in 0..1 of the picture, cut at its edges."""
        x = (corners[:, 0::2] - self.left) / (self.scale_x * self.width)
        y = (corners[:, 1::2] - self.top) / (self.scale_y * self.height)
        x, y = np.clip(x, 0, 1), np.clip(y, 0, 1)
        return np.stack([x[:, 0], y[:, 0], x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]], axis=1)


def decode(data: bytes) -> Frame:
    """Decode a picture file (JPEG, PNG, …) to upright BGR pixels. Raises ImageError."""
    if not data:
        raise ImageError("the picture file is empty")
    if len(data) > MAX_FILE:
        raise ImageError(f"the picture file has {len(data)} bytes; the limit is {MAX_FILE}")
    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f"cannot decode the picture: {error.err or 'unknown reason'}") from error
    if frame is None or frame.ndim != 3 or 0 in frame.shape:
        raise ImageError("cannot decode the picture")
    return frame  # type: ignore[no-any-return]


def prepare(frame: Frame, spec: InputSpec) -> tuple[Array, Placement]:
    """The model's input (float32, batch of one) and the picture's place in it."""
    height, width = frame.shape[:2]
    scale_x, scale_y = spec.width / width, spec.height / height
    if spec.letterbox != "none":
        scale_x = scale_y = min(scale_x, scale_y)
    inner = (max(1, min(spec.width, round(width * scale_x))), max(1, min(spec.height, round(height * scale_y))))
    # Averaging keeps small details when shrinking a lot; below a factor of two, linear is as good and cheaper.
    method = cv2.INTER_AREA if max(scale_x, scale_y) < 0.5 else cv2.INTER_LINEAR
    small = cv2.resize(frame, inner, interpolation=method)
    left, top = 0, 0
    if inner != (spec.width, spec.height):
        if spec.letterbox == "centre":
            left, top = (spec.width - inner[0]) // 2, (spec.height - inner[1]) // 2
        canvas: Frame = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
        canvas[top : top + inner[1], left : left + inner[0]] = small
        small = canvas
    tensor = _normalised(small, spec)
    place = Placement(inner[0] / width, inner[1] / height, left, top, width, height)
    return tensor[None], place


def _normalised(small: Frame, spec: InputSpec) -> Array:
    """BGR pixels as the model's floats, in its layout. Works by whole planes: three times as fast as broadcasting."""
    planes = cv2.split(small)
    if spec.colour == "rgb":
        planes = planes[::-1]
    first = spec.layout == "nchw"
    tensor = np.empty((3, *small.shape[:2]) if first else small.shape, np.float32)
    for i, plane in enumerate(planes):
        out = tensor[i] if first else tensor[:, :, i]
        np.multiply(plane, np.float32(1 / spec.std[i]), out=out, dtype=np.float32)
        out -= np.float32(spec.mean[i] / spec.std[i])
    return tensor
