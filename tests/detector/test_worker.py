"""The detector's program keeps the step contract for any input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detector.manifest import InputSpec, NanoDetSpec, SsdSpec, YoloV8Spec, YoloxSpec
from tests.detector.conftest import ROOT, photo
from tests.detector.models import constant_model

SPEC = InputSpec(width=64, height=64)


def yolo_answer(x: float, y: float, w: float, h: float, score: float = 0.9) -> dict[str, Any]:
    """YOLOv8's output with one person in it."""
    a = np.zeros((1, 6, 84), np.float32)
    a[0, :5, 7] = [x, y, w, h, score]
    return {"output0": a}


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return constant_model(tmp_path, SPEC, YoloV8Spec(), ["person", "cat"], yolo_answer(32, 32, 16, 32))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.jpg"
    assert cv2.imwrite(str(path), np.full((64, 128, 3), 90, np.uint8))
    return path


def event(event_id: str, *paths: Path, **data: Any) -> bytes:
    """An event line with picture blobs."""
    blobs = [
        {"name": p.name, "cid": f"cid-{i}", "type": "image/jpeg", "size": 1, "path": str(p)}
        for i, p in enumerate(paths)
    ]
    return (
        json.dumps({"specversion": "1.0", "id": event_id, "type": "x", "data": {**data, "blobs": blobs}}).encode()
        + b"\n"
    )


def run(manifest: Path, lines: bytes, *options: str, **environment: str) -> tuple[int, list[dict[str, Any]], str]:
    """Feed lines to the program; returns its exit code, answers and log."""
    done = subprocess.run(
        [sys.executable, "-m", "detector.worker", "--model", str(manifest), *options],
        input=lines,
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode()


def test_every_event_is_answered_in_order_with_its_data(manifest: Path, picture: Path) -> None:
    lines = b"".join(event(f"e{i}", picture, camera="porch", device={"known": False}, shot=i) for i in range(20))
    code, answers, log = run(manifest, lines)
    assert code == 0
    assert [a["id"] for a in answers] == [f"e{i}" for i in range(20)]
    (found,) = answers[3]["events"]
    data = found["data"]
    assert found["type"] == "image.labels"
    assert (data["camera"], data["device"], data["shot"]) == ("porch", {"known": False}, 3)
    assert data["blobs"] == [{"name": "picture.jpg", "cid": "cid-0"}]
    assert (data["width"], data["height"], data["model"]) == (128, 64, "constant")
    assert (data["provider"], data["provider_wanted"]) == ("cpu", "auto")
    assert data["ms"] > 0
    # 128×64 in 64×64: the picture is in rows 16 to 48, so a box from 16 to 48 has its whole height.
    assert data["labels"] == [{"name": "person", "score": 0.9, "box": [0.375, 0.0, 0.25, 1.0]}]
    assert "ready model=constant provider=cpu wanted=auto threshold=0.5" in log


def test_each_picture_of_an_event_gives_a_separate_event(manifest: Path, picture: Path, tmp_path: Path) -> None:
    second = tmp_path / "second.png"
    assert cv2.imwrite(str(second), np.zeros((10, 20, 3), np.uint8))
    line = json.loads(event("e", picture, second))
    line["data"]["blobs"].insert(0, {"name": "notes", "cid": "n", "type": "text/plain", "path": "/none"})
    _, answers, _ = run(manifest, json.dumps(line).encode() + b"\n")
    assert [e["data"]["blobs"] for e in answers[0]["events"]] == [
        [{"name": "picture.jpg", "cid": "cid-0"}],
        [{"name": "second.png", "cid": "cid-1"}],
    ]
    assert [e["data"]["width"] for e in answers[0]["events"]] == [128, 20]


def test_unreadable_picture_is_an_error_of_its_event_only(manifest: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "junk.jpg").write_bytes(b"junk")
    lines = event("a", tmp_path / "junk.jpg") + event("b", tmp_path / "gone.jpg") + event("c") + event("d", picture)
    code, answers, log = run(manifest, lines)
    assert code == 0
    assert [(a["id"], "error" in a) for a in answers] == [("a", True), ("b", True), ("c", True), ("d", False)]
    assert "cannot decode" in answers[0]["error"]
    assert "detector: a: " in log


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"{}\n",
        b"[1]\n",
        b'{"id": 7, "data": {}}\n',
        b'{"id": "x", "data": {"blobs": 3}}\n',
        b'{"id": "x", "data": {"blobs": [{"path": 1}]}}\n',
        b"[" * 100_000 + b"\n",
        b'{"id": "' + b"x" * (1 << 20) + b'"}\n',
        b"\xff\xfe\n",
    ],
    ids=["text", "empty", "list", "number", "blobs", "path", "deep", "long", "binary"],
)
def test_line_that_is_not_an_event_ends_the_program(manifest: Path, picture: Path, line: bytes) -> None:
    code, answers, log = run(manifest, event("first", picture) + line + event("after", picture))
    assert code == 2
    assert [a["id"] for a in answers] == ["first"]
    assert log.splitlines()[-1].startswith("detector: ")
    assert "Traceback" not in log


def test_model_that_cannot_be_loaded_ends_the_program(tmp_path: Path) -> None:
    code, answers, log = run(tmp_path / "none.json", b"")
    assert (code, answers) == (3, [])
    assert "none.json" in log


def test_caller_sets_the_threshold(manifest: Path, picture: Path) -> None:
    _, answers, _ = run(manifest, event("e", picture), "--threshold", "0.95")
    assert answers[0]["events"][0]["data"]["labels"] == []


def test_unused_gpu_is_in_the_log_and_in_every_answer(manifest: Path, picture: Path) -> None:
    for options, environment in ((["--provider", "cuda"], {}), ([], {"DETECTOR_PROVIDER": "cuda"})):
        _, answers, log = run(manifest, event("e", picture), *options, **environment)
        data = answers[0]["events"][0]["data"]
        assert data["provider_wanted"] == "cuda"
        assert ("detector: warning no-gpu provider=cpu wanted=cuda reason=" in log) == (data["provider"] != "cuda")


def test_stdout_has_only_answers_and_no_usage_report_is_made(manifest: Path, picture: Path, tmp_path: Path) -> None:
    # A library prints, from Python and from native code.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, atexit\natexit.register(print, 'bye')\nos.environ['X'] = '1'\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    code, answers, log = run(
        manifest, event("e", picture), PYTHONPATH=str(tmp_path), HOME=str(home), XDG_CACHE_HOME=str(home / "cache")
    )
    assert (code, len(answers)) == (0, 1)
    assert "bye" in log
    assert [p for p in home.rglob("*") if p.is_file()] == []


def nanodet_outputs() -> dict[str, Any]:
    a = np.zeros((1, 84, 2 + 32), np.float32)
    a[0, 64 + 5, 0] = 0.8  # stride 16, column 1, row 1: centre (24, 24)
    a[0, 64 + 5, [2 + 1, 2 + 8 + 1, 2 + 16 + 1, 2 + 24 + 1]] = 100
    return {"output": a}


def yolox_outputs() -> dict[str, Any]:
    a = np.zeros((1, 84, 7), np.float32)
    a[0, 64 + 5] = [0.5, 0.5, np.log(2), np.log(2), 1.0, 0.8, 0]
    return {"output": a}


def ssd_outputs() -> dict[str, Any]:
    return {
        "boxes": np.array([[[0.125, 0.125, 0.625, 0.625]]], np.float32),
        "classes": np.zeros((1, 1), np.float32),
        "scores": np.full((1, 1), 0.8, np.float32),
        "count": np.full(1, 1, np.float32),
    }


@pytest.mark.parametrize(
    ("decoder", "outputs"),
    [
        (NanoDetSpec(bins=8), nanodet_outputs()),
        (YoloxSpec(), yolox_outputs()),
        (YoloV8Spec(), yolo_answer(24, 24, 32, 32, 0.8)),
        (SsdSpec(), ssd_outputs()),
    ],
    ids=["nanodet", "yolox", "yolov8", "ssd"],
)
def test_each_family_goes_through_the_whole_program(
    decoder: Any, outputs: dict[str, Any], tmp_path: Path, picture: Path
) -> None:
    spec = InputSpec(width=64, height=64, letterbox="none")
    manifest = constant_model(tmp_path, spec, decoder, ["person", "cat"], outputs)
    _, answers, _ = run(manifest, event("e", picture))
    (label,) = answers[0]["events"][0]["data"]["labels"]
    assert (label["name"], label["score"]) == ("person", 0.8)
    assert label["box"] == pytest.approx([0.125, 0.125, 0.5, 0.5], abs=1e-3)


def test_a_real_photo_through_the_real_model(default_manifest: Path) -> None:
    _, answers, _ = run(default_manifest, event("e", photo("astronaut.png"), camera="porch"))
    best = answers[0]["events"][0]["data"]["labels"][0]
    assert best["name"] == "person"
    assert best["score"] >= 0.4
