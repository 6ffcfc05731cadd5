"""The story on devices: a phone joins at an access point, cameras take photos, a detector names them, the sink gets an alert."""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from demo import phone
from hil.device import Device, until
from hil.inventory import Phone
from hil.standins import DeviceError
from hil.standins.process import Process

PIPELINE = "hil-story"
ARRIVAL = 120.0
"""Seconds that an arrival may take to become an alert: an emulated processor translates the filter first."""
_PERSON = r"""
{
  match($0, /"id":"[^"]*"/); id = substr($0, RSTART + 6, RLENGTH - 7)
  d = substr($0, index($0, "\"data\":{") + 7); depth = 0
  for (i = 1; i <= length(d); i++) {
    c = substr(d, i, 1)
    if (c == "{") depth++
    if (c == "}" && --depth == 0) break
  }
  printf "{\"id\":\"%s\",\"events\":[{\"type\":\"image.labels\",\"data\":{\"labels\":[{\"name\":\"person\",\"score\":0.9,", id
  printf "\"box\":[0.1,0.1,0.5,0.5]}],%s}}]}\n", substr(d, 2, i - 2)
  fflush()
}
"""
_STANDIN_DETECTOR = f"process: {{command: [/bin/busybox, awk, {json.dumps(_PERSON)}]}}"
"""A step for stand-ins, which have no Docker: it names a person in every photo, and stands for the detector's container."""
_DETECTOR = "docker: {image: edge/detector:1}"


def pipeline(*, standins: bool) -> str:
    """The pipeline of `examples/person-at-the-door.yaml`, without its day of learning."""
    detector = f"{_STANDIN_DETECTOR}\n    where: detector=true" if standins else f"{_DETECTOR}\n    where: docker=true"
    return f"""\
version: 1
name: {PIPELINE}
steps:
  wifi:
    tail: auto
    where: wifi-log=true
    wasm: {{module: edge/wifi-join}}
    emit: [wifi.client.joined, wifi.client.left, wifi.client.roamed, wifi.client.active, wifi.access_point.restarted]
  arrived:
    after: wifi
    presence: {{away: 30m, learn: 0s}}
  photos:
    after: arrived
    when: "!data.device.known"
    where: camera=true
    camera: {{shots: 1}}
    deadline: 60s
  small:
    after: photos
    wasm: {{module: edge/rescale, args: [--max, "640"]}}
  labels:
    after: small
    {detector}
  alert:
    after: labels
    when: "data.labels[?name=='person']"
    sink: {{photo: labelled}}
keep: {{matched: 1d, unmatched: 0}}
"""


class Sink:
    """A real edge-sink of this checkout, at the desk."""

    def __init__(self, folder: Path, address: str, inside: Sequence[str]) -> None:
        self.data = folder / "sink"
        ready = folder / "sink.ready"
        ready.unlink(missing_ok=True)
        command = [*inside, sys.executable, "-m", "cloud_sink", "serve", "--data", str(self.data), "--host", address]
        self._process = Process([*command, "--port", "0", "--ready-file", str(ready), "--json"], folder / "sink.log")
        until("the sink is ready", lambda: ready.exists() or self._ended(), 60.0)
        facts = json.loads(ready.read_bytes())
        self.url: str = facts["connect"].split()[-1]
        self.key = Path(facts["key_file"]).read_text().strip()

    def _ended(self) -> bool:
        if not self._process.alive:
            raise DeviceError(f"the sink ended: {self._process.last_words()}")
        return False

    def alerts(self) -> list[str]:
        """The ids of its alerts, oldest first."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data}/sink.db?mode=ro", uri=True, timeout=10.0)) as db:
            return [str(row[0]) for row in db.execute("SELECT event_id FROM alerts ORDER BY seq")]

    def close(self) -> None:
        """End it."""
        self._process.kill()


def photos(device: Device, folder: str, count: int = 40) -> None:
    """Put a camera's pictures on a device: noise, 1280×720, each different."""
    with tempfile.TemporaryDirectory() as made:
        for n in range(count):
            noise = Image.frombytes("RGB", (80, 45), random.Random(n).randbytes(80 * 45 * 3)).resize((1280, 720))
            noise.save(Path(made) / f"{n:03}.jpg", "JPEG", quality=80)
        Path(made).chmod(0o755)
        device.machine.put(Path(made), folder)


def join(access_point: Device, mac: str) -> None:
    """Write hostapd's lines of a join into the log of an access point, as its syslog daemon writes them."""
    lines = (
        f"{phone.INTERFACE}: STA {mac} IEEE 802.11: associated (aid 3)",
        f"{phone.INTERFACE}: AP-STA-CONNECTED {mac} auth_alg=sae",
    )
    for line in lines:
        access_point.machine.run(["logger", "-p", "daemon.notice", "-t", "hostapd", line]).text()


def join_for_real(real_phone: Phone) -> None:
    """Let the real phone leave, and join again; raises DeviceError where its commands fail."""
    for command in (real_phone.leave, real_phone.join):
        if command:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60.0)
            if done.returncode:
                raise DeviceError(f"the phone does not obey {command[0]}: {done.stderr.strip()[-500:]}")
