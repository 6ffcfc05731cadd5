"""Engines: ONNX Runtime for .onnx, LiteRT for .tflite. They report the processor that they really use."""

from __future__ import annotations

import importlib
import math
import os
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from detector.decoders import Array, Outputs
from detector.errors import ModelError
from detector.manifest import Model

PROVIDERS = ("auto", "cpu", "cuda")


class Engine(Protocol):
    """A loaded model. `provider` runs it (`cpu`, `cuda`); `note` is the reason if another provider was requested."""

    provider: str
    note: str

    def run(self, tensor: Array) -> Outputs:
        """Run the model on one input; returns all outputs by name, in the model's order."""
        ...


def open_engine(model: Model, provider: str, threads: int) -> Engine:
    """Load a model. A requested GPU that is not usable is not an error: the engine notes it. Raises ModelError."""
    if model.path.suffix == ".onnx":
        return OnnxEngine(model, provider, threads)
    return LiteRtEngine(model, provider, threads)


class OnnxEngine:
    """ONNX Runtime, on CUDA if that is requested and works."""

    def __init__(self, model: Model, provider: str, threads: int) -> None:
        # ONNX Runtime's Linux wheels report usage to their maker unless this is set before they are loaded.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        ort = _module("onnxruntime")
        ort.disable_telemetry_events()
        ort.set_default_logger_severity(3)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # Spinning threads halve the speed of a machine with shared cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        wanted = ["CPUExecutionProvider"]
        self.note = ""
        if provider != "cpu":
            if "CUDAExecutionProvider" in ort.get_available_providers():
                # CUDA's libraries may come from other wheels, in folders that the loader does not search.
                ort.preload_dlls()
                wanted.insert(0, "CUDAExecutionProvider")
            elif provider == "cuda":
                self.note = "this onnxruntime has no CUDA provider"
        try:
            self._session = ort.InferenceSession(model.data, options, providers=wanted)
        except Exception as error:  # onnxruntime has one class per status code and no common base class
            if not type(error).__module__.startswith("onnxruntime"):
                raise
            raise ModelError(f"{model.path}: {error}") from error
        used = self._session.get_providers()[0]
        self.provider = used.removesuffix("ExecutionProvider").lower()
        if provider == "cuda" and self.provider != "cuda" and not self.note:
            self.note = "CUDA did not start (driver, libraries or device missing)"
        inputs = self._session.get_inputs()
        if len(inputs) != 1:
            raise ModelError(f"{model.path} has {len(inputs)} inputs; a detector has one")
        self._input = inputs[0].name
        self._half = "float16" in inputs[0].type
        self._names = [o.name for o in self._session.get_outputs()]
        _check_shape(model, inputs[0].shape)

    def run(self, tensor: Array) -> Outputs:
        """Run the model; the outputs are in the order of the graph."""
        x = tensor.astype(np.float16) if self._half else tensor
        return dict(zip(self._names, self._session.run(self._names, {self._input: x}), strict=True))


class LiteRtEngine:
    """LiteRT (TensorFlow Lite), CPU only; converts quantised inputs and outputs."""

    def __init__(self, model: Model, provider: str, threads: int) -> None:
        interpreter = _module("ai_edge_litert.interpreter").Interpreter
        try:
            self._interpreter = interpreter(model_content=model.data, num_threads=threads)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{model.path}: {error}") from error
        self.provider = "cpu"
        self.note = "a .tflite model runs on the CPU only" if provider == "cuda" else ""
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()
        _check_shape(model, list(self._input["shape"]))

    def run(self, tensor: Array) -> Outputs:
        """Run the model; the outputs are floats."""
        self._interpreter.set_tensor(self._input["index"], _quantise(tensor, self._input))
        self._interpreter.invoke()
        return {o["name"]: _dequantise(self._interpreter.get_tensor(o["index"]), o) for o in self._outputs}


def cpu_threads() -> int:
    """The number of threads that this process may use: its CPU limit (control group), 1 without a limit."""
    limit = _cgroup_cpus()
    if limit is None:
        return 1
    return max(1, min(math.floor(limit), len(os.sched_getaffinity(0))))


def _cgroup_cpus() -> float | None:
    """The CPU limit in cores: version 2's cpu.max, else version 1's quota and period."""
    root = Path("/sys/fs/cgroup")
    try:
        quota, period = (root / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota = (root / "cpu/cpu.cfs_quota_us").read_text()
        period = (root / "cpu/cpu.cfs_period_us").read_text()
        return None if int(quota) <= 0 else int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ModelError(f"{name.partition('.')[0].replace('_', '-')} is not installed: {error}") from error


def _check_shape(model: Model, shape: list[Any]) -> None:
    spec = model.manifest.input
    wanted = [1, 3, spec.height, spec.width] if spec.layout == "nchw" else [1, spec.height, spec.width, 3]
    # An undefined size is a name in ONNX and -1 in TFLite.
    known = [(n, w) for n, w in zip(shape, wanted, strict=False) if isinstance(n, int | np.integer) and n != -1]
    fits = len(shape) == 4 and all(n == w for n, w in known)
    if not fits:
        raise ModelError(f"{model.path} takes {[str(n) for n in shape]}, but its manifest has {wanted} ({spec.layout})")


def _quantise(tensor: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    dtype = np.dtype(detail["dtype"])
    if dtype.kind == "f" or not scale:
        plain: Array = tensor.astype(dtype)
        return plain
    info = np.iinfo(dtype)
    result: Array = np.clip(np.rint(tensor / scale) + zero, info.min, info.max).astype(dtype)
    return result


def _dequantise(value: Array, detail: dict[str, Any]) -> Array:
    scale, zero = detail["quantization"]
    if not scale or value.dtype.kind == "f":
        return value
    result: Array = (value.astype(np.float32) - zero) * scale
    return result
