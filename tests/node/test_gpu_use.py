"""Detectors that run without the GPU that their step asks for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from agent.model.pipeline import Pipeline, Step
from agent.node.gpu_use import GpuUse
from agent.steps import KINDS


def gpu_use(**task: Any) -> GpuUse:
    step = Step(name="labels", kind="docker", task={"image": "sha256:0", **task})
    return GpuUse(SimpleNamespace(kinds=KINDS, current={"p": Pipeline(name="p", steps=[step])}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("task", "line", "missing"),
    [
        ({"gpus": 1}, "detector: ready provider=cpu", True),
        ({"gpus": 1}, "detector: ready provider=cuda", False),
        ({}, "detector: ready provider=cpu", False),
        ({}, "detector: warning no-gpu provider=cpu wanted=cuda", True),
        ({"gpus": 1}, "something else", False),
    ],
)
def test_a_detector_without_the_gpu_that_it_wants_is_known(task: dict[str, Any], line: str, missing: bool) -> None:
    use = gpu_use(**task)
    use.read("p", "labels", line)
    assert use.missing == ({("p", "labels")} if missing else set())


def test_a_detector_that_starts_again_with_its_gpu_is_forgotten() -> None:
    use = gpu_use(gpus=1)
    use.read("p", "labels", "detector: ready provider=cpu")
    use.read("p", "labels", "detector: ready provider=cuda")
    assert not use.missing
