"""Tiny models for tests: ONNX files that answer any picture with known tensors, and a real SSD in TFLite."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from detector.fetch import cache_folder, npm_files, sha256_of, write_file
from detector.manifest import AnchorSpec, InputSpec, Manifest, SsdSpec, write_manifest

Array = npt.NDArray[Any]

SSD_PACKAGE = "@mediapipe/objectron@0.4.1675468480"
SSD_PACKAGE_SHA256 = "fc3e37b326b05e8f596099c90b3e0931b05a56cd3160b9ac450b621794bac94c"
SSD_SHA256 = "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6"
SSD_PART = slice(184, 9_987_912)
"""The model's place in the package's asset file, by the offsets in its loader."""
SSD_LABELS = [
    *(
        "Bicycle",
        "Boot",
        "Laptop",
        "Person",
        "Chair",
        "Cattle",
        "Desk",
        "Cat",
        "Computer mouse",
        "Computer monitor",
        "Box",
    ),
    *("Mug", "Coffee cup", "Stationary bicycle", "Table", "Bottle", "High heels", "Vehicle", "Footwear", "Dog", "Book"),
    *("Camera", "Car"),
]


def constant_onnx(path: Path, shape: list[int], outputs: dict[str, Array]) -> None:
    """A model that takes a picture of this shape and always answers with these outputs."""
    nodes = [helper.make_node("Identity", [f"{name}_c"], [name]) for name in outputs]
    held = [numpy_helper.from_array(a.astype(np.float32), f"{name}_c") for name, a in outputs.items()]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(a.shape)) for name, a in outputs.items()],
        held,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), str(path))


def constant_model(folder: Path, spec: InputSpec, decoder: Any, labels: list[str], outputs: dict[str, Array]) -> Path:
    """Such a model with its manifest; returns the manifest's path."""
    file = folder / "model.onnx"
    shape = [1, 3, spec.height, spec.width] if spec.layout == "nchw" else [1, spec.height, spec.width, 3]
    constant_onnx(file, shape, outputs)
    manifest = Manifest(
        name="constant",
        file=file.name,
        sha256=sha256_of(file),
        labels=labels,
        input=spec,
        decoder=decoder,
        threshold=0.5,
    )
    write_manifest(folder / "manifest.json", manifest)
    return folder / "manifest.json"


def real_ssd(folder: Path) -> Path:
    """The manifest of SSD MobileNetV2 as Google ships it in an npm package, fetched once into the user's cache."""
    cached = cache_folder() / "models" / SSD_SHA256 / "ssd.tflite"
    if not cached.exists():
        (assets,) = npm_files(SSD_PACKAGE, SSD_PACKAGE_SHA256, ["package/objectron_solution_packed_assets.data"])
        model = assets[SSD_PART]
        assert hashlib.sha256(model).hexdigest() == SSD_SHA256
        write_file(cached, model)
    (folder / "ssd.tflite").write_bytes(cached.read_bytes())
    manifest = Manifest(
        name="ssd-mobilenetv2-oidv4",
        file="ssd.tflite",
        sha256=SSD_SHA256,
        labels=SSD_LABELS,
        input=InputSpec(width=300, height=300, layout="nhwc", mean=[127.5] * 3, std=[127.5] * 3, letterbox="none"),
        decoder=SsdSpec(anchors=AnchorSpec()),
        threshold=0.5,
    )
    write_manifest(folder / "manifest.json", manifest)
    return folder / "manifest.json"
