"""The checks of `doctor` on this device, without a running agent: one function each."""

from __future__ import annotations

import os
import shutil
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import msgspec

from agent.api import Client, read, results
from agent.cli.output import count, size
from agent.config import Config, load_config
from agent.errors import EdgeError, Unreachable, in_words
from agent.health import clock_synchronised
from agent.platforms import Platform, detect, placed
from agent.terminal import missing

MDNS = "224.0.0.251"
"""The IPv4 group of multicast DNS (RFC 6762)."""

SHM = Path("/dev/shm")  # noqa: S108
SYSLOG = "let it send its syslog to a node that has an agent (docs/access-points.md)"
STATES: dict[str, Literal["info", "fail"]] = {"info": "info", "error": "fail"}
"""A finding's state by the severity of a warning; others are `warn`."""


class Finding(results.Check, omit_defaults=False):
    """The result of a check here or in the running agent."""

    remedy: str = ""


class Device(msgspec.Struct):
    """The configuration, and whether an agent runs here: for all checks."""

    config: Config
    running: bool
    platform: Platform


def look(file: str | None, socket_path: Path | None) -> Iterator[Finding]:
    """The findings of all checks, one after the other; a check that fails inside is a finding too."""
    try:
        config = load_config(file)
    except EdgeError as e:
        yield Finding("configuration", "fail", e.message, e.hint)
        config = Config()
    else:
        yield Finding("configuration", "ok", _values(len(config.origins)))
    running, findings = _agent(socket_path or config.run)
    yield from findings
    device = Device(running or placed(config), running is not None, detect(docker_host=config.docker.host))
    for check in CHECKS:
        try:
            yield from check(device)
        except (OSError, EdgeError) as e:
            yield Finding(check.__name__.strip("_"), "warn", f"cannot be checked: {in_words(e)}", "run it as root")


def _agent(path: Path) -> tuple[Config | None, list[Finding]]:
    """The running agent's configuration and its own findings."""
    try:
        with Client(path, timeout=10) as client:
            status = read(client.get("/v1/status"), results.Status)
            inside = read(client.get("/v1/checks"), list[Finding])
            rows = read(client.get("/v1/config"), list[results.ConfigValue])
        config = load_config(os.devnull, environ={}, overrides={r.key: r.value for r in rows})
    except Unreachable as e:
        return None, [Finding("agent", "warn", e.message, e.hint)]
    except EdgeError as e:
        return None, [Finding("agent", "fail", e.message, e.hint)]
    node = status.node
    out = [Finding("agent", "ok", f"{node.name} runs as {node.role}, version {status.version}"), *inside]
    for w in status.warnings:
        if not any((f.check, f.text) == (w.code, w.text) for f in out):
            out.append(Finding(w.code, STATES.get(w.severity, "warn"), w.text, w.remedy))
    return config, out


def _values(number: int) -> str:
    return "all values are defaults" if not number else f"{count(number, 'value')} set, the rest are defaults"


def _warned(check: str, wrong: bool, text: str, remedy: str) -> Finding:
    """A warning with its hint if something is wrong, else a good finding."""
    return Finding(check, "warn", text, remedy) if wrong else Finding(check, "ok", text)


def hardware(device: Device) -> Iterator[Finding]:
    """The facts of this device; a processor without NEON fails, since no library of the agent runs on it."""
    p = device.platform
    words = [p.model, p.name, p.arch, f"{count(p.cores, 'core')}", size(p.memory) if p.memory else "", p.init, p.libc]
    yield Finding("device", "ok", ", ".join(w for w in words if w))
    if p.neon is False:
        yield Finding("processor", "fail", "this processor has no NEON, which the agent's libraries need", SYSLOG)
    if p.small_flash:
        text = f"{size(p.flash.total)} at {p.state}: journal, logs and blobs are in memory, and a power cut loses them"
        yield Finding("flash", "info", text)


def state(device: Device) -> Iterator[Finding]:
    """The state folder exists, belongs to this user and is closed to others; keys are 0600."""
    folder = device.config.state
    if not folder.exists():
        parent = next(p for p in folder.parents if p.exists())
        able = os.access(parent, os.W_OK)
        text = f"{folder} does not exist yet" + ("" if able else f", and {parent} is not writable")
        yield Finding("state", "ok" if able else "fail", text, "" if able else "use sudo, or set --state")
        return
    mode = folder.stat().st_mode
    if mode & 0o002:
        yield Finding("state", "fail", f"{folder} can be written by everybody", f"chmod 0700 {folder}")
    loose = [p for p in _secrets(folder) if p.stat().st_mode & 0o077]
    for path in loose:
        yield Finding("state", "fail", f"{path} can be read by others", f"chmod 0600 {path}")
    if not loose and not mode & 0o002:
        yield Finding("state", "ok", f"{folder} is closed to others")


def _secrets(folder: Path) -> list[Path]:
    identity = folder / "identity"
    keys = [p for p in identity.glob("*") if p.is_file() and "key" in p.name] if identity.is_dir() else []
    return keys + [p for p in (folder / "cameras.yaml", folder / "tokens.json") if p.is_file()]


def disk(device: Device) -> Iterator[Finding]:
    """There is room for blobs and the journal."""
    folder = next(p for p in (device.config.state, *device.config.state.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    text, remedy = f"{size(free)} are free at {folder}", "free some space, or set state to a larger disk"
    yield _warned("disk", free < 200 << 20, text, remedy)


def memory(device: Device) -> Iterator[Finding]:
    """Enough memory is available; /dev/shm is there, which the mesh needs."""
    import psutil

    available = psutil.virtual_memory().available
    yield _warned("memory", available < 64 << 20, f"{size(available)} are available", "stop other programs")
    if not SHM.is_dir():
        yield Finding("shared memory", "fail", f"{SHM} is missing", f"mount -t tmpfs tmpfs {SHM}")


def ports(device: Device) -> Iterator[Finding]:
    """The mesh's and enrolment's ports are free, or the running agent's."""
    mesh = device.config.mesh
    for what, port in (("mesh port", mesh.port), ("enrolment port", mesh.enrol_port)):
        free = _is_free(mesh.listen, port)
        if free == (not device.running) or port == 0:
            yield Finding(what, "ok", f"{port} is {'free' if free else 'open'}")
        elif free:
            yield Finding(what, "warn", f"nothing listens on {port}", "see the agent's log")
        else:
            yield Finding(what, "fail", f"{port} is taken by another program", f"see: ss -ltnp 'sport = :{port}'")


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def multicast(device: Device) -> Iterator[Finding]:
    """This device can take part in multicast DNS."""
    if not device.config.mesh.mdns:
        yield Finding("multicast", "ok", "mDNS is switched off")
        return
    remedy = "join with --join HOST:PORT, or switch it off with mesh.mdns: false"
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            group = struct.pack("4s4s", socket.inet_aton(MDNS), socket.inet_aton("0.0.0.0"))  # noqa: S104
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        except OSError as e:
            yield Finding("multicast", "warn", f"mDNS cannot be heard: {e.strerror}", remedy)
            return
    yield Finding("multicast", "ok", "mDNS can be heard")


def wasm(device: Device) -> Iterator[Finding]:
    """A WASM engine can be loaded."""
    for engine in ("wasmtime", "wasm3"):
        try:
            __import__(engine)
        except (ImportError, OSError, RuntimeError):
            continue
        yield Finding("wasm", "ok", f"{engine} is here")
        return
    yield Finding("wasm", "fail", "no WASM engine can be loaded", "pip install wasmtime (or pywasm3 on armv7)")


def docker(device: Device) -> Iterator[Finding]:
    """A container engine answers, where the owner allows it."""
    if not device.config.policy.docker:
        yield Finding("docker", "ok", "containers are not allowed here (policy.docker)")
        return
    import docker as sdk
    import requests

    remedy = "start Docker, or set docker.host; only steps with docker: need it"
    try:
        host = device.config.docker.host
        client = sdk.DockerClient(base_url=host, timeout=5) if host else sdk.from_env(timeout=5)
        try:
            version = client.version().get("Version", "?")
        finally:
            client.close()
    except (sdk.errors.DockerException, requests.exceptions.RequestException, OSError) as e:
        if "Permission denied" in str(e):
            text = "this user may not use the container engine"
            yield Finding("docker", "warn", text, "run it as root, or add the user to the group docker")
            return
        yield Finding("docker", "warn", "no container engine answers", remedy)
        return
    yield Finding("docker", "ok", f"version {version}")


def cameras(device: Device) -> Iterator[Finding]:
    """Video devices are readable, and the library for them is installed."""
    from importlib.util import find_spec

    found = [Path(v.source) for v in device.platform.video]
    closed = [p for p in found if not os.access(p, os.R_OK | os.W_OK)]
    if closed:
        names = " ".join(map(str, closed))
        yield Finding("cameras", "warn", f"this user may not open {names}", "add it to the group video")
    if device.config.cameras_file.exists() and find_spec("cv2") is None:
        yield Finding("cameras", "fail", "OpenCV is not installed", missing("", "cv2", "camera").hint)
    elif not closed:
        text = f"{len(found)} video devices" if found else "no video device here"
        yield Finding("cameras", "ok", text)


def clock(device: Device) -> Iterator[Finding]:
    """A time service keeps the clock; a running agent warns of that itself."""
    if device.running:
        return
    kept = clock_synchronised()
    text = {True: "synchronised", False: "not synchronised", None: "the kernel does not say"}[kept]
    yield _warned("clock", kept is False, text, "start a time service; only displayed times are affected")


CHECKS: tuple[Callable[[Device], Iterator[Finding]], ...] = (
    hardware,
    state,
    disk,
    memory,
    ports,
    multicast,
    wasm,
    docker,
    cameras,
    clock,
)
