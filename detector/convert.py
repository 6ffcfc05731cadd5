"""Converts TensorFlow.js graph models to ONNX, with only onnx and numpy: enough for convolutional detectors.

A graph model is a `model.json` (topology as TensorFlow GraphDef nodes, `modelTopology.node`) beside one or more
binary weight files (`weightsManifest`). TensorFlow's convolutions are channels-last, ONNX's channels-first: transposes
wrap each convolution, and ONNX Runtime's optimiser removes adjacent pairs of them. The result depends only on the input:
the same files give the same bytes.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from detector.errors import ModelError

Array = npt.NDArray[Any]
Node = dict[str, Any]

OPSET = 18
IR_VERSION = 9
_TO_NCHW = [0, 3, 1, 2]
_TO_NHWC = [0, 2, 3, 1]
_DTYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}


def convert(model_json: Path, *, size: tuple[int, int] | None = None) -> bytes:
    """The ONNX file of a TensorFlow.js graph model; its outputs are the graph's outputs, in the order of their names.

    `size` (width, height) gives the model another input size than the traced size, in multiples of its coarsest stride.
    This is correct only for fully convolutional networks. Raises ModelError for an unknown operation.
    """
    try:
        model = json.loads(model_json.read_bytes())
        nodes = _in_order(model["modelTopology"]["node"])
        weights = read_weights(model["weightsManifest"], model_json.parent)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{model_json} is not a TensorFlow.js graph model: {error}") from error
    return _Converter(nodes, weights, size).run()


def read_weights(manifest: Sequence[dict[str, Any]], folder: Path) -> dict[str, Array]:
    """All weights by name, dequantised; raises ModelError when the files are too short or too long."""
    weights: dict[str, Array] = {}
    for group in manifest:
        blob = b"".join((folder / Path(path).name).read_bytes() for path in group["paths"])
        offset = 0
        for spec in group["weights"]:
            count = math.prod(spec["shape"])
            quantised = spec.get("quantization", {})
            stored = np.dtype(quantised.get("dtype", spec["dtype"]))
            if offset + count * stored.itemsize > len(blob):
                raise ModelError(f"the weight files end inside {spec['name']}")
            flat: Array = np.frombuffer(blob, stored, count, offset)
            offset += count * stored.itemsize
            if "scale" in quantised:
                flat = flat.astype(np.float32) * quantised["scale"] + quantised["min"]
            weights[spec["name"]] = flat.astype(_DTYPES[spec["dtype"]]).reshape(spec["shape"])
        if offset != len(blob):
            raise ModelError(f"the weight files have {len(blob) - offset} bytes more than the manifest names")
    return weights


class _Converter:
    """One conversion, from nodes in topological order to ONNX nodes and initialisers."""

    def __init__(self, nodes: list[Node], weights: dict[str, Array], size: tuple[int, int] | None) -> None:
        self._nodes = nodes
        self._const = dict(weights)
        self._size = size
        self._ratio = np.full(2, 1.0)
        self._out: list[onnx.NodeProto] = []
        self._initialisers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []
        self._handlers: dict[str, Callable[[Node, list[str]], None]] = {
            "Placeholder": self._placeholder,
            "Conv2D": self._conv,
            "_FusedConv2D": self._conv,
            "DepthwiseConv2dNative": self._conv,
            "FusedDepthwiseConv2dNative": self._conv,
            "MaxPool": self._max_pool,
            "ResizeBilinear": self._resize,
            "Pad": self._pad,
            "PadV2": self._pad,
            "Transpose": self._transpose,
            "Reshape": self._reshape,
            "SplitV": self._split,
            "ConcatV2": self._concat,
            "LeakyRelu": self._leaky,
            "Relu6": self._relu6,
            **dict.fromkeys(("Add", "AddV2", "Mul", "Sub", "Relu", "Sigmoid", "Identity"), self._plain),
        }

    def run(self) -> bytes:
        for node in self._nodes:
            inputs = [_tensor(x) for x in node.get("input", []) if not x.startswith("^")]
            if node["op"] == "Const" or self._fold(node, inputs):
                continue
            handler = self._handlers.get(node["op"])
            if handler is None:
                raise ModelError(f"operation {node['op']} ({node['name']}) cannot be converted")
            handler(node, inputs)
        outputs = self._output_names()
        used = {name for node in self._out for name in node.input}
        graph = helper.make_graph(
            self._out,
            "graph",
            self._inputs,
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [tensor for name, tensor in self._initialisers.items() if name in used],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
        # The inferred shapes between input and outputs differ between versions of onnx; no runtime needs them.
        del model.graph.value_info[:]
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _output_names(self) -> list[str]:
        consumed = {_tensor(x).split(":")[0] for node in self._nodes for x in node.get("input", [])}
        return sorted(n["name"] for n in self._nodes if n["name"] not in consumed and n["name"] not in self._const)

    def _emit(self, op: str, inputs: list[str], output: str | None = None, **attributes: Any) -> str:
        name = output or f"{op}_{len(self._out)}"
        self._out.append(helper.make_node(op, inputs, [name], name=f"n{len(self._out)}", **attributes))
        return name

    def _hold(self, name: str, value: Array) -> str:
        self._initialisers[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _operands(self, inputs: list[str]) -> list[str]:
        """Inputs of a plain operation; constant inputs become initialisers."""
        return [self._hold(x, self._const[x]) if x in self._const else x for x in inputs]

    def _fold(self, node: Node, inputs: list[str]) -> bool:
        """Compute the node now if its inputs are constants (mostly shapes); True if they are."""
        if not inputs or not all(x in self._const for x in inputs):
            return False
        values = [self._const[x] for x in inputs]
        match node["op"]:
            case "SparseToDense":
                value = _sparse_to_dense(*values)
            case "Add" | "AddV2":
                value = values[0] + values[1]
            case "Sub":
                value = values[0] - values[1]
            case "Mul":
                value = values[0] * values[1]
            case "ConcatV2":
                value = np.concatenate(values[:-1], int(values[-1]))
            case "Reshape":
                value = values[0].reshape(values[1])
            case "Transpose":
                value = values[0].transpose(values[1])
            case _:
                return False
        self._const[node["name"]] = np.asarray(value)
        return True

    def _placeholder(self, node: Node, _inputs: list[str]) -> None:
        shape = [int(d["size"]) for d in node["attr"]["shape"]["shape"]["dim"]]
        shape[0] = 1
        if self._size is not None:
            spatial = [i for i, n in enumerate(shape) if i and n > 4]
            for axis, i in enumerate(spatial):
                wanted = self._size[1 - axis]
                self._ratio[axis] = wanted / shape[i]
                shape[i] = wanted
        self._inputs.append(helper.make_tensor_value_info(node["name"], TensorProto.FLOAT, shape))

    def _conv(self, node: Node, inputs: list[str]) -> None:
        weights = self._const[inputs[1]]
        groups = 1
        if "Depthwise" in node["op"]:
            height, width, groups, multiplier = weights.shape
            weights = weights.transpose(2, 3, 0, 1).reshape(groups * multiplier, 1, height, width)
        else:
            weights = weights.transpose(3, 2, 0, 1)
        fused = [_text(x) for x in node["attr"].get("fused_ops", {}).get("list", {}).get("s", [])]
        operands = [self._emit("Transpose", inputs[:1], perm=_TO_NCHW), self._hold(f"{node['name']}/w", weights)]
        if "BiasAdd" in fused:
            operands += self._operands([inputs[2]])
        x = self._emit(
            "Conv",
            operands,
            strides=_ints(node, "strides")[1:3],
            dilations=_ints(node, "dilations")[1:3] or [1, 1],
            group=groups,
            auto_pad=_padding(node),
        )
        for activation in fused:
            if activation == "Relu6":
                x = self._clip6(x)
            elif activation in ("Relu", "Elu"):
                x = self._emit(activation, [x])
            elif activation != "BiasAdd":
                raise ModelError(f"activation {activation} ({node['name']}) cannot be converted")
        self._emit("Transpose", [x], node["name"], perm=_TO_NHWC)

    def _max_pool(self, node: Node, inputs: list[str]) -> None:
        x = self._emit("Transpose", inputs[:1], perm=_TO_NCHW)
        x = self._emit(
            "MaxPool",
            [x],
            kernel_shape=_ints(node, "ksize")[1:3],
            strides=_ints(node, "strides")[1:3],
            auto_pad=_padding(node),
        )
        self._emit("Transpose", [x], node["name"], perm=_TO_NHWC)

    def _resize(self, node: Node, inputs: list[str]) -> None:
        target = np.rint(self._const[inputs[1]] * self._ratio).astype(np.int64)
        x = self._emit("Transpose", inputs[:1], perm=_TO_NCHW)
        # All four sizes, batch and channels from the tensor itself: ONNX Runtime's optimiser mistreats `axes`.
        whole = self._emit("Shape", [x], start=0, end=2)
        sizes = self._emit("Concat", [whole, self._hold(f"{node['name']}/hw", target)], axis=0)
        if node["attr"].get("align_corners", {}).get("b", False):
            mode = "align_corners"
        else:
            mode = "half_pixel" if node["attr"].get("half_pixel_centers", {}).get("b", False) else "asymmetric"
        x = self._emit("Resize", [x, "", "", sizes], mode="linear", coordinate_transformation_mode=mode)
        self._emit("Transpose", [x], node["name"], perm=_TO_NHWC)

    def _pad(self, node: Node, inputs: list[str]) -> None:
        pads = self._const[inputs[1]].astype(np.int64).T.reshape(-1)
        value = self._const[inputs[2]] if node["op"] == "PadV2" else 0
        operands = [
            inputs[0],
            self._hold(f"{node['name']}/p", pads),
            self._hold(f"{node['name']}/v", np.asarray(value, np.float32)),
        ]
        self._emit("Pad", operands, node["name"])

    def _transpose(self, node: Node, inputs: list[str]) -> None:
        self._emit("Transpose", inputs[:1], node["name"], perm=[int(i) for i in self._const[inputs[1]]])

    def _reshape(self, node: Node, inputs: list[str]) -> None:
        shape = self._const[inputs[1]].astype(np.int64)
        if -1 not in shape and not np.array_equal(self._ratio, [1, 1]):
            # The shape contains the traced size; the longest axis is the axis of the places, which follows from the rest.
            shape[int(np.argmax(shape))] = -1
        self._emit("Reshape", [inputs[0], self._hold(f"{node['name']}/s", shape)], node["name"])

    def _split(self, node: Node, inputs: list[str]) -> None:
        sizes = self._const[inputs[1]].astype(np.int64)
        outputs = [node["name"], *(f"{node['name']}:{i}" for i in range(1, len(sizes)))]
        operands = [inputs[0], self._hold(f"{node['name']}/k", sizes)]
        axis = int(self._const[inputs[2]])
        self._out.append(helper.make_node("Split", operands, outputs, name=f"n{len(self._out)}", axis=axis))

    def _concat(self, node: Node, inputs: list[str]) -> None:
        self._emit("Concat", self._operands(inputs[:-1]), node["name"], axis=int(self._const[inputs[-1]]))

    def _leaky(self, node: Node, inputs: list[str]) -> None:
        self._emit("LeakyRelu", inputs[:1], node["name"], alpha=float(node["attr"]["alpha"]["f"]))

    def _relu6(self, node: Node, inputs: list[str]) -> None:
        self._clip6(inputs[0], node["name"])

    def _clip6(self, x: str, output: str | None = None) -> str:
        bounds = [self._hold("zero", np.asarray(0, np.float32)), self._hold("six", np.asarray(6, np.float32))]
        return self._emit("Clip", [x, *bounds], output)

    def _plain(self, node: Node, inputs: list[str]) -> None:
        op: str = node["op"]
        self._emit("Add" if op == "AddV2" else op, self._operands(inputs), node["name"])


def _in_order(nodes: list[Node]) -> list[Node]:
    """Nodes sorted so that each comes after its inputs; files have them in any order."""
    by_name = {n["name"]: n for n in nodes}
    done: dict[str, Node] = {}

    def visit(name: str) -> None:
        stack = [name]
        while stack:
            current = stack[-1]
            if current not in by_name:
                raise ModelError(f"the graph reads {current}, which it does not have")
            needs = [_tensor(x).split(":")[0] for x in by_name[current].get("input", [])]
            missing = [n for n in needs if n not in done]
            if current in done or not missing:
                done.setdefault(current, by_name[current])
                stack.pop()
            elif len(stack) > len(by_name):
                raise ModelError("the graph has a cycle")
            else:
                stack.append(missing[0])

    for node in nodes:
        visit(node["name"])
    return list(done.values())


def _tensor(name: str) -> str:
    return name.removeprefix("^").removesuffix(":0")


def _text(value: str) -> str:
    return base64.b64decode(value).decode()


def _ints(node: Node, key: str) -> list[int]:
    return [int(x) for x in (node["attr"].get(key, {}).get("list") or {}).get("i", [])]


def _padding(node: Node) -> str:
    return {"SAME": "SAME_UPPER", "VALID": "VALID"}[_text(node["attr"]["padding"]["s"])]


def _sparse_to_dense(indices: Array, shape: Array, values: Array, default: Array) -> Array:
    dense = np.full(tuple(np.ravel(shape)), default)
    places = indices.reshape(-1, max(1, dense.ndim))
    dense[tuple(places.T)] = np.broadcast_to(np.ravel(values), (len(places),))
    return dense
