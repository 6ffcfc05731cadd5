"""Prepares a checkout for one of the Makefile's targets, on a new Debian 12 with python3 >= 3.11; the second run is quick.

    python3 scripts/setup.py demo|test|bench|hil|dist|lint

It sets up Debian packages, the virtual environment, the WASM programs, the model, the demo's scenes, the detector's image
and the stand-ins of hardware. It uses only the standard library, since it runs before there is an environment. Progress
goes to stderr. As root it lists the missing Debian packages and installs them (not with NO_APT=1); as another user it prints
the command. If it starts a Docker engine to build the image, it stops that engine again. Exit codes: 0 ready, 1 failed, 130
interrupted.
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
"""Exit code of scripts/docker-engine.sh and scripts/build_detector.py without a Docker engine."""


class SetupError(Exception):
    """The reason why the set-up failed, for the user."""


# -- what is needed ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Need:
    """A Debian package and the program that shows that it is installed; without `program` dpkg's list decides."""

    package: str
    program: str = ""
    optional: bool = False


BASE = (Need("python3-venv", "ensurepip"),)
DEVELOP = (
    *BASE,
    # One of the WASM engines is compiled during its installation.
    Need("gcc", "gcc"),
    Need("libc6-dev"),
    Need("python3-dev", "Python.h"),
)
FREEZE = (*BASE, Need("binutils", "objdump"))
STORY = (
    *BASE,
    Need("npm", "npm"),  # the model comes from the npm registry
    Need("debootstrap", "debootstrap", optional=True),  # makes the detector's base image
    Need("docker.io", "dockerd", optional=True),
)
TESTS = (
    *DEVELOP,
    *(Need(n.package, n.program) for n in STORY if n not in DEVELOP),
    *(n for n in FREEZE if n not in BASE),
    Need("avahi-daemon", "avahi-daemon"),
    Need("avahi-utils", "avahi-browse"),
    Need("busybox-static"),
    Need("chromium", "chromium"),
    Need("curl", "curl"),
    Need("dash", "dash"),
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
    Need("mandoc", "mandoc"),
    Need("mosquitto", "mosquitto"),
    Need("openssh-client", "ssh"),
    Need("openssl", "openssl"),
    Need("postgresql"),
    Need("procps", "ps"),
    Need("python3-gi"),
    Need("shellcheck", "shellcheck"),
    Need("signify-openbsd", "signify-openbsd"),
    Need("sudo", "sudo"),
)
HIL = (*TESTS, Need("qemu-system-arm", "qemu-system-arm"))


def missing(needs: tuple[Need, ...]) -> list[Need]:
    """The packages that are missing."""
    return [n for n in needs if not is_there(n)]


def is_there(need: Need) -> bool:
    """True if the package's content is usable, from this package or from elsewhere."""
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
    """Prints `[3/7]  12 s  what`. The programs' output goes to the log and, at a terminal, to one line below."""

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
        """Print a line that stays."""
        print(("\r\033[K" if self.terminal else "") + text, file=sys.stderr, flush=True)
        print(text, file=self.log, flush=True)

    def note(self, text: str) -> None:
        """Print a line under the step."""
        self.say(f"{'':14}{text}")

    def pass_by(self, line: str) -> None:
        """Write a program's line to the log, and for a moment to the terminal."""
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
            raise SetupError(
                f"{last}\n{Path(words[0]).name} failed with exit code {process.returncode}; the whole log: {LOG}"
            )
        return process.returncode


# -- the steps -----------------------------------------------------------------------------------------------------


def packages(p: Progress, needs: tuple[Need, ...]) -> None:
    """Install the missing Debian packages, or print the command that installs them."""
    p.next("Debian packages")
    absent = missing(needs)
    if not absent:
        return
    names = [n.package for n in absent]
    command = f"apt-get install --no-install-recommends {' '.join(names)}"
    if os.geteuid() == 0 and not os.environ.get("NO_APT") and shutil.which("apt-get"):
        p.note(f"installing {' '.join(names)}  (NO_APT=1 skips this)")
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        p.run("apt-get", "-q", "update", env=quiet)
        p.run("apt-get", "-q", "-y", "-o", "Dpkg::Use-Pty=0", "install", "--no-install-recommends", *names, env=quiet)
        return
    needed = [n.package for n in absent if not n.optional]
    p.note(f"missing: {' '.join(names)}; install them with:")
    p.note(f"    {'' if os.geteuid() == 0 else 'sudo '}{command}")
    if needed:
        raise SetupError(f"cannot continue without {', '.join(needed)}")


def environment(p: Progress, extra: str) -> None:
    """Make .venv with the project (editable) and its extra; again when pyproject.toml or python has changed."""
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
    """Build build/filters/*.wasm, or copy them from the cache if the same sources were built before."""
    p.next("WASM programs (filters/)")
    sources = [ROOT / "scripts/build_filters.py", *sorted((ROOT / "filters").rglob("*.*"))]
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
        except OSError:  # another set-up was faster: its files are the same
            shutil.rmtree(part, ignore_errors=True)


def scenes(p: Progress) -> None:
    """Make the default model and the demo's camera frames."""
    p.next("detection model, and the demo's scenes")
    p.run(PYTHON, "scripts/build_detector.py", "--model-only")
    p.run(PYTHON, "scripts/scenes.py")


def apk(p: Progress) -> None:
    """Fetch a real apk-tools for the tests of packages; without it these tests are skipped."""
    p.next("apk-tools, for the tests of packages")
    p.run(PYTHON, "scripts/fetch_apk.py", also=(1,))


def image(p: Progress, *, needed: bool) -> None:
    """Build the detector's image; starts a Docker engine for it if none runs."""
    p.next("images for Docker")
    if shutil.which("docker", path=PATH) is None and not needed:
        p.note("Docker is not installed: the demo's detector will run as a local process")
        return
    answered = engine_answers()
    try:
        if not answered:
            p.note("starting the Docker engine")
            code = p.run(ROOT / "scripts/docker-engine.sh", also=() if needed else (1, NO_ENGINE))
            if code:
                p.note("cannot start a Docker engine: the demo's detector will run as a local process")
                return
        p.run(PYTHON, "scripts/build_detector.py")
        if needed:
            p.run(ROOT / "scripts/docker-base.sh", "systemd")
    finally:
        if not answered:
            p.run(ROOT / "scripts/docker-engine.sh", "--stop", also=(1,))


def standins(p: Progress, *archs: str) -> None:
    """Make the files of the stand-ins of hardware; only root can use them."""
    p.next("stand-ins of hardware (hil/standins)")
    if os.geteuid() == 0:
        p.run(PYTHON, "-m", "hil.standins", *archs)


def engine_answers() -> bool:
    """True if a Docker engine is running."""
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
    "dist": [lambda p: packages(p, FREEZE), lambda p: environment(p, "demo"), filters],
    "test": [
        lambda p: packages(p, TESTS),
        lambda p: environment(p, "dev"),
        filters,
        scenes,
        apk,
        lambda p: image(p, needed=True),
        lambda p: standins(p, "x86_64"),
    ],
}
STEPS["bench"] = STEPS["test"][:-1]
STEPS["hil"] = [lambda p: packages(p, HIL), *STEPS["test"][1:-1], standins]


def main() -> int:
    """Run the steps of one target."""
    if len(sys.argv) != 2 or sys.argv[1] not in STEPS:
        print((__doc__ or "").strip(), file=sys.stderr)
        return 1
    if sys.version_info < (3, 11):  # noqa: UP036 (this runs before pip can refuse)
        print(
            f"set-up: Python {sys.version.split()[0]} is too old; choose 3.11 or newer with make PYTHON=…",
            file=sys.stderr,
        )
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
