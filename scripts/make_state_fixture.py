"""Makes a state fixture: the folders of one node and its sink, for the test that a later version continues with them.

    .venv/bin/python scripts/make_state_fixture.py [--checkout DIR] OUT.tar.xz

runs the agent and the sink of the checkout DIR (this one by default; its `.venv` must have the extras `camera` and `sink`,
and `build/filters` must be built) on loopback and packs their folders twice:

- `killed/`: both got SIGKILL, so their databases have write-ahead logs;
- `stopped/`: both got SIGTERM.

In each are `state/` (the agent's), `messages` (the log that it follows) and `sink/` (the sink's). `facts.json` beside them has
the answers of the agent's API before each end, and the secrets and ports that the test needs.

The story: the node `box` makes a mesh; it has a camera, a blob added by hand and an open token. A phone joins and is then made
known, and two more phones join: three alerts reach the sink. The step `archive` needs a label that no node has, so the first
photo waits for it; later photos are deduplicated there. The sink ends and a last phone joins: its alert waits in the spool.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

HERE = Path(__file__).resolve().parents[1]
HOST = "127.0.0.1"
NAME = "upgrade"
KNOWN, PHONES, NEIGHBOUR = "a4:83:e7:2b:10:5c", [f"02:00:00:00:00:{n:02x}" for n in range(1, 4)], "3c:22:fb:5e:01:7a"
WAIT = 90.0
"""Seconds to wait for each condition, also on a busy machine."""
LEFT_OUT = ("cache", "scratch", "lock")
"""Parts of the state that are not needed again."""

LABELLER = r"""
while IFS= read -r line; do
  id=${line#*\"id\":\"}; id=${id%%\"*}
  cid=${line#*\"cid\":\"}; cid=${cid%%\"*}
  camera=${line#*\"camera\":\"}; camera=${camera%%\"*}
  label='{"name":"person","score":0.9,"box":[0.1,0.1,0.5,0.5]}'
  blob='{"name":"small.jpg","cid":"'$cid'","type":"image/jpeg"}'
  printf '{"id":"%s","events":[{"type":"image.labels","data":{"camera":"%s","labels":[%s],"blobs":[%s]}}]}\n' \
    "$id" "$camera" "$label" "$blob"
done
"""
"""A step in plain shell that labels a person on every photo and passes the photo on."""

PIPELINE = f"""\
version: 1
name: {NAME}
steps:
  wifi:
    tail: auto
    where: wifi-log=true
    wasm: {{module: FILTERS/wifi-join.wasm}}
    emit: [wifi.client.joined, wifi.client.left, wifi.client.roamed]
  arrived:
    after: wifi
    presence: {{away: 30m, settle: 0s}}
  photos:
    after: arrived
    when: "!data.device.known"
    where: camera=true
    camera: {{shots: 1}}
    deadline: 10m
  small:
    after: photos
    wasm: {{module: FILTERS/rescale.wasm, args: [--max, "64"]}}
  labels:
    after: small
    process: {{command: [/bin/sh, -c, {json.dumps(LABELLER)}]}}
    where: wifi-log=true
  alert:
    after: labels
    when: "data.labels[?name=='person' && score >= `0.4`]"
    cooldown: {{key: [root, data.camera], for: 30m}}
    sink: {{photo: labelled}}
    deadline: 400d
  archive:
    after: labels
    where: attic=true
    pick: one
    dedupe: {{key: [data.camera], for: 400d}}
    wasm: {{module: FILTERS/rescale.wasm, args: [--max, "16"]}}
    deadline: 400d
keep: {{matched: 400d, unmatched: 0}}
"""


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("agent", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Node:
    """An agent and a sink of one checkout, in a new folder."""

    def __init__(self, checkout: Path, folder: Path) -> None:
        self.checkout, self.folder = checkout, folder
        self.state, self.messages, self.sink = folder / "state", folder / "messages", folder / "sink"
        self.socket, self.ready = folder / "agent.sock", folder / "sink.ready"
        self.python = checkout / ".venv/bin/python"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    # -- processes -----------------------------------------------------------------------------------------------------

    def _start(self, name: str, *words: str | Path) -> None:
        environ = {k: v for k, v in os.environ.items() if not k.startswith(("EDGE_", "PYTHONPATH"))}
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(
                [str(self.python), *map(str, words)], cwd=self.checkout, stdout=log, stderr=log, env=environ
            )

    def end(self, name: str, number: signal.Signals) -> None:
        """End a process and wait for it."""
        process = self.processes.pop(name)
        process.send_signal(number)
        process.wait(30)

    def start_agent(self, *options: str) -> None:
        """Start the agent and wait for its API."""
        self._start("agent", "-c", "from agent.cli import main; main()", "serve", "--config", self.config, *options)
        self.until("the agent answers", lambda: self.ask("/v1/status") is not None)

    def start_sink(self, port: int = 0) -> dict[str, Any]:
        """Start the sink and wait until it is ready; returns the content of its ready file."""
        self.ready.unlink(missing_ok=True)
        words: list[str | Path] = [
            "-m",
            "cloud_sink",
            "serve",
            "--data",
            self.sink,
            "--host",
            HOST,
            "--port",
            str(port),
            "--json",
        ]
        self._start("sink", *words, "--ready-file", self.ready)
        self.until("the sink is ready", self.ready.exists)
        found: dict[str, Any] = json.loads(self.ready.read_text())
        return found

    @property
    def config(self) -> Path:
        """The agent's configuration file."""
        return self.folder / "config.yaml"

    # -- asking --------------------------------------------------------------------------------------------------------

    def ask(self, path: str) -> Any:
        """The answer of the agent's API; None while it does not answer."""
        with contextlib.closing(_Unix(self.socket)) as connection:
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                return json.loads(answer.read()) if answer.status == 200 else None
            except (OSError, http.client.HTTPException):
                return None

    def cli(self, *words: str | Path) -> Any:
        """`edge-agent WORDS --json` against the agent."""
        command = [self.python, "-c", "from agent.cli import main; main()", "--socket", self.socket, *words, "--json"]
        done = subprocess.run(
            [str(w) for w in command], cwd=self.checkout, capture_output=True, text=True, check=False, timeout=WAIT
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, words))}: {done.stderr}")
        return json.loads(done.stdout)

    def until(self, what: str, look: Callable[[], object]) -> None:
        """Wait until `look()` is true; ends the script with the logs after WAIT seconds."""
        end = time.monotonic() + WAIT
        while not look():
            gone = [n for n, p in self.processes.items() if p.poll() is not None]
            if gone or time.monotonic() > end:
                logs = "\n".join(f.read_text()[-3000:] for f in self.folder.glob("*.log"))
                status = json.dumps(self.ask("/v1/status"), indent=1)
                raise SystemExit(f"{what}: not within {WAIT:.0f} s, ended: {gone}\n{logs}\n{status}")
            time.sleep(0.1)

    def ends(self, step: str) -> dict[str, int]:
        """The number of a step's accepted events, open events, and events of each end."""
        pipelines = self.ask("/v1/status")["pipelines"]
        found = next(s for p in pipelines if p["name"] == NAME for s in p["steps"] if s["step"] == step)
        return {**found["ends"], "accepted": found["accepted"], "open": found["open"]}

    # -- the log -------------------------------------------------------------------------------------------------------

    def log(self, text: str) -> None:
        """Add a line of hostapd's to the log."""
        with self.messages.open("a") as file:
            stamp = time.strftime("%a %b %e %H:%M:%S %Y")
            file.write(f"{stamp} daemon.notice hostapd: phy1-ap0: {text}\n")

    def reads(self) -> bool:
        """True if the filter reported an event; a new log is read from its end."""
        self.log(f"AP-STA-DISCONNECTED {NEIGHBOUR}")
        time.sleep(0.5)
        return self.ends("wifi")["accepted"] > 0 or self.ends("arrived")["accepted"] > 0


def draw(folder: Path, count: int = 8) -> Path:
    """Small pictures that all differ."""
    folder.mkdir(parents=True)
    for n in range(count):
        image = Image.new("RGB", (160, 90), (60, 40 + 20 * n, 200))
        ImageDraw.Draw(image).ellipse((20 + 10 * n, 20, 60 + 10 * n, 80), fill=(220, 180, 120))
        image.save(folder / f"{n:04}.jpg", "JPEG", quality=60)
    return folder


def free_port() -> int:
    """A TCP port of the loopback interface that is free now."""
    with socket.create_server((HOST, 0)) as server:
        port: int = server.getsockname()[1]
        return port


def tell(node: Node) -> dict[str, Any]:
    """The facts that must survive, from the agent's API."""
    status = node.ask("/v1/status")
    keys = ("node", "mesh", "pipelines", "journal", "cameras", "uplink", "version")
    return {
        **{k: status[k] for k in keys},
        "devices": node.ask("/v1/devices"),
        "tokens": node.ask("/v1/tokens"),
        "blobs": node.ask("/v1/blobs"),
        "egress": node.ask("/v1/egress?limit=1000"),
        "history": node.ask(f"/v1/pipelines/{NAME}/history"),
    }


def story(node: Node, out: Path) -> dict[str, Any]:
    """Play the story; `out` contains the folders afterwards."""
    node.sink.mkdir(mode=0o700)
    ready = node.start_sink()
    ports = {"port": free_port(), "enrol_port": free_port()}
    config = {
        "name": "box", "state": str(node.state), "run": str(node.socket), "log": {"format": "text"},
        "mesh": {"listen": HOST, "mdns": False, **ports}, "policy": {"process": True, "docker": False},
        "sources": {"tail": [str(node.messages)]},
    }  # fmt: skip
    node.config.write_text(json.dumps(config))
    node.log("interface state HT_SCAN->ENABLED")
    node.start_agent("--new")
    node.cli("node", "label", "box", "wifi-log=true")
    node.cli("camera", "add", "porch", f"file:{draw(node.folder / 'pictures')}")
    node.cli("sink", "connect", ready["connect"].split()[-1], "--key-file", ready["key_file"])
    labels = {"wifi-log", "camera", "uplink"}
    node.until("the labels are signed", lambda: labels <= node.ask("/v1/status")["node"]["labels"].keys())
    pipeline = node.folder / "upgrade.yaml"
    pipeline.write_text(PIPELINE.replace("FILTERS", str(node.checkout / "build/filters")))
    node.cli("pipeline", "apply", pipeline)
    node.until("the log is read", node.reads)
    by_hand = node.folder / "note.txt"
    by_hand.write_text("a blob that somebody added by hand\n" * 40)
    secrets = {
        "token": node.cli("token", "create", "--ttl", "365d", "--uses", "3", "--label", "attic=true")["token"],
        "by_hand": node.cli("add", by_hand)["cid"],
        "ports": {**ports, "sink": ready["port"]},
        "folder": str(node.folder),
    }
    node.log(f"AP-STA-CONNECTED {KNOWN} auth_alg=sae")
    node.until("a device is heard", lambda: any(d["id"] == KNOWN for d in node.ask("/v1/devices")))
    node.until("its photo has been looked at", lambda: node.ends("alert")["delivered"] == 1)
    node.cli("device", "name", KNOWN, "ada")
    node.cli("device", "know", "ada")
    for phone, n in zip(PHONES[:2], (2, 3), strict=True):
        node.log(f"AP-STA-CONNECTED {phone} auth_alg=sae")
        node.until("its alert is stored", lambda n=n: node.ends("alert")["delivered"] == n)  # type: ignore[misc]
    node.end("sink", signal.SIGKILL)
    pack(node.sink, out / "killed/sink")
    node.start_sink(ready["port"])
    node.end("sink", signal.SIGTERM)
    pack(node.sink, out / "stopped/sink")
    node.log(f"AP-STA-CONNECTED {PHONES[2]} auth_alg=sae")
    node.until("its alert waits", lambda: node.ask("/v1/status")["uplink"]["waiting"] == 1)
    node.until("all else has ended", lambda: [node.ends(s)["open"] for s in ("alert", "archive")] == [1, 1])
    facts = {"killed": tell(node)}
    node.end("agent", signal.SIGKILL)
    keep(node, out / "killed")
    node.start_agent()
    node.until("the log is read", lambda: all(s["ok"] for s in node.ask("/v1/status")["sources"]))
    facts["stopped"] = tell(node)
    node.end("agent", signal.SIGTERM)
    keep(node, out / "stopped")
    return {**facts, "secrets": secrets}


def keep(node: Node, out: Path) -> None:
    """Copy the agent's part."""
    pack(node.state, out / "state")
    shutil.copy(node.messages, out / "messages")


def pack(folder: Path, out: Path) -> None:
    """Copy a folder without the parts that can be made again."""
    shutil.copytree(folder, out, ignore=lambda _, names: [n for n in names if n in LEFT_OUT or n.endswith("-shm")])


@contextlib.contextmanager
def living(checkout: Path) -> Iterator[Node]:
    """A node in a folder that is removed afterwards, with its processes."""
    folder = Path(tempfile.mkdtemp(prefix="edge-fixture-"))
    node = Node(checkout, folder)
    try:
        yield node
    finally:
        for process in node.processes.values():
            process.kill()
            process.wait()
        shutil.rmtree(folder)


def main() -> None:
    """Make the fixture and write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkout", type=Path, default=HERE, help="the checkout whose agent and sink run")
    parser.add_argument("out", type=Path)
    chosen = parser.parse_args()
    os.umask(0o077)
    checkout = chosen.checkout.resolve()
    with living(checkout) as node, tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary)
        facts = story(node, made)
        commit = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, capture_output=True, text=True, check=True)
        facts |= {"commit": commit.stdout.strip(), "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        (made / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True))
        raw = io.BytesIO()
        with tarfile.open(fileobj=raw, mode="w:xz", preset=9) as tar:
            for part in sorted(made.iterdir()):
                tar.add(part, part.name, filter=_nobody)
    chosen.out.write_bytes(raw.getvalue())
    print(f"{chosen.out}: {len(raw.getvalue()) / 1000:.0f} kB, of {commit.stdout.strip()[:12]}")


def _nobody(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    main()
