"""Composes the demo's camera frames: 1920×1080, from real photographs in scikit-image.

    python scripts/scenes.py [--out build/scenes] [--force] [--no-check]

Makes OUT/porch/*.jpg and OUT/garage/*.jpg; a `file:` camera shows them in the order of their names, one per shot. With
two shots per arrival, the first shot of every arrival shows a person at one camera and nobody at the other. Then the
script runs the rescale step and the detector on each frame and prints the labels; the exit code is 1 when they do not
match the frame. It does nothing when the frames exist and this version of the script made them.

The photographs: astronaut (Eileen Collins, NASA), cameraman and brick (grey, as infra-red cameras see at night),
motorcycle (Middlebury stereo set), rocket (SpaceX), chelsea, coffee; licences: scikit-image's documentation.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from detector.detect import Detector  # noqa: E402
from detector.errors import DetectorError  # noqa: E402
from detector.evaluate import open_rescale, to_jpeg  # noqa: E402
from detector.manifest import load_model  # noqa: E402
from detector.worker import default_model  # noqa: E402

WIDTH, HEIGHT = 1920, 1080
QUALITY = 90
GRAIN = 5.0
"""Standard deviation of the added sensor noise, in grey levels: without noise an upscaled photo makes too small a JPEG."""

Frame = npt.NDArray[np.uint8]


def photo(name: str) -> Frame:
    """A photograph from scikit-image's wheel, as BGR."""
    data = np.frombuffer(files("skimage.data").joinpath(name).read_bytes(), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)  # type: ignore[no-any-return]


def fill(picture: Frame, *, x: float = 0.5, y: float = 0.5) -> Frame:
    """A photo scaled to cover the whole frame; `x`, `y` in 0..1 choose which part stays."""
    height, width = picture.shape[:2]
    scale = max(WIDTH / width, HEIGHT / height)
    size = (max(WIDTH, round(width * scale)), max(HEIGHT, round(height * scale)))
    big = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    left, top = round((size[0] - WIDTH) * x), round((size[1] - HEIGHT) * y)
    return big[top : top + HEIGHT, left : left + WIDTH].copy()


# The astronaut's place in her photo: outside the outline is certainly background, inside is certainly the astronaut.
_OUTLINE: dict[str, Any] = {
    "head": ((224, 88), (84, 90), 0),
    "neck": ((213, 222), (104, 74), 25),
    "body": [(4, 511), (10, 370), (40, 290), (110, 225), (330, 225), (352, 300), (352, 511)],
    "helmet": ((394, 452), (117, 112), 0),
}
_INSIDE: dict[str, Any] = {
    "head": ((222, 98), (50, 78), 0),
    "neck": ((213, 222), (88, 55), 25),
    "body": [(40, 511), (60, 360), (110, 260), (150, 220), (290, 220), (325, 290), (320, 511)],
    "helmet": ((394, 458), (100, 94), 0),
}


def cut_out(picture: Frame) -> npt.NDArray[np.float32]:
    """The share of each pixel that belongs to the astronaut, in 0..1: GrabCut from a rough outline."""
    height, width = picture.shape[:2]
    mask = np.full((height, width), cv2.GC_BGD, np.uint8)
    for shape, sure in ((_OUTLINE, cv2.GC_PR_FGD), (_INSIDE, cv2.GC_FGD)):
        cv2.ellipse(mask, *shape["head"], 0, 360, sure, -1)
        cv2.ellipse(mask, *shape["neck"], 0, 360, sure, -1)
        cv2.fillPoly(mask, [np.array(shape["body"])], sure)
        cv2.ellipse(mask, *shape["helmet"], 0, 360, sure, -1)
    cv2.setRNGSeed(1)
    cv2.grabCut(picture, mask, None, np.zeros((1, 65)), np.zeros((1, 65)), 6, cv2.GC_INIT_WITH_MASK)
    inside = ((mask == cv2.GC_FGD) | (mask == cv2.GC_PR_FGD)).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(inside)
    body = (parts == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))).astype(np.uint8)
    body = cv2.erode(body, np.full((3, 3), 1, np.uint8))
    return cv2.GaussianBlur(body.astype(np.float32), (0, 0), 1.2)  # type: ignore[no-any-return]


def astronaut_before(background: Frame, *, height: int, left: int, light: float = 1.0) -> Frame:
    """The astronaut standing at the lower edge of a background, `height` pixels tall; `light` darkens her."""
    picture = photo("astronaut.png")
    scale = height / picture.shape[0]
    size = (round(picture.shape[1] * scale), height)
    person = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC).astype(np.float32) * light
    share = cv2.resize(cut_out(picture), size, interpolation=cv2.INTER_LINEAR)[:, :, None]
    frame = background.astype(np.float32)
    x0, x1 = max(0, left), min(WIDTH, left + size[0])
    part = slice(x0 - left, x1 - left)
    below = frame[HEIGHT - height :, x0:x1]
    frame[HEIGHT - height :, x0:x1] = below * (1 - share[:, part]) + person[:, part] * share[:, part]
    return np.clip(frame, 0, 255).astype(np.uint8)


def grain(frame: Frame, seed: int) -> Frame:
    """Sensor noise, the same at every run."""
    noise = np.random.default_rng(seed).normal(0, GRAIN, frame.shape).astype(np.float32)
    return np.clip(frame + noise, 0, 255).astype(np.uint8)


def porch() -> Frame:
    """Outside at dusk."""
    return fill(photo("rocket.jpg"), y=1.0)


def garage() -> Frame:
    """Inside, a motorcycle."""
    return fill(photo("motorcycle_left.png"), y=0.7)


SCENES: dict[str, list[tuple[str, bool, Callable[[], Frame]]]] = {
    "porch": [
        ("astronaut-at-dusk", True, lambda: astronaut_before(porch(), height=700, left=300, light=0.95)),
        ("cat", False, lambda: fill(photo("chelsea.png"), y=0.3)),
        ("cameraman-by-night", True, lambda: fill(photo("camera.png"), y=0.1)),
        ("nobody-at-dusk", False, porch),
    ],
    "garage": [
        ("motorcycle", False, garage),
        ("coffee", False, lambda: fill(photo("coffee.png"), y=0.4)),
        ("drive-by-night", False, lambda: fill(photo("brick.png"))),
        ("astronaut-in-the-garage", True, lambda: astronaut_before(garage(), height=1060, left=20)),
    ],
}


def names() -> dict[str, bool]:
    """Every frame's path below OUT, with True if it shows a person."""
    return {
        f"{camera}/{i:02d}-{name}.jpg": person
        for camera, scenes in SCENES.items()
        for i, (name, person, _) in enumerate(scenes, start=1)
    }


def made_by() -> str:
    """A hash of everything that determines the frames."""
    return hashlib.sha256(Path(__file__).read_bytes() + cv2.__version__.encode()).hexdigest()


def is_made(out: Path) -> bool:
    """True if all frames exist and this version of the script made them."""
    try:
        stamp = json.loads((out / "scenes.json").read_bytes())
    except (OSError, ValueError):
        return False
    return bool(stamp.get("made_by") == made_by()) and all((out / name).is_file() for name in names())


def compose(out: Path) -> None:
    """Make all frames and delete the frames of earlier versions."""
    paths = iter(names())
    seed = 0
    for camera, scenes in SCENES.items():
        (out / camera).mkdir(parents=True, exist_ok=True)
        for old in (out / camera).glob("*.jpg"):
            old.unlink()
        for _, _, make in scenes:
            seed += 1
            (out / next(paths)).write_bytes(to_jpeg(grain(make(), seed), QUALITY))
    stamp: dict[str, Any] = {"made_by": made_by(), "person": names()}
    (out / "scenes.json").write_text(json.dumps(stamp, indent=2) + "\n")


def check(out: Path) -> bool:
    """Process every frame as the pipeline does and print its labels; True if all labels are right."""
    detector = Detector(load_model(default_model()))
    rescale, how = open_rescale(ROOT / "build/filters/rescale.wasm", 640)
    print(f"{'scene':44} {'size':>8} {'person':>7}  named ({detector.name}, threshold {detector.threshold:g}, {how})")
    right = True
    for name, person in names().items():
        frame = (out / name).read_bytes()
        labels = detector.find(detector.prepare(rescale(frame))).labels
        best = max((label["score"] for label in labels if label["name"] == "person"), default=0.0)
        right &= (best > 0) == person
        verdict = "" if (best > 0) == person else "  WRONG"
        said = ", ".join(f"{label['name']} {label['score']:.2f}" for label in labels) or "-"
        print(f"{name:44} {len(frame) // 1000:>5} kB {'yes' if person else 'no':>7}  {said}{verdict}")
    return right


def main() -> int:
    """Make, check, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "build/scenes")
    parser.add_argument("--force", action="store_true", help="make the frames again")
    parser.add_argument("--no-check", action="store_true", help="do not check the frames with the detector")
    options = parser.parse_args()
    if is_made(options.out) and not options.force:
        print(f"scenes: {options.out} is up to date")
        return 0
    try:
        compose(options.out)
        if options.no_check or check(options.out):
            return 0
    except DetectorError as error:
        print(f"scenes: {error}", file=sys.stderr)
        return 1
    (options.out / "scenes.json").unlink()
    print("scenes: the detector's labels do not match the frames", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
