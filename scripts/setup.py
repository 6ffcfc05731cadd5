"""Gets a checkout ready for one of the Makefile's targets, on a fresh Debian 12 with python3 >= 3.11; quick the second time.

    python3 scripts/setup.py demo|test|bench|lint

Debian packages, the virtual environment, the WASM programs, the model and the demo's scenes, the detector's image.
Standard library only, since it runs before there is an environment. Progress goes to stderr. As root it installs the
Debian packages that are missing, after naming them (NO_APT=1: it does not); as anybody else it prints the command. An
engine that it started for building the image is stopped again. Exit codes: 0 ready, 1 failed, 130 interrupted.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin/python"
LOG = ROOT / "build/setup.log"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edge-agent"
PATH = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
NO_ENGINE = 3
"""What scripts/docker-engine.sh and scripts/build_detector.py exit with when there is no Docker engine."""


class SetupError(Exception):
    """What stopped the set-up, in words for the person who runs it."""


# -- what is needed ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """A Debian package and how to see that what it brings is there; without `program` Debian's own list tells."""

    package: str
    program: str = ""
    optional: bool = False


BASE = (Need("python3-venv", "ensurepip"),)
DEVELOP = (
    *BASE,
    # One of the engines for WASM is compiled when it is installed.
    Need("gcc", "gcc"),
    Need("libc6-dev"),
    Need("python3-dev", "Python.h"),
)
STORY = (
    *BASE,
    Need("npm", "npm"),  # the model comes from the npm registry
    Need("debootstrap", "debootstrap", optional=True),  # makes the detector's base image
    Need("docker.io", "dockerd", optional=True),
)
TESTS = (
    *DEVELOP,
    *(Need(n.package, n.program) for n in STORY if n not in DEVELOP),
    Need("avahi-daemon", "avahi-daemon"),
    Need("avahi-utils", "avahi-browse"),
    Need("busybox-static"),
    Need("chromium", "chromium"),
    Need("dbus", "dbus-daemon"),
    Need("ffmpeg", "ffmpeg"),
    Need("gir1.2-gst-rtsp-server-1.0"),
    Need("git", "git"),
    Need("gstreamer1.0-plugins-bad"),
    Need("gstreamer1.0-plugins-base"),
    Need("gstreamer1.0-plugins-good"),
    Need("gstreamer1.0-rtsp"),
    Need("gstreamer1.0-tools", "gst-launch-1.0"),
    Need("iproute2", "ip"),
    Need("iptables", "iptables"),
    Need("mosquitto", "mosquitto"),
    Need("openssl", "openssl"),
    Need("postgresql"),
    Need("procps", "ps"),
    Need("python3-gi"),
)


def missing(needs: tuple[Need, ...]) -> list[Need]:
    """Those that are not there."""
    return [n for n in needs if not is_there(n)]


def is_there(need: Need) -> bool:
    """Whether what the package brings can be used, wherever it came from."""
    if need.program == "ensurepip":
        return not subprocess.run(
            [sys.executable, "-c", "import ensurepip"], capture_output=True, check=False
        ).returncode
    if need.program == "Python.h":
        return Path(sysconfig.get_path("include"), need.program).exists()
    if need.program == "npm" and any((CACHE / "models").glob("*/*.onnx")):
        return True
    if need.program:
        return shutil.which(need.program, path=PATH) is not None
    asked = ["dpkg-query", "--show", "--showformat", "${db:Status-Status}", need.package]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=False).stdout == "installed"
    except FileNotFoundError:
        return False


# -- showing what goes on ------------------------------------------------------------------------------------------


class Progress:
    """`[3/7]  12 s  what`; what the programs print goes to the log and, at a terminal, over one line below."""

    def __init__(self, steps: int) -> None:
        self.steps, self.step = steps, 0
        self.began = time.monotonic()
        self.terminal = sys.stderr.isatty()
        LOG.parent.mkdir(parents=True, exist_ok=True)
        self.log = LOG.open("w", errors="replace")

    def next(self, what: str) -> None:
        """Begin the next step."""
        self.step += 1
        self.say(f"[{self.step}/{self.steps}] {time.monotonic() - self.began:4.0f} s  {what}")

    def say(self, text: str) -> None:
        """One line that stays."""
        print(("\r\033[K" if self.terminal else "") + text, file=sys.stderr, flush=True)
        print(text, file=self.log, flush=True)

    def note(self, text: str) -> None:
        """A line under the step."""
        self.say(f"{'':14}{text}")

    def pass_by(self, line: str) -> None:
        """A line of a program: to the log, and for a moment to the terminal."""
        print(line, file=self.log, flush=True)
        if self.terminal and line.strip():
            width = shutil.get_terminal_size().columns - 15
            print(f"\r\033[K{'':14}\033[2m{line.strip()[:width]}\033[0m", end="", file=sys.stderr, flush=True)

    def run(self, *command: str | Path, also: tuple[int, ...] = (), env: dict[str, str] | None = None) -> int:
        """Run a program; raises SetupError with its last lines unless it exits with 0 or one of `also`."""
        words = [str(c) for c in command]
        self.log.write(f"$ {' '.join(words)}\n")
        kept: list[str] = []
        with subprocess.Popen(
            words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace", env={**os.environ, "PATH": PATH, "PYTHONUNBUFFERED": "1", **(env or {})},
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                kept = [*kept[-30:], line.rstrip("\n")]
                self.pass_by(line.rstrip("\n"))
        if self.terminal:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if process.returncode not in (0, *also):
            last = "\n".join(kept)
            raise SetupError(f"{last}\n{Path(words[0]).name} failed ({process.returncode}); the whole log: {LOG}")
        return process.returncode


# -- the steps -----------------------------------------------------------------------------------------------------


def packages(p: Progress, needs: tuple[Need, ...]) -> None:
    """The Debian packages that are missing: installed, or named with the command that installs them."""
    p.next("Debian packages")
    absent = missing(needs)
    if not absent:
        return
    names = [n.package for n in absent]
    command = f"apt-get install --no-install-recommends {' '.join(names)}"
    if os.geteuid() == 0 and not os.environ.get("NO_APT") and shutil.which("apt-get"):
        p.note(f"installing {' '.join(names)}  (NO_APT=1 leaves them)")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        p.run("apt-get", "-q", "update", env=quiet)
        p.run("apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "install", "--no-install-recommends", *names, env=quiet)
        return
    needed = [n.package for n in absent if not n.optional]
    p.note(f"missing: {' '.join(names)}; this installs them:")
    p.note(f"    {'' if os.geteuid() == 0 else 'sudo '}{command}")
    if needed:
        raise SetupError(f"nothing works without {', '.join(needed)}")


def environment(p: Progress, extra: str) -> None:
    """.venv with the project, editable, and its extra; made again when pyproject.toml or python changed."""
    p.next(f"Python environment (.venv, extra {extra})")
    content = hashlib.sha256((ROOT / "pyproject.toml").read_bytes() + sys.version.encode()).hexdigest()
    stamps = {name: VENV / f".stamp-{name}" for name in ("demo", "dev")}
    enough = ("dev",) if extra == "dev" else ("demo", "dev")
    if PYTHON.exists() and any(stamps[s].exists() and stamps[s].read_text() == content for s in enough):
        return
    if not PYTHON.exists():
        p.run(sys.executable, "-m", "venv", VENV)
    p.run(PYTHON, "-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off", "-e", f".[{extra}]")
    stamps[extra].write_text(content)


def filters(p: Progress) -> None:
    """build/filters/*.wasm, from the cache where the same sources were built before."""
    p.next("WASM programs (filters/)")
    sources = [ROOT / "scripts/build_filters.py", *sorted((ROOT / "filters").glob("*.*"))]
    parts = [s.name.encode() + b"\0" + s.read_bytes() for s in sources if s.suffix in (".py", ".c", ".h", ".zig")]
    kept = CACHE / f"filters-{hashlib.sha256(b''.join(parts)).hexdigest()[:16]}"
    built = ROOT / "build/filters"
    if kept.is_dir() and not any(built.glob("*.wasm")):
        shutil.copytree(kept, built, dirs_exist_ok=True)
    p.run(PYTHON, "scripts/build_filters.py")
    if not kept.is_dir():
        part = kept.with_name(f".{kept.name}.{os.getpid()}")
        shutil.copytree(built, part, ignore=shutil.ignore_patterns("*.part.wasm"))
        try:
            part.rename(kept)
        except OSError:  # another set-up was faster: its files are as good
            shutil.rmtree(part, ignore_errors=True)


def scenes(p: Progress) -> None:
    """The default model, and what the demo's cameras see."""
    p.next("detection model, and the demo's scenes")
    p.run(PYTHON, "scripts/build_detector.py", "--model-only")
    p.run(PYTHON, "scripts/scenes.py")


def image(p: Progress, *, needed: bool) -> None:
    """The detector's image, built with an engine that runs or that is started for it."""
    p.next("detector image for Docker")
    if shutil.which("docker", path=PATH) is None and not needed:
        p.note("no Docker here: the demo's detector will run as a local process")
        return
    answered = engine_answers()
    try:
        if not answered:
            p.note("starting the Docker engine")
            code = p.run(ROOT / "scripts/docker-engine.sh", also=() if needed else (1, NO_ENGINE))
            if code:
                p.note("no Docker engine could be started: the demo's detector will run as a local process")
                return
        p.run(PYTHON, "scripts/build_detector.py")
    finally:
        if not answered:
            p.run(ROOT / "scripts/docker-engine.sh", "--stop", also=(1,))


def engine_answers() -> bool:
    """Whether a Docker engine is running."""
    try:
        return not subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    except FileNotFoundError:
        return False


Step = Callable[[Progress], None]
STEPS: dict[str, list[Step]] = {
    "lint": [lambda p: packages(p, DEVELOP), lambda p: environment(p, "dev")],
    "demo": [
        lambda p: packages(p, STORY),
        lambda p: environment(p, "demo"),
        filters,
        scenes,
        lambda p: image(p, needed=False),
    ],
    "test": [
        lambda p: packages(p, TESTS),
        lambda p: environment(p, "dev"),
        filters,
        scenes,
        lambda p: image(p, needed=True),
    ],
}
STEPS["bench"] = STEPS["test"]


def main() -> int:
    """Run the steps of one target."""
    if len(sys.argv) != 2 or sys.argv[1] not in STEPS:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 1
    if sys.version_info < (3, 11):  # noqa: UP036 (this runs before pip can refuse)
        print(f"set-up: this is Python {sys.version.split()[0]}; name one from 3.11 on: make PYTHON=…", file=sys.stderr)
        return 1
    steps = STEPS[sys.argv[1]]
    progress = Progress(len(steps))
    try:
        for step in steps:
            step(progress)
    except SetupError as error:
        progress.say(f"set-up: {error}")
        return 1
    except KeyboardInterrupt:
        progress.say("set-up: interrupted")
        return 130
    progress.say(f"ready  {time.monotonic() - progress.began:4.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
