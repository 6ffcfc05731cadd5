"""The measurement counts photos correctly, and the default model reaches its figures on the labelled photos."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detector import images
from detector.errors import DetectorError
from detector.evaluate import Judged, camera_frame, open_rescale, read_folder, summary
from tests.detector.conftest import ROOT, photo

LABELLED = ROOT.parent / "shared/data/person-eval"
RESCALE = ROOT / "build/filters/rescale.wasm"


def test_precision_and_recall_ignore_photos_of_small_people() -> None:
    judged = [
        Judged("a", 0.2, 0.8, True),
        Judged("b", 0.01, 0.0, False),
        Judged("c", 0.005, 0.7, True),
        Judged("d", 0.0, 0.6, True),
        Judged("e", 0.0, 0.0, False),
    ]
    result = summary(judged, 0.01)
    assert (result["with_people"], result["found"]) == (2, 1)
    assert (result["without_people"], result["false"]) == (2, 1)
    assert (result["small_people"], result["small_found"]) == (1, 1)
    assert (result["precision"], result["recall"]) == (0.5, 0.5)
    assert summary([], 0.01)["precision"] is None


@pytest.mark.parametrize(("width", "height"), [(640, 480), (480, 640), (1920, 1080), (4000, 300)])
def test_a_photo_is_shown_whole_in_a_camera_frame(width: int, height: int) -> None:
    frame = images.decode(camera_frame(np.full((height, width, 3), 200, np.uint8)))
    assert frame.shape == (1080, 1920, 3)
    rows, columns = np.nonzero(frame[:, :, 0] > 100)
    shown = (columns.max() + 1 - columns.min()) / (rows.max() + 1 - rows.min())
    assert shown == pytest.approx(width / height, rel=0.03)


def test_opencv_replaces_a_rescale_module_that_is_not_built(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rescale, how = open_rescale(tmp_path / "rescale.wasm", 640)
    assert how == "opencv"
    assert "not built" in capsys.readouterr().err
    assert images.decode(rescale(camera_frame(np.zeros((10, 10, 3), np.uint8)))).shape == (360, 640, 3)


@pytest.mark.skipif(not RESCALE.exists(), reason="filters are not built")
def test_the_rescale_module_runs_as_a_step() -> None:
    rescale, how = open_rescale(RESCALE, 320)
    assert how == "rescale.wasm"
    assert images.decode(rescale(camera_frame(np.zeros((10, 10, 3), np.uint8)))).shape == (180, 320, 3)
    with pytest.raises(DetectorError, match="rescale step"):
        rescale(b"no picture")


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"persons\.json"):
        read_folder(tmp_path)
    (tmp_path / "persons.json").write_text('[{"file": 3}]')
    with pytest.raises(DetectorError, match="file"):
        read_folder(tmp_path)


def evaluate(folder: Path, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "detector", "eval", str(folder), "--json", *options]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=True, timeout=100)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_a_small_folder_of_real_photos(default_manifest: Path, tmp_path: Path) -> None:
    boxes = {"astronaut.png": [[0.0, 10.0, 512.0, 360.0]], "chelsea.png": [], "camera.png": [[40.0, 0.0, 512.0, 270.0]]}
    for name in boxes:
        assert cv2.imwrite(str(tmp_path / f"{name}.jpg"), images.decode(photo(name).read_bytes()))
    persons = [{"file": f"{name}.jpg", "person_boxes": b} for name, b in boxes.items()]
    (tmp_path / "persons.json").write_text(json.dumps(persons))
    result = evaluate(tmp_path, "--model", str(default_manifest))
    assert (result["with_people"], result["found"], result["without_people"], result["false"]) == (2, 2, 1, 0)


@pytest.mark.skipif(not LABELLED.exists(), reason="the labelled photos are not here")
def test_default_model_reaches_its_figures(default_manifest: Path) -> None:
    result = evaluate(LABELLED, "--model", str(default_manifest))
    assert (result["with_people"], result["without_people"]) == (16, 14)
    assert result["found"] >= 15
    assert result["false"] <= 1


def test_detector_labels_the_demos_scenes_correctly(default_manifest: Path, tmp_path: Path) -> None:
    command = [sys.executable, "scripts/scenes.py", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=100)
    assert done.returncode == 0, done.stdout + done.stderr
    person = json.loads((tmp_path / "scenes.json").read_bytes())["person"]
    by_camera = {c: [p for name, p in person.items() if name.startswith(c)] for c in ("porch", "garage")}
    for shot in range(0, 4, 2):  # two shots per arrival
        first = [scenes[shot] for scenes in by_camera.values()]
        assert sorted(first) == [False, True]
    for name in person:
        assert images.decode((tmp_path / name).read_bytes()).shape == (1080, 1920, 3)
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=100)
    assert "up to date" in again.stdout
