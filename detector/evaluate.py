"""`python -m detector eval DIR`: measures how well the pipeline finds people in a labelled folder.

DIR contains photos and `persons.json`: a list of `{"file", "person_boxes": [[ymin, xmin, ymax, xmax], …]}` in pixels.
Each photo is placed whole in a 1920×1080 frame, like a camera's frame. The frame goes through the rescale step and then
to the detector. The unit is the photo, as for an alert: found means that a person has a score at or above the threshold.
Photos with only people smaller than `--least` of the picture do not count, and are shown separately.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np

from detector import images
from detector.detect import Detector
from detector.errors import DetectorError
from detector.worker import open_detector

FRAME_WIDTH, FRAME_HEIGHT = 1920, 1080
CAMERA_QUALITY = 92
"""JPEG quality of the frames, as IP cameras and webcams deliver at their better settings."""
RESCALE_QUALITY = 85

Rescale = Callable[[bytes], bytes]


class Labelled(msgspec.Struct):
    """One photo of the folder; a box is [ymin, xmin, ymax, xmax] in pixels."""

    file: str
    person_boxes: list[list[float]]
    licence: str = ""


class Judged(msgspec.Struct):
    """One photo and its result: the best person's score, and the share of the largest labelled person."""

    file: str
    largest: float
    score: float
    found: bool


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `eval`, in addition to the common options."""
    module = Path(__file__).parent.parent / "build/filters/rescale.wasm"
    parser.add_argument("folder", type=Path, metavar="DIR", help="photos with their persons.json")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--rescale", type=Path, default=module, metavar="WASM", help=f"the rescale step (default {module})"
    )
    parser.add_argument("--max", type=int, default=640, help="longest side after the rescale step (default 640)")
    parser.add_argument(
        "--least", type=float, default=0.01, help="smallest share of the picture that counts (default 0.01)"
    )


def run(options: argparse.Namespace) -> int:
    """Measure and print. Raises DetectorError."""
    photos = read_folder(options.folder)
    detector = open_detector(options)
    rescale, how = open_rescale(options.rescale, options.max)
    judged = [judge(detector, rescale, options.folder, photo) for photo in photos]
    result = summary(judged, options.least)
    result |= {
        "threshold": detector.threshold,
        "model": detector.name,
        "provider": detector.engine.provider,
        "rescale": how,
    }
    if options.json:
        print(json.dumps(result | {"photos": [msgspec.to_builtins(j) for j in judged]}))
    else:
        _show(result, judged, options.least)
    return 0


def read_folder(folder: Path) -> list[Labelled]:
    """The labelled photos. Raises DetectorError."""
    try:
        return msgspec.json.decode((folder / "persons.json").read_bytes(), type=list[Labelled])
    except OSError as error:
        raise DetectorError(f"{folder}/persons.json: {error.strerror}") from error
    except msgspec.DecodeError as error:
        raise DetectorError(f"{folder}/persons.json: {error}") from error


def judge(detector: Detector, rescale: Rescale, folder: Path, photo: Labelled) -> Judged:
    """Run the detector on one photo, as a camera would deliver it. Raises DetectorError."""
    try:
        picture = images.decode((folder / photo.file).read_bytes())
    except OSError as error:
        raise DetectorError(f"{folder / photo.file}: {error.strerror}") from error
    height, width = picture.shape[:2]
    shares = [(box[2] - box[0]) * (box[3] - box[1]) / (height * width) for box in photo.person_boxes]
    found = detector.find(detector.prepare(rescale(camera_frame(picture))))
    score = max((label["score"] for label in found.labels if label["name"] == "person"), default=0.0)
    return Judged(photo.file, round(max(shares, default=0.0), 4), score, score > 0)


def camera_frame(picture: images.Frame) -> bytes:
    """A photo placed whole in the middle of a 1920×1080 frame, as a JPEG file."""
    height, width = picture.shape[:2]
    scale = min(FRAME_WIDTH / width, FRAME_HEIGHT / height)
    size = (round(width * scale), round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    frame = np.zeros((FRAME_HEIGHT, FRAME_WIDTH, 3), np.uint8)
    left, top = (FRAME_WIDTH - size[0]) // 2, (FRAME_HEIGHT - size[1]) // 2
    frame[top : top + size[1], left : left + size[0]] = small
    return to_jpeg(frame, CAMERA_QUALITY)


def to_jpeg(frame: images.Frame, quality: int) -> bytes:
    """Pixels as a JPEG file."""
    done, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise DetectorError("cannot encode a frame")
    return bytes(data)


def open_rescale(module: Path, longest: int) -> tuple[Rescale, str]:
    """The rescale step and its name; OpenCV replaces a module that is not built, with a line on stderr."""
    if not module.exists():
        print(f"detector: {module} is not built: using OpenCV instead", file=sys.stderr)
        return lambda jpeg: _rescale_cv2(jpeg, longest), "opencv"
    return _wasm_rescale(module, longest), module.name


def _rescale_cv2(jpeg: bytes, longest: int) -> bytes:
    frame = images.decode(jpeg)
    scale = min(1.0, longest / max(frame.shape[:2]))
    size = (round(frame.shape[1] * scale), round(frame.shape[0] * scale))
    return to_jpeg(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), RESCALE_QUALITY)


def _wasm_rescale(path: Path, longest: int) -> Rescale:
    """The module, run according to the step contract: an event on stdin, the photo under /blobs."""
    import wasmtime

    engine = wasmtime.Engine()
    module = wasmtime.Module.from_file(engine, str(path))
    linker = wasmtime.Linker(engine)
    linker.define_wasi()

    def rescale(jpeg: bytes) -> bytes:
        with tempfile.TemporaryDirectory(prefix="edge-eval.") as temporary:
            work = Path(temporary)
            for name in ("blobs", "outputs"):
                (work / name).mkdir()
            (work / "blobs/photo.jpg").write_bytes(jpeg)
            blob = {
                "name": "photo.jpg",
                "cid": "photo",
                "type": "image/jpeg",
                "size": len(jpeg),
                "path": "/blobs/photo.jpg",
            }
            (work / "stdin").write_text(json.dumps({"id": "1", "data": {"blobs": [blob]}}) + "\n")
            wasi = wasmtime.WasiConfig()
            wasi.argv = [path.name, "--max", str(longest)]
            wasi.stdin_file, wasi.stdout_file = str(work / "stdin"), str(work / "stdout")
            wasi.inherit_stderr()
            wasi.preopen_dir(str(work / "blobs"), "/blobs")
            wasi.preopen_dir(str(work / "outputs"), "/outputs")
            store = wasmtime.Store(engine)
            store.set_wasi(wasi)
            try:
                start: Any = linker.instantiate(store, module).exports(store)["_start"]
                start(store)
            except wasmtime.ExitTrap as end:
                if end.code:
                    raise DetectorError(f"{path} ended with exit code {end.code}") from end
            return _answered(work, jpeg)

    return rescale


def _answered(work: Path, jpeg: bytes) -> bytes:
    answer = json.loads((work / "stdout").read_text())
    if "error" in answer:
        raise DetectorError(f"the rescale step failed: {answer['error']}")
    blob = answer["events"][0]["data"]["blobs"][0]
    return jpeg if blob.get("cid") == "photo" else (work / "outputs" / Path(blob["name"]).name).read_bytes()


def summary(judged: list[Judged], least: float) -> dict[str, Any]:
    """Counts, precision and recall over the photos that count; None where the divisor is 0."""
    with_people = [j for j in judged if j.largest >= least]
    without = [j for j in judged if j.largest == 0]
    small = [j for j in judged if 0 < j.largest < least]
    found, false = sum(j.found for j in with_people), sum(j.found for j in without)
    return {
        "with_people": len(with_people),
        "found": found,
        "without_people": len(without),
        "false": false,
        "small_people": len(small),
        "small_found": sum(j.found for j in small),
        "precision": round(found / (found + false), 4) if found + false else None,
        "recall": round(found / len(with_people), 4) if with_people else None,
    }


def _show(result: dict[str, Any], judged: list[Judged], least: float) -> None:
    print(f"{'photo':32} {'largest person':>14} {'score':>6}")
    for j in judged:
        if j.largest == 0:
            verdict = "FALSE" if j.found else ""
        else:
            verdict = "found" if j.found else "MISSED" if j.largest >= least else "missed (small)"
        print(f"{j.file:32} {j.largest:>13.1%} {j.score:>7.3f}  {verdict}")
    print(
        f"model {result['model']} on {result['provider']}, threshold {result['threshold']:g}, "
        f"rescale by {result['rescale']}"
    )
    print(f"photos with a person of {least:.0%} or more: {result['found']} of {result['with_people']} found")
    print(f"photos without people: {result['false']} of {result['without_people']} with a false alarm")
    print(f"photos with smaller people only: {result['small_found']} of {result['small_people']} found")
    print(f"precision {_percent(result['precision'])}, recall {_percent(result['recall'])}")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
