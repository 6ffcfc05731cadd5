"""Model manifests: a small JSON file beside a model, with all the facts that the detector needs to run it.

    {
      "version": 1, "name": "my-model", "file": "my-model.onnx", "sha256": "…",
      "labels": ["person", "cat"],
      "input": {"width": 640, "height": 640, "layout": "nchw", "colour": "rgb", "std": [255, 255, 255]},
      "decoder": {"kind": "yolov8"}
    }

`file` (and `labels`, if it names a text file with one label per line) are beside the manifest. detector/README.md has a
table of the keys.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from detector.errors import ModelError

Size = Annotated[int, Meta(ge=16, le=4096)]
Fraction = Annotated[float, Meta(gt=0, le=1)]
Triple = Annotated[list[float], Meta(min_length=3, max_length=3)]
MAX_LABELS = 10_000


class InputSpec(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The conversion from a picture to the model's input: `(pixel - mean) / std` per channel, in `colour`'s order."""

    width: Size
    height: Size
    layout: Literal["nchw", "nhwc"] = "nchw"
    colour: Literal["rgb", "bgr"] = "rgb"
    mean: Triple = msgspec.field(default_factory=lambda: [0.0, 0.0, 0.0])
    std: Triple = msgspec.field(default_factory=lambda: [1.0, 1.0, 1.0])
    letterbox: Literal["none", "centre", "corner"] = "centre"
    pad: Annotated[int, Meta(ge=0, le=255)] = 114


class NanoDetSpec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="nanodet"):
    """NanoDet: per stride class scores and distances to four sides, each a distribution over `bins`.

    `centre` is a place's position in its cell, in cells: 0.5 in NanoDet, 0 in NanoDet-Plus. `sigmoid` is for models whose
    scores are logits.
    """

    strides: list[int] = msgspec.field(default_factory=lambda: [8, 16, 32])
    bins: Annotated[int, Meta(ge=2, le=64)] = 8
    centre: float = 0.5
    sigmoid: bool = False


class YoloxSpec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="yolox"):
    """YOLOX: one output [1, places, 5 + classes] of centre, size, objectness and scores.

    `decoded`: the model itself applies the grid and strides (`--decode_in_inference`).
    """

    strides: list[int] = msgspec.field(default_factory=lambda: [8, 16, 32])
    decoded: bool = False


class YoloV8Spec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="yolov8"):
    """YOLOv8 and its successors without built-in suppression: one output [1, 4 + classes, places], or transposed.

    `normalised`: boxes are in 0..1 of the input (TFLite exports) instead of pixels.
    """

    normalised: bool = False


class AnchorSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The anchors of a MobileNet SSD: per layer boxes of growing scale, in the classic arrangement.

    `strides` has one entry per layer; `reduced_first` gives the first layer only three boxes per place.
    """

    strides: list[int] = msgspec.field(default_factory=lambda: [16, 32, 64, 128, 256, 512])
    min_scale: float = 0.2
    max_scale: float = 0.95
    ratios: list[float] = msgspec.field(default_factory=lambda: [1.0, 2.0, 0.5, 3.0, 1 / 3])
    reduced_first: bool = True


class SsdSpec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="ssd"):
    """SSD. Without `anchors`: the four outputs of TFLite's detection post-processing (boxes, classes, scores, count).

    With `anchors`: raw encodings [1, places, 4] (y, x, h, w; divided by `scales`) and class scores [1, places, n].
    `background`: class 0 of the scores is "nothing". `sigmoid`: the scores are logits.
    """

    anchors: AnchorSpec | None = None
    scales: list[float] = msgspec.field(default_factory=lambda: [10.0, 10.0, 5.0, 5.0])
    background: bool = True
    sigmoid: bool = True


DecoderSpec = NanoDetSpec | YoloxSpec | YoloV8Spec | SsdSpec


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model as the detector loads it; `folder` contains the manifest."""

    version: Literal[1] = 1
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    file: str
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    labels: list[str] | str
    input: InputSpec
    decoder: DecoderSpec
    threshold: Fraction = 0.35
    overlap: Fraction = 0.6
    licence: str = ""
    origin: str = ""


class Model(Struct, frozen=True):
    """A manifest whose model file exists and has the right hash."""

    manifest: Manifest
    path: Path
    labels: list[str]

    @property
    def data(self) -> bytes:
        """The model file's bytes."""
        return self.path.read_bytes()


def load_model(path: Path) -> Model:
    """Read a manifest and check all its values. Raises ModelError with the wrong key."""
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}; fetch the default model with scripts/build_detector.py") from error
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise ModelError(f"{path}: {error}") from error
    if any(x == 0 for x in manifest.input.std):
        raise ModelError(f"{path}: input.std must not be 0")
    file = _beside(path, manifest.file)
    if file.suffix not in (".onnx", ".tflite"):
        raise ModelError(f"{path}: file must end in .onnx or .tflite, not {file.suffix!r}")
    _check_hash(file, manifest.sha256)
    return Model(manifest, file, _labels(path, manifest.labels))


def write_manifest(path: Path, manifest: Manifest) -> None:
    """Write a manifest in a form that people can read."""
    raw: Any = msgspec.json.format(msgspec.json.encode(manifest), indent=2)
    path.write_bytes(raw + b"\n")


def _beside(path: Path, name: str) -> Path:
    if Path(name).name != name or name in ("", ".", ".."):
        raise ModelError(f"{path}: {name!r} must be the plain name of a file beside the manifest")
    return path.parent / name


def _check_hash(file: Path, sha256: str) -> None:
    try:
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ModelError(f"{file}: {error.strerror}") from error
    if found != sha256:
        raise ModelError(f"{file} has the SHA-256 {found}, but its manifest has {sha256}")


def _labels(path: Path, labels: list[str] | str) -> list[str]:
    if isinstance(labels, str):
        file = _beside(path, labels)
        try:
            labels = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{file}: {error}") from error
    if not 1 <= len(labels) <= MAX_LABELS:
        raise ModelError(f"{path}: {len(labels)} labels; a model has 1 to {MAX_LABELS}")
    return labels
