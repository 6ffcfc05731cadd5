"""Decoders turn a model's outputs into boxes. There is one file per family; none depends on pictures or engines.

A decoder takes the model's outputs by name and returns `Candidates` in input pixels; `suppress` leaves one box per
object.
"""

from __future__ import annotations

from detector.decoders.base import Array, Candidates, Decoder, Outputs, suppress
from detector.decoders.nanodet import NanoDet
from detector.decoders.ssd import Ssd
from detector.decoders.yolo import YoloV8, Yolox
from detector.manifest import Model, NanoDetSpec, SsdSpec, YoloxSpec

__all__ = ["Array", "Candidates", "Decoder", "Outputs", "build", "suppress"]


def build(model: Model) -> Decoder:
    """The decoder named in a model's manifest."""
    spec, size, classes = model.manifest.decoder, model.manifest.input, len(model.labels)
    if isinstance(spec, NanoDetSpec):
        return NanoDet(spec, size, classes)
    if isinstance(spec, YoloxSpec):
        return Yolox(spec, size, classes)
    if isinstance(spec, SsdSpec):
        return Ssd(spec, size, classes)
    return YoloV8(spec, size, classes)
