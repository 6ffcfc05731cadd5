"""Every decoder finds the boxes in tensors of its family, and refuses tensors of other families."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.decoders.base import Candidates, grid, suppress
from detector.decoders.nanodet import NanoDet
from detector.decoders.ssd import Ssd, make_anchors
from detector.decoders.yolo import YoloV8, Yolox
from detector.errors import ModelError
from detector.manifest import AnchorSpec, InputSpec, NanoDetSpec, SsdSpec, YoloV8Spec, YoloxSpec

SIZE = InputSpec(width=128, height=96)
CLASSES = 3
STRIDES = [8, 16, 32]
PLACES = [len(grid(128, 96, s)) for s in STRIDES]

places = st.integers(0, sum(PLACES) - 1)
scores = st.floats(0.5, 1.0, width=32)
sides = st.lists(st.integers(0, 7), min_size=4, max_size=4)


def centre_and_stride(place: int, offset: float) -> tuple[np.ndarray[Any, Any], int]:
    """A place's position, in pixels."""
    for stride, count in zip(STRIDES, PLACES, strict=True):
        if place < count:
            columns = 128 // stride
            return (np.array([place % columns, place // columns]) + offset) * stride, stride
        place -= count
    raise AssertionError(place)


def nanodet_tensors(place: int, label: int, score: float, bins: list[int]) -> tuple[Any, Any]:
    """Class scores and distances in which one place has certain values, in whole bins."""
    classes = np.zeros((1, sum(PLACES), CLASSES), np.float32)
    classes[0, place, label] = score
    distances = np.zeros((1, sum(PLACES), 4, 8), np.float32)
    distances[0, place, range(4), bins] = 100
    return classes, distances.reshape(1, -1, 32)


@given(place=places, label=st.integers(0, 2), score=scores, bins=sides, merged=st.booleans())
def test_nanodet_finds_the_box_that_was_written(
    place: int, label: int, score: float, bins: list[int], merged: bool
) -> None:
    classes, distances = nanodet_tensors(place, label, score, bins)
    if merged:
        outputs = {"all": np.concatenate([classes, distances], axis=2)}
    else:
        edges = np.cumsum(PLACES)[:-1]
        parts = [*np.split(classes, edges, axis=1)[::-1], *np.split(distances, edges, axis=1)]
        outputs = {str(i): a for i, a in enumerate(parts)}
    found = NanoDet(NanoDetSpec(bins=8), SIZE, CLASSES).decode(outputs, 0.5)
    (x, y), stride = centre_and_stride(place, 0.5)
    left, top, right, bottom = (b * stride for b in bins)
    assert found.corners[0].tolist() == pytest.approx([x - left, y - top, x + right, y + bottom])
    assert (found.classes.tolist(), found.scores.tolist()) == ([label], [pytest.approx(score)])


def test_nanodet_reads_logits_and_plus_centres_if_configured() -> None:
    classes, distances = nanodet_tensors(0, 1, 2.0, [0, 0, 1, 1])
    classes[classes == 0] = -9
    spec = NanoDetSpec(bins=8, sigmoid=True, centre=0.0)
    found = NanoDet(spec, SIZE, CLASSES).decode({"all": np.concatenate([classes, distances], axis=2)}, 0.5)
    assert found.scores.tolist() == pytest.approx([0.8808], abs=1e-4)
    assert found.corners.tolist() == [pytest.approx([0, 0, 8, 8], abs=1e-4)]


boxes = st.tuples(st.floats(0, 128), st.floats(0, 96), st.floats(1, 100), st.floats(1, 90))


@given(place=places, label=st.integers(0, 2), box=boxes, decoded=st.booleans())
def test_yolox_finds_the_box_that_was_written(place: int, label: int, box: tuple[float, ...], decoded: bool) -> None:
    row = np.zeros((1, sum(PLACES), 5 + CLASSES), np.float32)
    corner, stride = centre_and_stride(place, 0)
    centre, size = np.array(box[:2]), np.array(box[2:])
    row[0, place, 4], row[0, place, 5 + label] = 0.9, 0.8
    row[0, place, :4] = [*centre, *size] if decoded else [*((centre - corner) / stride), *np.log(size / stride)]
    found = Yolox(YoloxSpec(decoded=decoded), SIZE, CLASSES).decode({"output": row}, 0.5)
    assert found.corners[0].tolist() == pytest.approx([*(centre - size / 2), *(centre + size / 2)], abs=0.01)
    assert (found.classes.tolist(), found.scores.tolist()) == ([label], [pytest.approx(0.72)])


@given(place=places, label=st.integers(0, 2), box=boxes, turned=st.booleans(), normalised=st.booleans())
def test_yolov8_finds_the_box_in_normal_and_transposed_outputs(
    place: int, label: int, box: tuple[float, ...], turned: bool, normalised: bool
) -> None:
    a = np.zeros((1, 4 + CLASSES, sum(PLACES)), np.float32)
    centre, size = np.array(box[:2]), np.array(box[2:])
    a[0, :4, place] = np.concatenate([centre, size]) / (np.array([128, 96, 128, 96]) if normalised else 1)
    a[0, 4 + label, place] = 0.75
    outputs = {"output0": a.transpose(0, 2, 1) if turned else a}
    found = YoloV8(YoloV8Spec(normalised=normalised), SIZE, CLASSES).decode(outputs, 0.5)
    assert found.corners[0].tolist() == pytest.approx([*(centre - size / 2), *(centre + size / 2)], abs=0.01)
    assert (found.classes.tolist(), found.scores.tolist()) == ([label], [0.75])


@settings(max_examples=30)
@given(place=st.integers(0, 1916), label=st.integers(0, 2), box=boxes)
def test_raw_ssd_finds_the_box_that_was_written(place: int, label: int, box: tuple[float, ...]) -> None:
    size = InputSpec(width=300, height=300)
    anchors = make_anchors(AnchorSpec(), size)
    assert anchors.shape == (1917, 4)
    ax, ay, aw, ah = anchors[place]
    x, y, w, h = (v / 300 for v in box)
    codes = np.zeros((1, 1917, 4), np.float32)
    codes[0, place] = [(y - ay) / ah * 10, (x - ax) / aw * 10, np.log(h / ah) * 5, np.log(w / aw) * 5]
    logits = np.full((1, 1917, 1 + CLASSES), -9, np.float32)
    logits[0, place, 0], logits[0, place, 1 + label] = 9, 2
    found = Ssd(SsdSpec(anchors=AnchorSpec()), size, CLASSES).decode({"boxes": codes, "classes": logits}, 0.5)
    cx, cy, bw, bh = box
    expected = [cx - bw / 2, cy - bh / 2, cx + bw / 2, cy + bh / 2]
    assert found.corners[0].tolist() == pytest.approx(expected, abs=0.05)
    assert (found.classes.tolist(), found.scores.tolist()) == ([label], [pytest.approx(0.8808, abs=1e-4)])


def processed(count: float) -> dict[str, Any]:
    """Outputs of TFLite's post-processing: three boxes, of which `count` are valid; one has an unknown class."""
    return {
        "boxes": np.array([[[0.25, 0.5, 0.75, 1.0], [0, 0, 1, 1], [0.1, 0.1, 0.2, 0.2]]], np.float32),
        "classes": np.array([[2, 99, 0]], np.float32),
        "scores": np.array([[0.9, 0.8, 0.7]], np.float32),
        "count": np.array([count], np.float32),
    }


def test_processed_ssd_keeps_valid_boxes_of_known_classes() -> None:
    found = Ssd(SsdSpec(), SIZE, CLASSES).decode(processed(2), 0.5)
    assert found.corners.tolist() == [[64, 24, 128, 72]]
    assert found.classes.tolist() == [2]
    assert len(Ssd(SsdSpec(), SIZE, CLASSES).decode(processed(3), 0.5).scores) == 2
    assert len(Ssd(SsdSpec(), SIZE, CLASSES).decode(processed(3), 0.75).scores) == 1


@pytest.mark.parametrize(
    "decoder",
    [
        NanoDet(NanoDetSpec(), SIZE, CLASSES),
        Yolox(YoloxSpec(), SIZE, CLASSES),
        YoloV8(YoloV8Spec(), SIZE, CLASSES),
        Ssd(SsdSpec(), SIZE, CLASSES),
        Ssd(SsdSpec(anchors=AnchorSpec()), SIZE, CLASSES),
    ],
    ids=["nanodet", "yolox", "yolov8", "ssd", "ssd-raw"],
)
@pytest.mark.parametrize(
    "outputs",
    [{"a": np.zeros((1, 10, 5))}, {"a": np.zeros((1, 10, 9)), "b": np.zeros((1, 10, 4))}, {"a": np.zeros((1,))}],
    ids=["narrow", "two", "scalar"],
)
def test_outputs_of_another_family_are_refused(decoder: Any, outputs: dict[str, Any]) -> None:
    with pytest.raises(ModelError):
        decoder.decode(outputs, 0.5)


def overlap(a: Any, b: Any) -> float:
    """Intersection over union, the slow way."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union


some_boxes = st.lists(
    st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(1, 20), st.integers(1, 20), st.integers(0, 2)),
    max_size=25,
)


@given(some=some_boxes, limit=st.floats(0.1, 0.9))
def test_suppression_keeps_one_box_per_object_and_single_boxes(some: list[tuple[int, ...]], limit: float) -> None:
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in some], float).reshape(-1, 4)
    classes = np.array([c for *_, c in some], int)
    ranked = np.linspace(1, 0.5, len(some))
    kept = suppress(Candidates(corners, ranked, classes), limit)
    for i in range(len(kept.scores)):
        for j in range(i):
            same = kept.classes[i] == kept.classes[j]
            assert not same or overlap(kept.corners[i], kept.corners[j]) <= limit + 1e-6
    for box, score, label in zip(corners, ranked, classes, strict=True):
        covered = (
            overlap(box, b) > limit - 1e-6 and s >= score and c == label
            for b, s, c in zip(kept.corners, kept.scores, kept.classes, strict=True)
        )
        assert any(covered)
