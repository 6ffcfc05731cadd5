"""Converted graph models give the same results in ONNX."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pytest

from detector import nanodet
from detector.convert import convert
from detector.errors import ModelError
from detector.fetch import sha256_of
from detector.manifest import load_model

Array = npt.NDArray[Any]


class Graph:
    """A TensorFlow.js graph model, written by hand."""

    def __init__(self, folder: Path, shape: list[int]) -> None:
        self.folder = folder
        self.nodes: list[dict[str, Any]] = []
        self.weights: list[tuple[dict[str, Any], bytes]] = []
        dims = [{"size": str(n)} for n in shape]
        self.node("x", "Placeholder", [], shape={"shape": {"dim": dims}})

    def node(self, name: str, op: str, inputs: list[str], **attributes: Any) -> str:
        self.nodes.append({"name": name, "op": op, "input": inputs, "attr": attributes})
        return name

    def const(self, name: str, value: Any, dtype: str = "float32", **spec: Any) -> str:
        a = np.asarray(value, spec.get("quantization", {}).get("dtype", dtype))
        self.weights.append(({"name": name, "shape": list(a.shape), "dtype": dtype, **spec}, a.tobytes()))
        return self.node(name, "Const", [])

    def save(self, *, extra: bytes = b"") -> Path:
        manifest = {"paths": ["model.bin"], "weights": [spec for spec, _ in self.weights]}
        (self.folder / "model.bin").write_bytes(b"".join(data for _, data in self.weights) + extra)
        path = self.folder / "model.json"
        path.write_text(json.dumps({"modelTopology": {"node": self.nodes}, "weightsManifest": [manifest]}))
        return path

    def run(self, x: Array, size: tuple[int, int] | None = None) -> list[Array]:
        session = ort.InferenceSession(convert(self.save(), size=size), providers=["CPUExecutionProvider"])
        return list(session.run(None, {"x": x.astype(np.float32)}))


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def ints(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(v) for v in values]}}


CONV = {"strides": ints(1, 2, 2, 1), "padding": text("SAME"), "dilations": ints(1, 1, 1, 1)}
X = np.random.default_rng(1).normal(size=(1, 6, 8, 2)).astype(np.float32)


def convolved(x: Array, w: Array) -> Array:
    """A 3×3 convolution of stride 2 with TensorFlow's SAME padding (one row and column after an even size)."""
    padded = np.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))
    out = np.zeros((1, x.shape[1] // 2, x.shape[2] // 2, w.shape[3]), np.float32)
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            out[0, i, j] = np.tensordot(padded[0, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3], w, 3)
    return out


def test_convolution_with_padding_bias_activation_is_the_same(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [-1, 6, 8, 2])
    w = np.random.default_rng(2).normal(size=(3, 3, 2, 4)).astype(np.float32)
    bias = [1.0, -1.0, 0.5, 0.0]
    graph.const("w", w)
    graph.const("b", bias)
    fused = {"list": {"s": [text("BiasAdd")["s"], text("Relu6")["s"]]}}
    graph.node("y", "_FusedConv2D", ["x", "w", "b"], fused_ops=fused, **CONV)
    (found,) = graph.run(X)
    np.testing.assert_allclose(found, np.clip(convolved(X, w) + bias, 0, 6), atol=1e-5)


def test_a_depthwise_convolution_keeps_channels_apart(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [1, 6, 8, 2])
    w = np.random.default_rng(3).normal(size=(3, 3, 2, 1)).astype(np.float32)
    graph.const("w", w)
    graph.node("y", "DepthwiseConv2dNative", ["x", "w"], **CONV)
    (found,) = graph.run(X)
    for channel in range(2):
        alone = convolved(X[..., channel : channel + 1], w[:, :, channel : channel + 1])
        np.testing.assert_allclose(found[..., channel : channel + 1], alone, atol=1e-5)


def test_quantised_weights_and_constants_folded_from_shapes(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [1, 6, 8, 2])
    graph.const("q", [[0, 128, 255, 64]], quantization={"dtype": "uint8", "scale": 0.5, "min": -1.0})
    graph.const("rest", [-1, 4], "int32")
    graph.const("axis", 0, "int32")
    graph.const("lead", [1], "int32")
    graph.node("shape", "ConcatV2", ["lead", "rest", "axis"])
    graph.node("r", "Reshape", ["x", "shape"])
    graph.node("y", "Mul", ["r", "q"])
    (found,) = graph.run(X)
    np.testing.assert_allclose(found, X.reshape(1, -1, 4) * [-1, 63, 126.5, 31], rtol=1e-5)


def test_pooling_resizing_splitting_and_joining(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [1, 6, 8, 2])
    graph.node("p", "MaxPool", ["x"], ksize=ints(1, 2, 2, 1), strides=ints(1, 2, 2, 1), padding=text("VALID"))
    graph.const("hw", [6, 8], "int32")
    graph.node("u", "ResizeBilinear", ["p", "hw"], half_pixel_centers={"b": True}, align_corners={"b": False})
    graph.const("sizes", [1, 1], "int32")
    graph.const("axis", 3, "int32")
    graph.node("s", "SplitV", ["u", "sizes", "axis"])
    graph.node("a", "LeakyRelu", ["s"], alpha={"f": 0.5})
    graph.node("y", "ConcatV2", ["s:1", "a", "axis"])
    (found,) = graph.run(X)
    pooled = X.reshape(1, 3, 2, 4, 2, 2).max(axis=(2, 4))
    # Half-pixel centres: the outermost pixel of twice the size repeats the edge.
    np.testing.assert_allclose(found[0, 0, 0, 0], pooled[0, 0, 0, 1], rtol=1e-5)
    edge = pooled[0, 0, 0, 0]
    np.testing.assert_allclose(found[0, 0, 0, 1], edge if edge >= 0 else edge / 2, rtol=1e-5)
    assert found.shape == (1, 6, 8, 2)


def test_another_input_size_scales_the_traced_sizes(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [1, 6, 8, 2])
    graph.const("hw", [12, 16], "int32")
    graph.node("u", "ResizeBilinear", ["x", "hw"], half_pixel_centers={"b": True}, align_corners={"b": False})
    graph.const("shape", [1, 192, 2], "int32")
    graph.node("y", "Reshape", ["u", "shape"])
    (found,) = graph.run(np.zeros((1, 12, 24, 2)), size=(24, 12))
    assert found.shape == (1, 24 * 48, 2)


def test_nodes_may_come_in_any_order(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [1, 6, 8, 2])
    graph.node("y", "Sigmoid", ["z"])
    graph.node("z", "Relu", ["x"])
    (found,) = graph.run(X)
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.maximum(X, 0))), rtol=1e-5)


def test_operation_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [1, 6, 8, 2])
    graph.node("strange", "Einsum", ["x"])
    with pytest.raises(ModelError, match=r"Einsum.*strange"):
        graph.run(X)


def test_a_graph_that_reads_itself_or_nothing_is_refused(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [1, 6, 8, 2])
    graph.node("a", "Relu", ["b"])
    graph.node("b", "Relu", ["a"])
    with pytest.raises(ModelError, match="cycle"):
        graph.run(X)
    graph.nodes.pop()
    with pytest.raises(ModelError, match="reads b"):
        graph.run(X)


def test_weight_files_of_another_length_are_refused(tmp_path: Path) -> None:
    graph = Graph(tmp_path, [1, 6, 8, 2])
    graph.const("w", [1.0, 2.0])
    graph.node("y", "Mul", ["x", "w"])
    with pytest.raises(ModelError, match="more than"):
        convert(graph.save(extra=b"x"))
    path = graph.save()
    (tmp_path / "model.bin").write_bytes(b"1234567")
    with pytest.raises(ModelError, match="end inside w"):
        convert(path)


def test_file_that_is_not_a_graph_model_is_refused(tmp_path: Path) -> None:
    for content in ("hello", "[]", "{}", '{"modelTopology": {"node": 3}, "weightsManifest": []}'):
        (tmp_path / "model.json").write_text(content)
        with pytest.raises(ModelError):
            convert(tmp_path / "model.json")


def test_damaged_default_model_is_restored_from_the_cache(
    default_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sha256_of(load_model(default_manifest).path) == nanodet.FILE_SHA256
    assert len(nanodet.COCO_LABELS) == len(set(nanodet.COCO_LABELS)) == 80
    monkeypatch.setenv("PATH", "")  # no npm: the rest of the test works without network
    said: list[str] = []
    copy = nanodet.install(tmp_path / "model", said.append)
    (tmp_path / "model" / nanodet.FILE).write_bytes(b"damaged")
    assert nanodet.install(tmp_path / "model", said.append) == copy
    assert load_model(copy).manifest == nanodet.MANIFEST
    assert said == []


def test_error_without_npm_and_cache_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="apt-get install npm"):
        nanodet.install(tmp_path / "model", lambda _: None)
