"""Manifests are checked completely, engines report their processor, pictures keep their geometry."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import images
from detector.detect import Detector
from detector.engines import open_engine
from detector.errors import ImageError, ModelError
from detector.manifest import InputSpec, YoloV8Spec, load_model
from tests.detector.conftest import photo
from tests.detector.models import constant_model, constant_onnx

SPEC = InputSpec(width=64, height=64)
NOTHING = {"output0": np.zeros((1, 6, 84), np.float32)}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return constant_model(tmp_path, SPEC, YoloV8Spec(), ["person", "cat"], NOTHING)


def changed(manifest: Path, **changes: Any) -> Path:
    """The manifest with keys replaced."""
    manifest.write_text(json.dumps(json.loads(manifest.read_bytes()) | changes))
    return manifest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"file": "../model.onnx"}, "plain name"),
        ({"file": "model.pt"}, "must end in"),
        ({"file": "gone.onnx"}, "No such file"),
        ({"colour": "rgb"}, "colour"),
        ({"labels": []}, "0 labels"),
        ({"labels": "gone.txt"}, "gone.txt"),
        ({"decoder": {"kind": "magic"}}, "magic"),
        ({"decoder": {"kind": "yolox", "stride": 3}}, "stride"),
        ({"input": {"width": 64, "height": 64, "std": [1, 0, 1]}}, "std"),
        ({"input": {"width": 64}}, "height"),
        ({"version": 2}, "version"),
        ({"threshold": 0}, "threshold"),
    ],
)
def test_error_of_a_wrong_manifest_names_the_fault(manifest: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelError, match=said):
        load_model(changed(manifest, **changes))


def test_labels_may_be_in_a_separate_file(manifest: Path) -> None:
    (manifest.parent / "names.txt").write_text("person\n\ncat\n")
    assert load_model(changed(manifest, labels="names.txt")).labels == ["person", "cat"]


def test_error_of_a_missing_manifest_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="build_detector"):
        load_model(tmp_path / "manifest.json")


def test_model_of_another_input_size_or_decoder_is_refused(tmp_path: Path) -> None:
    manifest = constant_model(tmp_path, SPEC, YoloV8Spec(), ["person", "cat"], NOTHING)
    with pytest.raises(ModelError, match="its manifest has"):
        Detector(load_model(changed(manifest, input={"width": 32, "height": 64})))
    with pytest.raises(ModelError, match="YOLOv8"):
        Detector(load_model(changed(manifest, input={"width": 64, "height": 64}, labels=["person"])))


def test_file_that_is_not_a_model_is_refused(tmp_path: Path) -> None:
    for name in ("model.onnx", "model.tflite"):
        manifest = constant_model(tmp_path, SPEC, YoloV8Spec(), ["person", "cat"], NOTHING)
        junk = b"\x08\x07junk" * 50
        (tmp_path / name).write_bytes(junk)
        import hashlib

        with pytest.raises(ModelError):
            open_engine(load_model(changed(manifest, file=name, sha256=hashlib.sha256(junk).hexdigest())), "cpu", 1)


def test_requested_but_unused_gpu_is_noted(manifest: Path, ssd_manifest: Path) -> None:
    model = load_model(manifest)
    engine = open_engine(model, "cuda", 1)
    assert (engine.provider == "cuda") == (engine.note == "")
    assert open_engine(model, "cpu", 1).note == ""
    assert open_engine(model, "auto", 1).note == ""
    assert "CPU only" in open_engine(load_model(ssd_manifest), "cuda", 1).note


def test_real_tflite_ssd_labels_photos(ssd_manifest: Path) -> None:
    detector = Detector(load_model(ssd_manifest))
    for name, label in (("astronaut.png", "Person"), ("chelsea.png", "Cat"), ("coffee.png", "Coffee cup")):
        found = detector.find(detector.prepare(photo(name).read_bytes()))
        assert found.labels[0]["name"] == label
        x, y, w, h = found.labels[0]["box"]
        assert 0.1 < w <= 1 - x
        assert 0.5 < h <= 1 - y


def test_default_model_finds_a_person_only_in_the_right_photo(default_manifest: Path) -> None:
    detector = Detector(load_model(default_manifest))
    for name, expected in (
        ("astronaut.png", True),
        ("camera.png", True),
        ("chelsea.png", False),
        ("coffee.png", False),
    ):
        labels = detector.find(detector.prepare(photo(name).read_bytes())).labels
        assert any(label["name"] == "person" for label in labels) == expected, name


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    letterbox=st.sampled_from(["none", "centre", "corner"]),
    layout=st.sampled_from(["nchw", "nhwc"]),
)
def test_box_of_the_whole_picture_stays_the_whole_picture(width: int, height: int, letterbox: Any, layout: Any) -> None:
    spec = InputSpec(width=96, height=64, letterbox=letterbox, layout=layout)
    tensor, place = images.prepare(np.full((height, width, 3), 200, np.uint8), spec)
    assert tensor.shape == ((1, 3, 64, 96) if layout == "nchw" else (1, 64, 96, 3))
    planes = tensor[0, 0] if layout == "nchw" else tensor[0, :, :, 0]
    rows, columns = np.nonzero(planes == 200)
    corners = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    assert place.boxes(corners)[0].tolist() == pytest.approx([0, 0, 1, 1], abs=1e-6)


def test_manifest_sets_order_and_normalisation_of_channels() -> None:
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[:] = (10, 20, 30)  # blue, green, red
    for colour, expected in (("bgr", [9, 9, 9.333333]), ("rgb", [29, 9, 2.6666667])):
        spec = InputSpec(width=16, height=16, colour=colour, mean=[1, 2, 2], std=[1, 2, 3])  # type: ignore[arg-type]
        tensor, _ = images.prepare(picture, spec)
        assert tensor[0, :, 5, 5].tolist() == pytest.approx(expected, rel=1e-5)


def bomb(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that announces a huge picture."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [b"", b"hello", b"\xff\xd8\xff\xe0 no picture", bomb(60_000, 60_000), bomb(2**31 - 1, 1)],
    ids=["empty", "text", "torn", "bomb", "line"],
)
def test_invalid_or_too_large_picture_is_an_image_error(data: bytes) -> None:
    with pytest.raises(ImageError):
        images.decode(data)


@given(st.binary(max_size=200))
def test_any_invalid_bytes_give_only_an_image_error(data: bytes) -> None:
    start = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()[:100]
    for file in (data, start + data):
        try:
            images.decode(file)
        except ImageError:
            continue


def test_model_with_undefined_input_size_is_accepted(tmp_path: Path) -> None:
    constant_onnx(tmp_path / "model.onnx", [1, 3, "rows", "columns"], NOTHING)  # type: ignore[list-item]
    manifest = constant_model(tmp_path, SPEC, YoloV8Spec(), ["person", "cat"], NOTHING)
    assert open_engine(load_model(manifest), "cpu", 1).provider == "cpu"
