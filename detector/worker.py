"""The detector as a step's program: `python -m detector.worker` answers events on stdin with labels on stdout.

For each event it writes one line `{"id": …, "events": [{"type": "image.labels", "data": …}, …]}` with one event per
picture of the input, or `{"id": …, "error": …}` when a picture cannot be read. `data` is the input's data (camera,
device, …) with `labels`, `model`, `provider`, `provider_wanted`, `ms`, `width`, `height`; the picture is passed on by its
CID. A line that is not an event ends the program with exit code 2, a model that cannot be loaded with 3.

While a picture is in the model, a second thread reads and decodes the next picture. The first line on stderr is
`detector: ready model=… provider=… wanted=…`. If a requested GPU is not used, the next line is
`detector: warning no-gpu provider=cpu wanted=cuda reason=…`.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from detector.detect import Detector, Prepared
from detector.engines import PROVIDERS, cpu_threads
from detector.errors import DetectorError, ImageError
from detector.images import MAX_FILE
from detector.manifest import load_model

MAX_LINE = 1 << 20
"""Longest event line in bytes (an event has at most 256 KiB)."""
MAX_PICTURES = 32
EXIT_BAD_INPUT = 2
EXIT_NO_MODEL = 3


class BadEvent(DetectorError):
    """A line on stdin is not an event, so there is no id to answer to."""


class Picture(NamedTuple):
    """One picture of an event, ready for the model, and its blob."""

    blob: dict[str, Any]
    prepared: Prepared


class Work(NamedTuple):
    """One event: its pictures, or the reason why there are none."""

    id: str
    data: dict[str, Any]
    pictures: list[Picture]
    error: str


class Worker:
    """Reads events from a stream of lines and writes answers to another stream, in order."""

    def __init__(self, detector: Detector, wanted: str) -> None:
        self._detector = detector
        self._wanted = wanted
        self._queue: queue.Queue[Work | Exception | None] = queue.Queue(maxsize=1)

    def run(self, lines: BinaryIO, answers: BinaryIO) -> None:
        """Answer until the lines end. Raises BadEvent."""
        threading.Thread(target=self._read, args=(lines,), name="reader", daemon=True).start()
        while (work := self._queue.get()) is not None:
            if isinstance(work, Exception):
                raise work
            answers.write(json.dumps(self._answer(work), separators=(",", ":")).encode() + b"\n")
            answers.flush()

    def _read(self, lines: BinaryIO) -> None:
        try:
            while line := lines.readline(MAX_LINE + 1):
                self._queue.put(self._prepare(line))
        except Exception as error:  # noqa: BLE001 - raised again where the answers are written
            self._queue.put(error)
        else:
            self._queue.put(None)

    def _prepare(self, line: bytes) -> Work:
        event_id, data, blobs = parse_event(line)
        try:
            pictures = [Picture(b, self._detector.prepare(read_file(b))) for b in blobs]
            if not pictures:
                raise ImageError("the event has no picture")
        except ImageError as error:
            return Work(event_id, data, [], str(error))
        return Work(event_id, data, pictures, "")

    def _answer(self, work: Work) -> dict[str, Any]:
        if work.error:
            _log(f"{work.id}: {work.error}")
            return {"id": work.id, "error": work.error}
        return {"id": work.id, "events": [self._labels(work.data, p) for p in work.pictures]}

    def _labels(self, data: dict[str, Any], picture: Picture) -> dict[str, Any]:
        found = self._detector.find(picture.prepared)
        passed_on = {key: picture.blob[key] for key in ("name", "cid") if key in picture.blob}
        return {
            "type": "image.labels",
            "data": {
                **data,
                "labels": found.labels,
                "model": self._detector.name,
                "provider": self._detector.engine.provider,
                "provider_wanted": self._wanted,
                "ms": round(found.seconds * 1000, 2),
                "width": found.width,
                "height": found.height,
                "blobs": [passed_on],
            },
        }


def parse_event(line: bytes) -> tuple[str, dict[str, Any], list[dict[str, Any]]]:
    """An event line's id, its data without blobs, and its picture blobs. Raises BadEvent."""
    if len(line) > MAX_LINE:
        raise BadEvent(f"an event line is longer than {MAX_LINE} bytes")
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadEvent(f"a line is not JSON: {error}") from error
    event_id = event.get("id") if isinstance(event, dict) else None
    data = event.get("data") if isinstance(event, dict) else None
    if not isinstance(event_id, str) or not isinstance(data, dict):
        raise BadEvent("a line is not an event: it needs an id and data")
    blobs = data.pop("blobs", [])
    if not isinstance(blobs, list) or not all(isinstance(b, dict) and isinstance(b.get("path"), str) for b in blobs):
        raise BadEvent(f"event {event_id}: data.blobs must be a list of objects with a path")
    pictures = [b for b in blobs if str(b.get("type") or "image/").startswith("image/")]
    return event_id, data, pictures[:MAX_PICTURES]


def read_file(blob: dict[str, Any]) -> bytes:
    """A blob's bytes. Raises ImageError."""
    try:
        with Path(blob["path"]).open("rb") as file:
            return file.read(MAX_FILE + 1)
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot read the picture: {error}") from error


def default_model() -> Path:
    """The manifest used without `--model`: $DETECTOR_MODEL, else the default model's manifest in this checkout."""
    if named := os.environ.get("DETECTOR_MODEL"):
        return Path(named)
    return Path(__file__).parent.parent / "build/models/nanodet/manifest.json"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The common options of all programs that open a detector."""
    parser.add_argument(
        "--model", type=Path, metavar="MANIFEST", help="the model's manifest (default: $DETECTOR_MODEL or NanoDet)"
    )
    parser.add_argument("--threshold", type=_fraction, help="lowest score of a label (default: the manifest's)")
    wanted = os.environ.get("DETECTOR_PROVIDER", "auto")
    parser.add_argument("--provider", choices=PROVIDERS, default=wanted if wanted in PROVIDERS else "auto")
    parser.add_argument("--threads", type=int, default=0, help="threads of the model (default: the CPU limit, else 1)")


def open_detector(options: argparse.Namespace) -> Detector:
    """The detector for these options. Raises ModelError."""
    return Detector(
        load_model(options.model or default_model()),
        provider=options.provider,
        threads=options.threads if options.threads > 0 else cpu_threads(),
        threshold=options.threshold,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the worker on the process's own stdin and stdout."""
    parser = argparse.ArgumentParser(prog="python -m detector.worker", description="Names what is in pictures.")
    add_options(parser)
    options = parser.parse_args(arguments)
    # A library's prints would look like the worker's answers, so they go to the log.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        detector = open_detector(options)
    except DetectorError as error:
        _log(str(error))
        return EXIT_NO_MODEL
    _announce(detector, options.provider)
    try:
        with answers:
            Worker(detector, options.provider).run(sys.stdin.buffer, answers)
    except BadEvent as error:
        _log(str(error))
        return EXIT_BAD_INPUT
    except (BrokenPipeError, KeyboardInterrupt):
        return 0
    return 0


def _announce(detector: Detector, wanted: str) -> None:
    engine = detector.engine
    used = f"provider={engine.provider} wanted={wanted}"
    _log(f"ready model={detector.name} {used} threshold={detector.threshold:g}")
    if engine.note:
        _log(f"warning no-gpu {used} reason={engine.note}")


def _log(text: str) -> None:
    print(f"detector: {text}", file=sys.stderr, flush=True)


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 < value <= 1:
        raise argparse.ArgumentTypeError("must be above 0 and at most 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
