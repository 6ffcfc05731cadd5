"""The demo's building for benchmarks: four agents and a sink as processes, with the benchmark's pipeline."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.rescale import by_opencv
from demo import phone
from demo.building import Building
from demo.environment import Checkout

NAME = "person-at-the-door"
Change = Callable[[str], str]
POLL = 0.001


class BenchBuilding(Building):
    """A building that changes its pipeline's text with `change` before it applies it."""

    def __init__(self, folder: Path, checkout: Checkout, change: Change) -> None:
        super().__init__(folder, checkout, docker=False, say=lambda _text: None)
        self.change = change

    def _pipeline_file(self) -> Path:
        file = super()._pipeline_file()
        file.write_text(self.change(file.read_text()))
        return file


@contextlib.contextmanager
def running(
    change: Change = lambda text: text, scenes: Callable[[Path], None] | None = None
) -> Iterator[BenchBuilding]:
    """A running building. `scenes` may fill the folder in its argument with `porch/` and `garage/` pictures."""
    with tempfile.TemporaryDirectory(prefix="edge-bench-") as temporary:
        folder = Path(temporary)
        checkout = Checkout()
        if scenes is not None:
            checkout.scenes = folder / "scenes"
            scenes(checkout.scenes)
        made = BenchBuilding(folder / "agents", checkout, change)
        made.folder.mkdir()
        try:
            made.start()
            yield made
        finally:
            made.stop()


def only_people(folder: Path) -> None:
    """One scene with a person for each camera, 1920×1080."""
    built = Checkout().scenes
    for camera, scene in (("porch", "01-astronaut-at-dusk.jpg"), ("garage", "04-astronaut-in-the-garage.jpg")):
        (folder / camera).mkdir(parents=True)
        shutil.copy(built / camera / scene, folder / camera)


def small_people(folder: Path) -> None:
    """The same pictures, 640 pixels wide, as the rescale step makes them."""
    only_people(folder)
    for picture in folder.glob("*/*.jpg"):
        picture.write_bytes(by_opencv(picture.read_bytes()))


class Stored:
    """Reads the sink's database every millisecond from another process and notes when an alert is committed."""

    def __init__(self, building: BenchBuilding) -> None:
        self.at: dict[str, tuple[str, float]] = {}
        """For each alert: its root, and the time when it was seen (monotonic, in seconds)."""
        self._file = building.sink_data / "sink.db"
        self._ready, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ready.wait()

    def _run(self) -> None:
        with contextlib.closing(sqlite3.connect(f"file:{self._file}?mode=ro", uri=True, isolation_level=None)) as db:
            version, newest = -1, db.execute("SELECT coalesce(max(seq), 0) FROM alerts").fetchone()[0]
            self._ready.set()
            while not self._ended.wait(POLL):
                (now,) = db.execute("PRAGMA data_version").fetchone()
                if now == version:
                    continue
                version, at = now, time.monotonic()
                for seq, ident, root in db.execute("SELECT seq, event_id, root FROM alerts WHERE seq > ?", (newest,)):
                    newest = seq
                    self.at[ident] = (root, at)

    def __enter__(self) -> Stored:
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()


def join(building: BenchBuilding) -> tuple[float, float]:
    """Let a new phone join; returns the times (monotonic and wall clock) just before its line was written."""
    text = phone.joins(phone.new_mac())
    at = time.monotonic(), time.time()
    phone.append(building.log, text)
    return at
